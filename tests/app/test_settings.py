from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from app import settingsdocs
from app.settings import Environment, Settings, SettingsError

ROOT = Path(__file__).parents[2]


def load(**values: object) -> Settings:
    return Settings.load(_env_file=None, **values)


def test_nothing_set_is_development_with_everything_embedded() -> None:
    settings = load()
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.embedded_services == {"ams", "letta", "litellm"}
    assert settings.development_tokens
    assert settings.bind_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"port": "x"}, ["PORT"]),
        ({"request_timeout": 0}, ["REQUEST_TIMEOUT"]),
        ({"letta_base_url": "letta:8283"}, ["LETTA_BASE_URL"]),
        *(
            ({"letta_base_url": url, "letta_api_key": "k"}, ["LETTA_BASE_URL"])
            for url in ("http://", "http://[", "http://x:99999", "http://a b", "https://bücher.example", "ftp://x")
        ),
        ({"redis_url": "redis://x:99999"}, ["REDIS_URL"]),
        *(
            ({"redis_url": url}, ["REDIS_URL"])
            for url in (
                "http://x",
                "redis://x/zero",
                "redis://x/0/1",
                "redis://x?db=a",
                "redis://x?timeout=1",
                "redis://x?ssl_cert_reqs=none",
                "rediss://x?ssl_cert_reqs=some",
                "redis://x?unheard_of=1",
                "redis://x#0",
            )
        ),
        *(
            ({"forwarded_allow_ips": ips}, ["FORWARDED_ALLOW_IPS"])
            for ips in (
                "proxy.example",
                "10.0.0.0/33",
                "10.0.0.1/8",
                "10.0.0",
                "127.0.0.1, x",
                "*, 10.0.0.1",
                "::1/200",
            )
        ),
        ({"letta_api_key": "schlüssel"}, ["LETTA_API_KEY"]),
        ({"operations_port": 9000, "port": 9000}, ["OPERATIONS_PORT"]),
        ({"operations_port": 70000}, ["OPERATIONS_PORT"]),
        ({"operations_host": "127.0.0.1"}, ["OPERATIONS_PORT"]),
        ({"hsts_seconds": -1}, ["HSTS_SECONDS"]),
        ({"metrics_token": "a\nb"}, ["METRICS_TOKEN"]),
        ({"shutdown_grace_seconds": "inf"}, ["SHUTDOWN_GRACE_SECONDS"]),
        ({"request_timeout": "nan"}, ["REQUEST_TIMEOUT"]),
        ({"environment": "prod"}, ["ENVIRONMENT"]),
        ({"log_level": "loud"}, ["LOG_LEVEL"]),
        ({"supabase_jwt_secret": "s" * 32}, ["SUPABASE_URL"]),
        ({"supabase_jwt_issuer": "https://x.example/auth/v1"}, ["SUPABASE_URL"]),
        ({"supabase_url": "https://x.example", "supabase_jwt_issuer": "x.example"}, ["SUPABASE_JWT_ISSUER"]),
        ({"supabase_url": "https://x.example", "supabase_jwt_secret": "s3cret"}, ["SUPABASE_JWT_SECRET"]),
        ({"agent_secret_master_key": "s3cret"}, ["AGENT_SECRET_MASTER_KEY"]),
        ({"agent_secret_master_key_previous": "s3cret" * 6}, ["AGENT_SECRET_MASTER_KEY"]),
        *(
            (
                {"agent_secret_master_key": "s3cret" * 6, "agent_secret_master_key_previous": previous},
                ["AGENT_SECRET_MASTER_KEY_PREVIOUS"],
            )
            for previous in ("s3cret", "s3cret" * 6, '"' + "s3cret" * 7 + '"', "s3cret" * 7 + "\n")
        ),
        ({"letta_proxy_key": "s3cret" + "x" * 25}, ["LETTA_PROXY_KEY"]),
        ({"letta_proxy_key": "schlüssel" * 4}, ["LETTA_PROXY_KEY"]),
        ({"public_url": "gateway:8000"}, ["PUBLIC_URL"]),
        *(
            ({"host": host}, ["HOST"])
            for host in ("http://x", "0.0.0.0:80", "localhost:8000", "a b", "a..b", "*", "-x")
        ),
        *(({name: number}, [name.upper()]) for name, number in (("port", "80 http"), ("max_body_bytes", "1MB"))),
        ({"shutdown_grace_seconds": "10s"}, ["SHUTDOWN_GRACE_SECONDS"]),
        ({"supabase_service_key": " s3cret"}, ["SUPABASE_SERVICE_KEY"]),
        ({"agent_secret_master_key": "s3cret" * 6 + "\n"}, ["AGENT_SECRET_MASTER_KEY"]),
        ({"letta_base_url": "https://l.example"}, ["LETTA_API_KEY"]),
        ({"ams_base_url": "https://a.example"}, ["SUPABASE_SERVICE_KEY"]),
        ({"litellm_base_url": "https://m.example"}, ["LITELLM_API_KEY"]),
        (
            {"environment": "production"},
            ["AMS_BASE_URL", "LETTA_BASE_URL", "LITELLM_BASE_URL", "SUPABASE_URL"],
        ),
    ],
)
def test_each_problem_is_a_line_that_names_its_variable(values: dict[str, object], names: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**values)
    assert [line.split(":")[0] for line in caught.value.problems] == names
    assert "s3cret" not in str(caught.value)


def test_the_environment_is_read_and_an_empty_value_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("AMS_BASE_URL", "")
    settings = load()
    assert settings.port == 9000
    assert settings.ams_base_url is None


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1", "https://localhost:8443"])
def test_any_port_of_this_machine_may_call_outside_production(origin: str) -> None:
    assert re.fullmatch(load().cors_origin_regex or "", origin)


def test_env_example_and_the_table_are_the_settings() -> None:
    assert (ROOT / "env.example").read_text() == settingsdocs.env_example(), "make generated"
    assert (ROOT / "docs" / "configuration.md").read_text() == settingsdocs.table(), "make generated"


def test_env_example_is_complete_says_what_each_is_for_and_fits_docker() -> None:
    lines = settingsdocs.env_example().splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert {name.lower() for name in given} == set(Settings.model_fields)
    for name, value in given.items():
        assert not set(value) & set("\"'#"), name
    for name, info in Settings.model_fields.items():
        assert info.description, name
    assert load(**{name.lower(): value for name, value in given.items() if value}) == load()


KEYS = {"letta_api_key": "k", "litellm_api_key": "k", "supabase_service_key": "k", "supabase_jwt_secret": "s" * 32}


@pytest.mark.parametrize(
    ("name", "url", "cure"),
    [
        ("letta_base_url", "http://letta:8283/v1", "Write http://letta:8283"),
        ("letta_base_url", "http://letta:8283/V1/", "Write http://letta:8283"),
        ("letta_base_url", "https://x.example/letta/v1/agents/", "Write https://x.example/letta"),
        ("letta_base_url", "http://letta:8283/docs", "Write http://letta:8283"),
        ("litellm_base_url", "http://litellm:4000/v1", "Write http://litellm:4000"),
        ("litellm_base_url", "http://litellm:4000/v1/chat/completions", "Write http://litellm:4000"),
        ("litellm_base_url", "http://litellm:4000/ui/", "Write http://litellm:4000"),
        ("ams_base_url", "https://ref.supabase.co", "/functions/v1/ams"),
        ("supabase_url", "https://ref.supabase.co/auth/v1", "Write https://ref.supabase.co"),
        ("supabase_url", "https://supabase.com/dashboard/project/ref", "https://<ref>.supabase.co"),
        ("public_url", "https://x.example/v1", "Write https://x.example"),
        ("public_url", "https://x.example/api/v1/", "Write https://x.example"),
        ("public_url", "https://x.example/graphql", "Write https://x.example"),
        ("letta_base_url", "letta:8283", "including the scheme"),
        ("letta_base_url", "ws://127.0.0.1:4500", "Run Letta 0.16.8 (the image letta/letta:0.16.8, "),
        ("letta_base_url", "WSS://agents.example/ws?token=s3cret", "A ws:// URL leads to Letta's App Server, "),
        ("letta_base_url", "wss://ada:s3cret@agents.example", "docs/letta.md"),
        ("letta_base_url", '"http://letta:8283"', "without quotes"),
        ("letta_base_url", "http://letta:8283\n", "line ends"),
        ("letta_base_url", "http://letta:8283?x=1", "neither a query"),
        ("letta_base_url", "http://letta:8283/#", "#"),
        *(
            (name, "http://ada:s3cret@x.example", "no user name or password")
            for name in ("ams_base_url", "letta_base_url", "litellm_base_url", "supabase_url", "public_url")
        ),
    ],
)
def test_an_address_that_would_make_every_call_fail_is_refused_with_the_cure(name: str, url: str, cure: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{**KEYS, "supabase_url": "https://x.example", name: url})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name.upper()}: must ")
    assert cure in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("name", "url", "kept"),
    [
        ("ams_base_url", "https://ref.supabase.co/functions/v1/ams/", "https://ref.supabase.co/functions/v1/ams"),
        ("letta_base_url", "https://x.example/letta", "https://x.example/letta"),
        ("litellm_base_url", "https://x.example/litellm/", "https://x.example/litellm"),
        ("litellm_base_url", "https://x.example/api/v1", "https://x.example/api/v1"),
        ("supabase_url", "https://x.example/supabase", "https://x.example/supabase"),
        ("letta_base_url", "https://x.example/v1/letta", "https://x.example/v1/letta"),
        ("public_url", "https://x.example/agentgraph//", "https://x.example/agentgraph"),
        ("public_url", "https://x.example/v1/agentgraph", "https://x.example/v1/agentgraph"),
        ("redis_url", "rediss://:p@x:6380/2?db=3", "rediss://:p@x:6380/2?db=3"),
        ("redis_url", "redis://x", "redis://x"),
        ("redis_url", "rediss://x:6380?ssl_cert_reqs=none", "rediss://x:6380?ssl_cert_reqs=none"),
        ("redis_url", "redis://x/0?protocol=3&socket_timeout=5", "redis://x/0?protocol=3&socket_timeout=5"),
        ("redis_url", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("forwarded_allow_ips", " 10.0.0.1 , fd00::/8,", "10.0.0.1,fd00::/8"),
        ("forwarded_allow_ips", "*", "*"),
        ("host", "[::1]", "::1"),
        ("host", "fe80::1%eth0", "fe80::1%eth0"),
        ("host", "host.docker.internal", "host.docker.internal"),
    ],
)
def test_an_address_that_a_deployment_may_have_is_kept(name: str, url: str, kept: str) -> None:
    assert getattr(load(**{**KEYS, "supabase_url": "https://x.example", name: url}), name) == kept


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPORT=9000\r\nHOST='::1'\r\n")
    settings = Settings.load(_env_file=tmp_path / ".env")
    assert (settings.port, settings.host) == (9000, "::1")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=9000")

    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(SettingsError) as caught:
        Settings.load(_env_file=path)
    assert caught.value.problems == [".env: cannot be read: Permission denied"]
