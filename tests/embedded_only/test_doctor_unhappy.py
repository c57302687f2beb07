"""``agentgraph doctor`` with odd settings, odd answers and servers that repeat secrets."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.cli import main
from app.doctor.registry import CHECKS
from tests.support.doctored import (
    AGENTS,
    DISCOVERY,
    HEALTH,
    MODELS,
    Services,
    Setter,
    diagnose,
    services,
    setter,
    told,
)
from tests.support.serving import free_port
from tests.support.tcp import listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOWHERE = "http://127.0.0.1:9"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Services]:
    async with services() as running:
        yield running


@pytest.fixture
def platform(shared: Services) -> Services:
    """Healthy services."""
    shared.reset()
    return shared


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Setter:
    """Set environment variables, in a folder without ``.env``."""
    return setter(monkeypatch, tmp_path)


# --- .env ------------------------------------------------------------------------------------------------------------


async def test_a_dotenv_that_is_not_utf8_ends_with_2(environment: Setter, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"LETTA_API_KEY=\xff\xfe\n")
    found = await diagnose(environment)
    assert (found.status, found.bad()) == (2, {"settings.valid": "problem"})
    assert found.at("settings.valid")[0]["found"] == ".env: must be UTF-8 text"
    assert found.at("settings.names")[0]["found"] == ".env cannot be read."
    assert {one["check"] for one in found.report["findings"]} == {check.name for check in CHECKS}


@pytest.mark.parametrize("rest", ["0123456789abcdef", "0123456789abcdef==", "0123456789abcdef/+x=="])
async def test_the_rest_of_a_wrapped_key_is_not_printed(
    platform: Services, environment: Setter, tmp_path: Path, rest: str
) -> None:
    (tmp_path / ".env").write_text(f"AUDIT_LOG=on\n\nMETRICS_TOKEN=aaaa\n{rest}\n")
    found = await diagnose(environment, **platform.settings)
    assert "0123456789ABCDEF" not in found.printed.upper()
    [finding] = found.at("settings.names")
    assert finding["found"].startswith(".env: line 4 ")


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_a_url_is_printed_without_its_password(platform: Services, environment: Setter) -> None:
    endpoint = "http://u:pa55word@old:8000/api/v1/agents/x"
    platform.sites["letta"].answers[AGENTS] = told([{"llm_config": {"model_endpoint": endpoint}}])
    found = await diagnose(environment, **{**platform.settings, "PUBLIC_URL": NOWHERE})
    assert "pa55word" not in found.printed
    assert "their model calls at http://old:8000," in found.at("callback.agents")[0]["found"]


async def test_a_long_key_is_hidden_before_a_text_is_shortened(platform: Services, environment: Setter) -> None:
    long = "sk-" + "k" * 200
    platform.sites["letta"].answers[HEALTH] = told({"status": "ok", "version": long})
    found = await diagnose(environment, **{**platform.settings, "LITELLM_MASTER_KEY": long})
    assert "kkkk" not in found.printed
    assert found.at("letta.version")[0]["found"].startswith("Letta's version is (hidden).")


@pytest.mark.parametrize("repeated", ["http://p@ss/word9", "http://p%40ss%2Fword9"])
@pytest.mark.parametrize(
    "given", ["redis://:p%40ss%2Fword9@127.0.0.1:9/0", "redis://127.0.0.1:9?password=p%40ss/word9"]
)
async def test_a_percent_encoded_password_is_hidden_in_both_forms(
    platform: Services, environment: Setter, given: str, repeated: str
) -> None:
    platform.sites["supabase"].answers[DISCOVERY] = told({"issuer": repeated})
    found = await diagnose(environment, **{**platform.settings, "REDIS_URL": given})
    assert "word9" not in found.printed
    assert "the issuer http://(hidden)," in found.at("supabase.issuer")[0]["found"]


async def test_a_secret_that_is_a_word_is_hidden_only_as_a_word(platform: Services, environment: Setter) -> None:
    given = {**platform.settings, "REDIS_URL": f"redis://127.0.0.1:{free_port()}", "REDIS_PASSWORD": "serv"}
    platform.sites["supabase"].answers[DISCOVERY] = told({"issuer": "http://server:serv@x"})
    found = await diagnose(environment, **given)
    assert "the issuer http://server:(hidden)@x," in found.at("supabase.issuer")[0]["found"]
    assert "(hidden)er" not in found.printed


async def test_the_key_of_ams_is_not_sent_to_litellm(platform: Services, environment: Setter) -> None:
    """A real LiteLLM refuses ``/health`` without a key, as a function of Supabase does."""
    seen: list[str] = []

    def refused(bearer: str) -> tuple[int, Any, dict[str, str]]:
        seen.append(bearer)
        return 401, {"error": {"message": "No api key passed in."}}, {}

    platform.sites["litellm"].answers["/health"] = refused
    found = await diagnose(environment, **{**platform.settings, "AMS_BASE_URL": platform.urls["litellm"]})
    assert found.at("ams.server")[0]["status"] == "problem"
    assert set(seen) == {""}


# --- the gateway's ports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "OPERATIONS_"])
async def test_an_address_of_another_machine_is_found(platform: Services, environment: Setter, prefix: str) -> None:
    given = {f"{prefix}HOST": "192.0.2.1", f"{prefix}PORT": str(free_port())}
    found = await diagnose(environment, **{**platform.settings, **given})
    check = f"settings.{prefix.lower()}port"
    assert found.bad() == {check: "problem"}
    [finding] = found.at(check)
    assert f"cannot listen on 192.0.2.1, port {given[f'{prefix}PORT']}: " in finding["found"]
    assert finding["cure"].startswith(f"Set {prefix}HOST to an address of this machine")


@pytest.mark.parametrize("prefix", ["", "OPERATIONS_"])
async def test_a_port_of_another_program_is_found(platform: Services, environment: Setter, prefix: str) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(close) as port:
        given = {**platform.settings, "HOST": "127.0.0.1", f"{prefix}PORT": str(port)}
        found = await diagnose(environment, **given)
    check = f"settings.{prefix.lower()}port"
    assert found.bad() == {check: "problem"}
    [finding] = found.at(check)
    assert finding["found"] == f"Another program listens on http://127.0.0.1:{port}."
    assert finding["cure"] == f"Stop the program, or set {prefix}PORT to another port."


async def test_a_free_operations_port_is_no_problem(platform: Services, environment: Setter) -> None:
    found = await diagnose(environment, **{**platform.settings, "OPERATIONS_PORT": str(free_port())})
    assert found.bad() == {}
    assert "the port is free" in found.at("settings.operations_port")[0]["found"]


@pytest.mark.parametrize("origins", ["https://a.example,https://b.example", "https://*.a.example"])
async def test_the_option_for_an_origin_takes_one_origin(origins: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--origin", origins]) == 2
    assert f"--origin: '{origins}' is not one origin of a web page. Write scheme://host" in capsys.readouterr().err


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 404, 429, 500])
@pytest.mark.parametrize(
    ("site", "path", "check"), [("letta", AGENTS, "letta.password"), ("litellm", "/v1/models", "litellm.password")]
)
async def test_only_a_refusal_shows_that_a_key_is_needed(
    platform: Services, environment: Setter, site: str, path: str, check: str, status: int
) -> None:
    platform.sites[site].answers[path] = told({"detail": "x"}, status)
    found = await diagnose(environment, **platform.settings)
    [finding] = found.at(check)
    assert (finding["status"], f"status {status}, which shows no refusal" in finding["found"]) == ("skipped", True)


ODD = [
    ("letta", MODELS, [{"handle": 5, "model_endpoint": "http://[::1"}], "letta.models", "an invalid URL"),
    ("letta", AGENTS, [{"llm_config": 5}], "callback.agents", "Of the 1 newest agents, 0"),
    ("letta", AGENTS, [{"llm_config": {"model_endpoint": "http://[::1/api/v1/agents/x"}}], "callback.agents", ", 0 "),
    ("litellm", "/health/readiness", {"litellm_version": "1." + "9" * 5000}, "litellm.version", "does not tell"),
    ("litellm", "/key/info", {"info": {"spend": "NaN"}}, "litellm.budget", "an amount that is no number"),
    ("litellm", "/key/info", {"info": {"max_budget": "sNaN"}}, "litellm.budget", "an amount that is no number"),
]


@pytest.mark.parametrize(("site", "path", "body", "check", "says"), ODD, ids=[f"{one[3]}: {one[4]}" for one in ODD])
async def test_no_answer_breaks_a_check(
    platform: Services, environment: Setter, site: str, path: str, body: Any, check: str, says: str
) -> None:
    platform.sites[site].answers[path] = told(body)
    found = await diagnose(environment, **{**platform.settings, "PUBLIC_URL": NOWHERE})
    assert "check is broken" not in found.printed
    assert says in found.at(check)[0]["found"]


@pytest.mark.parametrize("date", ["soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
async def test_a_date_that_is_none_breaks_no_check(platform: Services, environment: Setter, date: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"version":"0.16.8","status":"ok"}'
        writer.write(b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Length: %d\r\n\r\n%b" % (date.encode(), len(body), body))
        await writer.drain()

    async with listening(serve) as port:
        given = {**platform.settings, "LETTA_BASE_URL": f"http://127.0.0.1:{port}"}
        found = await diagnose(environment, **given)
    [finding] = found.at("letta.clock")
    assert (finding["status"], finding["found"]) == ("skipped", f"Letta sends the invalid Date header {date}.")


@pytest.mark.parametrize("key", ["sk-ä€", "sk-a\nx-evil: 1", "sk-\x7f", "\udcff", "'sk-quoted'"])
async def test_an_odd_master_key_is_named(platform: Services, environment: Setter, key: str) -> None:
    found = await diagnose(environment, **{**platform.settings, "LITELLM_MASTER_KEY": key})
    assert found.bad() == {}
    [finding] = found.at("litellm.version")
    assert finding["found"].startswith("LITELLM_MASTER_KEY in the doctor's environment cannot be sent: it ")


async def test_a_variable_with_a_byte_that_is_no_text_is_printed(platform: Services, environment: Setter) -> None:
    found = await diagnose(environment, **{**platform.settings, "RATE_LIMIT_LM\udcff": "3"})
    assert found.at("settings.names")[0]["found"].startswith("RATE_LIMIT_LM\\udcff is set")
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(text):
        assert await asyncio.to_thread(main, ["doctor"]) == 0


@pytest.mark.parametrize("line", [b"x", b"x: y\r\n"], ids=["body", "headers"])
async def test_a_server_that_never_ends_its_answer_ends_no_check_late(environment: Setter, line: bytes) -> None:
    """The time limit of a call is for the whole answer, and not for each part."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 10000\r\n\r\n" if line == b"x" else b""))
        while not writer.is_closing():
            writer.write(line)
            await writer.drain()
            await asyncio.sleep(0.2)

    async with listening(serve) as port:
        url = f"http://127.0.0.1:{port}"
        urls = dict.fromkeys(["AMS_BASE_URL", "LETTA_BASE_URL", "LITELLM_BASE_URL", "SUPABASE_URL", "PUBLIC_URL"], url)
        keys = {"SUPABASE_SERVICE_KEY": "k" * 40, "LETTA_API_KEY": "l" * 40, "LITELLM_API_KEY": "sk-z"}
        given = {"ENVIRONMENT": "staging", "REDIS_URL": f"redis://127.0.0.1:{port}", "PORT": "0", **urls, **keys}
        found = await diagnose(environment, "--timeout", "1", **given)
    servers = [f"{name}.server" for name in ("ams", "letta", "litellm", "supabase", "redis")]
    assert {one: found.bad().get(one) for one in servers} == dict.fromkeys(servers, "problem")
    assert "no answer within 1 s" in found.at("letta.server")[0]["found"]
    assert "broken" not in found.printed
