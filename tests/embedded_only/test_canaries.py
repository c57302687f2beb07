"""Secrets stay secret: canaries in each secret, token, prompt and answer, searched in all that a process lets out.

The process writes, answers, sends and stores. ``MAY`` says where each canary may be, and ``MUST`` where it must have
been, so that a canary that was not used cannot make the test pass.
"""

from __future__ import annotations

import base64
import io
import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from app.cli import main
from app.embedded import http_client
from app.logs import make_logger
from tests.support.canaries import Canaries, Table, allowed_for
from tests.support.leaky import Leaky, leaky_gateway, secret_settings
from tests.support.process import serving
from tests.support.watched import FAULTS

SOURCES = frozenset({"sent", "given"})
"""What the test itself has sent and given. Each canary must be in one of them."""

NOWHERE = frozenset[str]()
MAY: Table = {
    "setting:supabase_service_key": frozenset({"to ams"}),
    "setting:letta_api_key": frozenset({"to letta"}),
    "setting:litellm_api_key": frozenset({"to litellm"}),
    "setting:redis_url": frozenset({"to redis"}),
    "setting:*": NOWHERE,
    "virtual key:*": frozenset({"to litellm"}),
    "token:*": NOWHERE,
    "agent secret:*": NOWHERE,
    "header:*": NOWHERE,
    "email:ada": frozenset({"reply to ada"}),
    "email:grace": frozenset({"reply to grace"}),
    "email:*": NOWHERE,
    "key:*": frozenset({"to ams"}),
    "text:ada:*": frozenset({"to ams", "to letta", "to litellm", "reply to ada"}),
    "text:grace:*": frozenset({"to ams", "to letta", "to litellm", "reply to grace"}),
    "text:admin:*": frozenset({"to ams", "reply to admin"}),
    "text:*": NOWHERE,
}
"""Where each canary may be besides ``SOURCES``. The first pattern that matches a name counts."""

MUST: Table = {
    "setting:supabase_service_key": frozenset({"to ams"}),
    "setting:letta_api_key": frozenset({"to letta"}),
    "setting:redis_url": frozenset({"to redis"}),
    "virtual key:*": frozenset({"to litellm"}),
    "email:ada": frozenset({"reply to ada"}),
    "email:grace": frozenset({"reply to grace"}),
    "key:*": frozenset({"to ams"}),
    "text:nobody:*": NOWHERE,
    "text:*:prompt": frozenset({"to letta", "to litellm"}),
    "text:*:embedded": frozenset({"to litellm"}),
    "text:*:argument": frozenset({"to litellm"}),
    "text:ada:answer": frozenset({"reply to ada"}),
    "text:ada:reasoning": frozenset({"reply to ada"}),
    "text:ada:call": frozenset({"reply to ada"}),
    "text:admin:template": frozenset({"to ams"}),
    **{f"text:*:{one}": frozenset({"to letta"}) for one in ("message", "passage", "block", "search", "description")},
    "text:grace:unfinished": frozenset({"to litellm"}),
    "*": NOWHERE,
}
"""Where each canary must be."""

SETTINGS = {
    "LOG_LEVEL": "DEBUG",
    "MAX_BODY_BYTES": "50000",
    "MAX_UPSTREAM_BYTES": "1000000",
    "BREAKER_RESET_SECONDS": "0.001",
    "REQUEST_TIMEOUT": "1",
    "LLM_TIMEOUT_SECONDS": "2",
    "STREAM_FIRST_TOKEN_SECONDS": "0.3",
    "SHUTDOWN_GRACE_SECONDS": "0.3",
    "RATE_LIMIT_GENERAL": "0",
    "RATE_LIMIT_LLM": "0",
    "RATE_LIMIT_PROXY": "150",
}


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "base64": base64.b64encode,
    "base64 inside a text": lambda raw: base64.b64encode(b"Bearer " + raw + b", more"),
    "base64url": base64.urlsafe_b64encode,
    "hexadecimal": lambda raw: raw.hex().encode(),
    "upper hexadecimal": lambda raw: raw.hex().upper().encode(),
    "percent-encoded": lambda raw: quote(b"?q=" + raw).encode(),
    "JSON": lambda raw: json.dumps(raw.decode()).encode(),
    "backwards": lambda raw: raw[::-1],
}


@pytest.mark.parametrize("coding", CODINGS)
def test_the_search_finds_a_leak_in_each_coding(coding: str) -> None:
    canaries = Canaries()
    planted = {"key": canaries.plant("key"), "token": canaries.plant("token", "Zm9vL2Jhci9iYXorcXV4_-ABCDEF")}
    for name, text in planted.items():
        for shift in range(3):
            sink = f"{name} {shift}"
            canaries.leak(sink, b"before" + b"." * shift + CODINGS[coding](b"x" * shift + text.encode()) + b"after")
            assert sink in canaries.found()[name]
    assert canaries.found()["key"] == {"key 0", "key 1", "key 2"}


def test_the_search_finds_a_token_that_the_process_logs() -> None:
    out, canaries = io.StringIO(), Canaries()
    token = canaries.plant("token:ada")
    make_logger("INFO", out).info("request", headers={"authorization": f"Bearer {token}"})
    canaries.leak("output", out.getvalue())
    canaries.leak("to litellm", "nothing")
    assert canaries.leaks(MAY) == {("token:ada", "output")}


async def fail_calls(leaky: Leaky) -> None:
    """Make each kind of model call with each fault of LiteLLM, whose bytes ``/v1`` forwards."""
    service = leaky.services["litellm"]
    for fault in FAULTS:
        service.fail_with(fault)
        before = service.reached[fault]
        await leaky.call_models("ada", fault.replace(" ", "-"))
        assert service.reached[fault] > before + 3, fault
    service.recover()


async def fail(leaky: Leaky, name: str) -> None:
    """Use the gateway until one of its services has answered with each fault."""
    service = leaky.services[name]
    service.fail()
    for attempt in range(10):
        await leaky.use("ada", f"{name}{attempt}")
        if service.reached.keys() == FAULTS.keys():
            break
    assert service.reached.keys() == FAULTS.keys()
    service.recover()


def keep_files(canaries: Canaries, folder: Path) -> None:
    """Record the names and contents of the files that the process has written."""
    for path in folder.rglob("*"):
        if path.is_file():
            canaries.leak("files", str(path.relative_to(folder)), path.read_bytes())


@pytest.mark.timeout(180)
async def test_no_canary_is_where_it_must_not_be(tmp_path: Path) -> None:
    settings = SETTINGS | {"AUDIT_LOG": str(tmp_path / "audit.log")}
    async with leaky_gateway(tmp_path, **settings) as leaky:
        for who in ("ada", "grace"):
            await leaky.introduce(who)
            await leaky.use(who, "first")
        await leaky.answer("ada")
        assert await leaky.operate() == {"letta": 200, "metrics": 200, "health": 200}
        await leaky.administer()
        await leaky.break_in()
        await fail_calls(leaky)
        for name in ("litellm", "letta", "ams"):
            await fail(leaky, name)
        await leaky.use("grace", "last")
        assert leaky.children() == []
        await leaky.operate()
    canaries = leaky.canaries
    keep_files(canaries, tmp_path)
    assert b'"event":"mutation"' in canaries.sinks["files"]
    assert b'"event":"request"' in canaries.sinks["output"]
    assert b"agentgraph_requests_total{" in canaries.sinks["reply to operator"]
    found = canaries.found()
    assert [name for name, sinks in found.items() if not sinks & SOURCES] == []
    assert [name for name, sinks in found.items() if not sinks >= allowed_for(MUST, name)] == []
    leaks = {(name, sink) for name, sinks in found.items() for sink in sinks - allowed_for(MAY, name) - SOURCES}
    assert leaks == set()


async def test_a_development_gateway_writes_and_shows_no_secret(tmp_path: Path) -> None:
    canaries = Canaries()
    async with serving(tmp_path, {"LOG_LEVEL": "DEBUG", "XDG_DATA_HOME": str(tmp_path)}) as gateway:
        canaries.leak("banner", gateway.banner)
        async with http_client.client(base_url=gateway.url) as client:
            await client.get("/")  # is answered when the gateway is open, which makes the files
            plant_files(canaries, tmp_path / "agentgraph")
            password = canaries.texts["file:dev-password"]
            signed_in = await sign_in(client, email="ada@example.com", password=password)
            session = signed_in.json()
            await sign_in(client, email="ada@example.com", password=canaries.plant("wrong password"))
            await sign_in(client, grant_type="refresh_token", refresh_token=session["refresh_token"])
            for name in ("access_token", "refresh_token"):
                canaries.plant(name, session[name][-40:])
            headers = {"authorization": f"Bearer {session['access_token']}", "accept": "text/html"}
            for path in (
                "/",
                "/graphql",
                "/docs",
                "/redoc",
                "/openapi.json",
                "/demo",
                "/auth/v1/user",
                "/metrics",
                "/health",
            ):
                answer = await client.get(path, headers=headers)
                canaries.leak("pages", str(answer.headers), answer.content)
        gateway.process.send_signal(signal.SIGTERM)
        output, _ = await gateway.process.communicate()
        canaries.leak("output", output)
    assert b'"event":"request"' in canaries.sinks["output"]
    assert len(canaries.sinks["pages"]) > 10_000
    assert {name: sinks for name, sinks in canaries.found().items() if sinks} == {}


def plant_files(canaries: Canaries, folder: Path) -> None:
    """Make the lines of the generated secrets canaries."""
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines = [line for line in path.read_text().splitlines() if "-----" not in line]
        canaries.plant(f"file:{path.name}", max(lines, key=len))
    assert len(canaries.texts) == 3


async def sign_in(client: httpx.AsyncClient, *, grant_type: str = "password", **body: str) -> httpx.Response:
    return await client.post("/auth/v1/token", params={"grant_type": grant_type}, json=body)


WRONG = {
    "with a line end": "{}\n",
    "in quotation marks": '"{}"',
    "with a control character": "{}\x07",
    "too short": "{:.9}",
    "a JWT": "eyJhbGciOiJIUzI1NiJ9.{}.x",
    "a PEM": "-----BEGIN PUBLIC KEY-----{}",
    "not ASCII": "{}\u00e9",
}


@pytest.mark.parametrize("form", WRONG)
def test_no_command_prints_a_secret_setting(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    canaries = Canaries()
    for name in secret_settings():
        text = WRONG[form].format(canaries.plant(f"setting:{name}"))
        if "{:.9}" in WRONG[form]:
            canaries.texts[f"setting:{name}"] = text
        monkeypatch.setenv(name.upper(), text)
    monkeypatch.setenv("SUPABASE_URL", "https://demo.supabase.co")
    for command in (["serve"], ["settings"], ["settings", "--markdown"], ["token"], ["agent-secret", "--user", "ada"]):
        main(command)
    shown = capsys.readouterr()
    canaries.leak("printed", shown.out, shown.err)
    assert "agentgraph: " in shown.err
    assert {name for name, sinks in canaries.found().items() if sinks} == set()
