"""A server at ``LETTA_BASE_URL`` that is not Letta: Letta's App Server, and others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.support.app_server import HEALTH, INFO, app_server
from tests.support.oddserver import Scripted, odd_server
from tests.support.stack import Stack, embedded_stack

JSON = {"content-type": "application/json"}
CURE = (
    "Run Letta 0.16.8 (the image letta/letta:0.16.8, or `pip install letta==0.16.8`), and set LETTA_BASE_URL to its "
    "http:// or https:// URL. docs/letta.md says more."
)
IS_APP_SERVER = "The server at LETTA_BASE_URL is Letta's App Server, which `pip install letta` installs "
PROBABLY = "So it is probably Letta's App Server, which `pip install letta` installs "
UNKNOWN = (
    "The server at LETTA_BASE_URL has no /v1/health/ (status 404). Either the server is not Letta, or the path in "
    "LETTA_BASE_URL is wrong. docs/letta.md says which Letta the gateway needs."
)
PLATFORM = "{ platform { degraded services { service status note } } viewer { email } models { name } }"


async def letta_in_health(stack: Stack) -> dict[str, Any]:
    """Return what ``/health`` says about Letta."""
    answer = await stack.client.get("/health")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()["services"]["letta"]
    return found


@pytest.mark.parametrize(("guarded", "what"), [(False, IS_APP_SERVER), (True, PROBABLY)])
async def test_an_app_server_is_named_with_the_cure_and_everything_else_works(guarded: bool, what: str) -> None:
    async with app_server(guarded=guarded) as server, embedded_stack(letta_base_url=server.url) as stack:
        seen = await letta_in_health(stack)
        assert server.asked == [f"GET {HEALTH}", f"GET {INFO}"]
        assert (seen["status"], seen["breaker"]) == ("down", "closed")
        assert what in seen["note"]
        assert seen["note"].endswith(CURE)
        assert ("probably" in seen["note"]) == guarded
        data = (await stack.graphql(PLATFORM))["data"]
        assert data["platform"]["degraded"] is True
        services = {one.pop("service"): one for one in data["platform"]["services"]}
        assert services.pop("LETTA") == {"status": "DOWN", "note": seen["note"]}
        assert [one["status"] for one in services.values()] == ["OK"] * 3
        assert data["viewer"]["email"] == "ada@example.com"
        assert data["models"]
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[tokens=2 delay=0]]"}]}
        chat = await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers())
        assert chat.status_code == 200


async def test_objects_that_an_app_server_does_not_have_are_not_reported_as_missing() -> None:
    async with app_server() as server, embedded_stack(letta_base_url=server.url) as stack:
        agent = await stack.make_agent()
        conversation = "conv-00000000-0000-4000-8000-000000000001"
        deletion = f'deleteConversation(input: {{conversationId: "{conversation}"}}) {{ deletedConversationId }}'
        for query in (
            f'{{ agent(id: "{agent}") {{ name }} }}',
            f'{{ node(id: "{conversation}") {{ id }} }}',
            f"mutation {{ {deletion} }}",
        ):
            [error] = (await stack.graphql(query))["errors"]
            found = error["extensions"]
            assert (found["code"], found["reason"], found["service"]) == ("UPSTREAM_ERROR", "STATUS", "letta"), query


async def test_a_healthy_letta_gets_no_further_call() -> None:
    async with embedded_stack() as stack:
        before = len(stack.calls("letta"))
        assert (await letta_in_health(stack))["status"] == "ok"
        await stack.graphql(PLATFORM)
        assert stack.calls("letta")[before:] == [f"GET {HEALTH}"] * 2


HEALTHY = Scripted(headers=JSON, pieces=[b'{"version":"0.16.8","status":"ok"}'])
ABSENT = Scripted(status=404, headers={})
APP_SERVER = Scripted(headers=JSON, pieces=[b'{"type":"app_server_info_response","new":[1]}'])


@asynccontextmanager
async def answering(answers: dict[str, Scripted], path: str = "") -> AsyncIterator[Stack]:
    """Run a gateway with a Letta that answers with the current ``answers``, by path, or with 404."""

    def answer(_: str, asked: str, __: bytes) -> Scripted:
        return answers.get(asked.removeprefix(path), ABSENT)

    async with odd_server(answer) as url, embedded_stack(letta_base_url=url + path) as stack:
        yield stack


async def test_a_letta_that_replaces_an_app_server_is_healthy_at_once() -> None:
    answers = {INFO: APP_SERVER}
    async with answering(answers) as stack:
        for _ in range(2):
            assert IS_APP_SERVER in (await letta_in_health(stack))["note"]
            answers[HEALTH] = HEALTHY
            seen = await letta_in_health(stack)
            assert (seen["status"], seen["note"]) == ("ok", None)
            del answers[HEALTH]


def said(status: int, body: Any = None, **more: Any) -> Scripted:
    pieces = [] if body is None else [body if isinstance(body, bytes) else orjson.dumps(body)]
    return Scripted(status=status, headers=JSON, pieces=pieces, **more)


NOT_ANSWERS = {
    "absent": ABSENT,
    "a page": Scripted(headers={"content-type": "text/html"}, pieces=[b"<html>app_server_info_response</html>"]),
    "another type": said(200, {"type": "app_server_info"}),
    "no type": said(200, {"status": "ok"}),
    "no object": said(200, ["app_server_info_response"]),
    "no body": said(200),
    "not UTF-8": said(200, b'{"type":"\xff"}'),
    "refused": said(403),
    "failed": said(500, {"type": "app_server_info_response"}),
    "moved": said(302),
    "reset": said(200, reset=True),
    "too large": said(200, b" " * 5_000_000),
    "a broken encoding": Scripted(headers={**JSON, "content-encoding": "gzip"}, pieces=[b"x"]),
}


async def test_a_server_without_letta_s_paths_is_unknown_whatever_else_it_answers() -> None:
    answers: dict[str, Scripted] = {}
    async with answering(answers, "/at/s3cret") as stack:
        for name, info in NOT_ANSWERS.items():
            answers[INFO] = info
            seen = await letta_in_health(stack)
            assert (seen["status"], seen["note"]) == ("down", UNKNOWN), name
        assert "s3cret" not in str(await stack.graphql(PLATFORM))


async def test_a_401_is_an_app_server_s_only_after_a_404_without_a_body() -> None:
    answers = {HEALTH: said(404, {"detail": "Not Found"}), INFO: said(401)}
    async with answering(answers) as stack:
        assert (await letta_in_health(stack))["note"] == UNKNOWN
        del answers[HEALTH]
        assert PROBABLY in (await letta_in_health(stack))["note"]


async def test_an_app_server_info_that_hangs_delays_the_check_only_to_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.upstreams.HEALTH_SECONDS", 0.3)
    async with answering({INFO: Scripted(pieces=[30.0])}) as stack:
        assert (await letta_in_health(stack))["note"] == UNKNOWN


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_other_failures_of_the_health_check_cause_no_further_call(status: int) -> None:
    asked: list[str] = []

    def answer(_: str, path: str, __: bytes) -> Scripted:
        asked.append(path)
        return said(status, {"detail": "no"})

    async with odd_server(answer) as url, embedded_stack(letta_base_url=url) as stack:
        assert (await letta_in_health(stack))["status"] == "down"
        assert asked == [HEALTH]
