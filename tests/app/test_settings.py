from __future__ import annotations

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
        ({"redis_url": "http://x"}, ["REDIS_URL"]),
        ({"letta_api_key": "schlüssel"}, ["LETTA_API_KEY"]),
        ({"metrics_token": "a\nb"}, ["METRICS_TOKEN"]),
        ({"shutdown_grace_seconds": "inf"}, ["SHUTDOWN_GRACE_SECONDS"]),
        ({"request_timeout": "nan"}, ["REQUEST_TIMEOUT"]),
        ({"environment": "prod"}, ["ENVIRONMENT"]),
        ({"log_level": "loud"}, ["LOG_LEVEL"]),
        ({"supabase_url": "https://x.example"}, ["SUPABASE_JWT_SECRET"]),
        ({"supabase_url": "https://x.example", "supabase_jwt_secret": "s3cret"}, ["SUPABASE_JWT_SECRET"]),
        ({"agent_secret_master_key": "s3cret"}, ["AGENT_SECRET_MASTER_KEY"]),
        ({"letta_proxy_key": "s3cret" + "x" * 25}, ["LETTA_PROXY_KEY"]),
        ({"letta_proxy_key": "schlüssel" * 4}, ["LETTA_PROXY_KEY"]),
        ({"public_url": "gateway:8000"}, ["PUBLIC_URL"]),
        ({"letta_base_url": "https://l.example"}, ["LETTA_API_KEY"]),
        ({"ams_base_url": "https://a.example"}, ["SUPABASE_SERVICE_KEY"]),
        ({"litellm_base_url": "https://m.example"}, ["LITELLM_API_KEY"]),
        (
            {"environment": "production"},
            ["AMS_BASE_URL", "LETTA_BASE_URL", "LITELLM_BASE_URL", "SUPABASE_URL", "SUPABASE_JWT_SECRET"],
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
