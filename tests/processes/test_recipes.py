"""The guide's recipes to read a stream, run through a proxy that cuts their connections."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket_server
from websockets.typing import Subprotocol

from app.embedded.server import LoopbackServer
from tests.docs.examples import BASE
from tests.docs.judge import Output
from tests.docs.markdown import ROOT, snippets
from tests.support.capabilities import NODE_MODULES
from tests.support.proxy import cutting_proxy
from tests.support.stack import Stack

GUIDES = ("API_CLIENT_GUIDE.md", "API_CLIENT_GUIDE.ru.md")
LIBRARIES = ("graphql-sse", "graphql-ws")
WORDS = [f"tok{n}" for n in range(30)]
WHOLE = f"{' '.join(WORDS)}\nCOMPLETED\n"
BEGUN = '"stream":{"id"'
"""A part of the mutation's answer: the turn has begun, and its client does not know."""
CUTS = {
    "in the middle": ["tok10 "],
    "before the first word": ["StreamStarted"],
    "at the end": ["COMPLETED"],
    "again and again": ["tok3 ", "tok12 ", "tok29"],
    "while it is begun": [BEGUN, "tok5 "],
}

pytestmark = [pytest.mark.needs_node, pytest.mark.timeout(120)]


def recipe(library: str, guide: str = GUIDES[0]) -> str:
    [code] = [one.code for one in snippets(ROOT / guide) if f"from '{library}'" in one.code]
    return code


async def run(code: str, folder: Path, url: str, token: str, **put: str) -> Output:
    """Run a recipe against an address, with replacements."""
    for here, there in {BASE: url, BASE.replace("http", "ws"): url.replace("http", "ws"), **put}.items():
        code = code.replace(here, there)
    (folder / "recipe.mjs").write_text(code)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES)
    process = await asyncio.create_subprocess_exec(
        "node",
        "recipe.mjs",
        cwd=folder,
        env={**os.environ, "TOKEN": token, "no_proxy": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Output(out.decode(), process.returncode, stderr=err.decode())


async def read_through(stack: Stack, folder: Path, code: str, cuts: Sequence[str], *, reset: bool) -> Output:
    """Run a recipe through a proxy; each cut must happen, with one model call."""
    asked = {"agent-…": await stack.make_agent(), "Hello!": "hi [[tokens=30 delay=0.02]]"}
    before = (await stack.model_stats())["total"]
    async with cutting_proxy(stack.url, cuts, reset=reset) as proxy:
        output = await run(code, folder, proxy.url, stack.token(), **asked)
        assert proxy.cuts == []
    assert (await stack.model_stats())["total"] == before + 1
    return output


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_cut_connections_lose_and_repeat_no_text(
    stack: Stack, tmp_path: Path, library: str, cuts: list[str], reset: bool
) -> None:
    output = await read_through(stack, tmp_path, recipe(library), cuts, reset=reset)
    assert output == Output(WHOLE)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_retries_of_the_libraries_repeat_text(stack: Stack, tmp_path: Path, library: str) -> None:
    """The reason that the recipes turn retries off. If this fails, the recipes can be shorter."""
    code = recipe(library)
    assert code.count("retryAttempts: 0") == 1
    assert code.count("variables.after = ") == 1
    code = code.replace("retryAttempts: 0", "retryAttempts: 5").replace("variables.after = ", "")
    output = await read_through(stack, tmp_path, code, ["COMPLETED"], reset=False)  # no cut event contains text
    assert output.text.count("tok0 ") == 2


@pytest.mark.parametrize("library", LIBRARIES)
def test_both_guides_have_the_same_recipes(library: str) -> None:
    assert recipe(library, GUIDES[1]) == recipe(library)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_refusal_ends_the_recipe_with_its_code(stack: Stack, tmp_path: Path, library: str) -> None:
    code = (
        recipe(library)
        .replace("id: sent.stream.id", "id: 'stream:nope'")
        .replace("id: begun.stream.id", "id: 'stream:nope'")
    )
    output = await run(code, tmp_path, stack.url, stack.token(), **{"agent-…": await stack.make_agent()})
    assert (output.text, output.exit_code) == ("", 1)
    assert "Error: NOT_FOUND: " in output.stderr


Events = list[dict[str, Any]]
STARTED = {"data": {"startCompletion": {"stream": {"id": "stream:1"}, "errors": []}}}
SENT = {"data": {"sendMessage": {"stream": {"id": "stream:1"}, "errors": []}}}


def refusal(code: str, **extensions: Any) -> dict[str, Any]:
    return {"errors": [{"message": "No.", "extensions": {"code": code, "retryable": False, **extensions}}]}


def event(kind: str, cursor: int, **fields: Any) -> dict[str, Any]:
    return {"data": {"stream": {"__typename": kind, "cursor": str(cursor), **fields}}}


def event_stream(payloads: Events, *, complete: bool = True) -> Response:
    async def parts() -> AsyncIterator[str]:
        for payload in payloads:
            yield f"event: next\ndata: {json.dumps(payload)}\n\n"
        if complete:
            yield "event: complete\ndata:\n\n"

    return StreamingResponse(parts(), media_type="text/event-stream")


def word(number: int) -> dict[str, Any]:
    return event("TextDelta", number, text=f"tok{number} ")


ENDED = event("StreamEnded", 3, outcome="COMPLETED", error=None)
LATER = refusal("RATE_LIMITED", retryable=True, retryAfterSeconds=0.1)
DETACHED = event("ReaderDetached", 1, reason="DRAINING")
FIRST_ANSWERS: dict[str, tuple[Callable[[], Response], str | None]] = {
    "a refusal as JSON that says when to come back": (lambda: JSONResponse(LATER, 429), None),
    "a refusal as an event that says when to come back": (lambda: event_stream([LATER]), None),
    "a bad gateway": (lambda: HTMLResponse("<h1>Bad gateway</h1>", 502), None),
    "a stream that ends without a word": (lambda: event_stream([word(1)], complete=False), "1"),
    "a reader that is let go": (lambda: event_stream([word(1), DETACHED]), "1"),
}


async def read_answers(folder: Path, answers: list[Response]) -> tuple[Output, list[str | None]]:
    """Run the recipe for event streams against answers; return its output and the ``after`` of each subscription."""
    asked: list[str | None] = []

    async def answer(request: Request) -> Response:
        body = await request.json()
        if "mutation" in body["query"]:
            return event_stream([SENT])
        asked.append(body["variables"]["after"])
        return answers.pop(0)

    server = LoopbackServer(Starlette(routes=[Route("/graphql", answer, methods=["POST"])]))
    await server.start()
    try:
        return await run(recipe("graphql-sse"), folder, server.url, "token"), asked
    finally:
        await server.stop()


@pytest.mark.parametrize("name", FIRST_ANSWERS)
async def test_a_retryable_error_resumes_after_the_last_event(tmp_path: Path, name: str) -> None:
    first, after = FIRST_ANSWERS[name]
    output, asked = await read_answers(tmp_path, [first(), event_stream([word(2), ENDED])])
    assert asked == [None, after]
    assert output == Output("tok1 tok2 \nCOMPLETED\n" if after else "tok2 \nCOMPLETED\n")


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_final_error_is_not_retried(tmp_path: Path, as_json: bool) -> None:
    refused = refusal("CURSOR_EXPIRED")
    answer = JSONResponse(refused, 400) if as_json else event_stream([refused])
    output, asked = await read_answers(tmp_path, [answer])
    assert (output.exit_code, asked) == (1, [None])
    assert "Error: CURSOR_EXPIRED: No." in output.stderr


async def test_the_code_of_a_failed_stream_is_printed(tmp_path: Path) -> None:
    failed = event("StreamEnded", 2, outcome="FAILED", error={"code": "UPSTREAM_ERROR", "message": "No."})
    output, _ = await read_answers(tmp_path, [event_stream([word(1), failed])])
    assert output == Output("tok1 \nUPSTREAM_ERROR\n")


async def test_an_event_with_errors_is_printed(tmp_path: Path) -> None:
    """As if the service of one of its fields is down."""
    output, _ = await read_answers(tmp_path, [event_stream([word(1) | refusal("UPSTREAM_ERROR"), word(2), ENDED])])
    assert output == Output("tok1 tok2 \nCOMPLETED\n")


async def read_sockets(folder: Path, code: int) -> tuple[Output, list[str | None]]:
    """Run the recipe for WebSockets: the first closes with a code after one word, the second is complete."""
    asked: list[str | None] = []

    async def serve(socket: ServerConnection) -> None:
        async for message in socket:
            given = json.loads(message)
            if given["type"] == "connection_init":
                await socket.send('{"type": "connection_ack"}')
            if given["type"] != "subscribe":
                continue
            payloads = [STARTED]
            if "mutation" not in given["payload"]["query"]:
                asked.append(given["payload"]["variables"]["after"])
                payloads = [word(2), ENDED] if len(asked) > 1 else [word(1)]
            for payload in payloads:
                await socket.send(json.dumps({"id": given["id"], "type": "next", "payload": payload}))
            if payloads == [word(1)]:
                await socket.close(code, "Because.")
                return
            await socket.send(json.dumps({"id": given["id"], "type": "complete"}))

    protocol = Subprotocol("graphql-transport-ws")
    async with websocket_server(serve, "127.0.0.1", 0, subprotocols=[protocol]) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return await run(recipe("graphql-ws"), folder, url, "token"), asked


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4403, 4408])
async def test_a_closed_socket_is_reopened(tmp_path: Path, code: int) -> None:
    """With 1000 graphql-ws subscribes again by itself, regardless of ``retryAttempts``."""
    output, asked = await read_sockets(tmp_path, code)
    assert asked == [None, "1"]
    assert output == Output("tok1 tok2 \nCOMPLETED\n")


async def test_a_socket_closed_for_an_invalid_message_is_not_reopened(tmp_path: Path) -> None:
    output, asked = await read_sockets(tmp_path, 4400)
    assert (output.exit_code, asked) == (1, [None])
    assert "Error: 4400: Because." in output.stderr


async def test_a_404_of_another_server_is_not_retried(tmp_path: Path) -> None:
    output, asked = await read_answers(tmp_path, [HTMLResponse("Not here.", 404)])
    assert (output.exit_code, asked) == (1, [None])
    assert "404" in output.stderr
