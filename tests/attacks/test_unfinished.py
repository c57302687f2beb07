"""Many incomplete heads, bodies and socket messages, and many aborted requests."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.connections.idle_connections import MAX_HEADS_BYTES
from app.embedded.people import ADA
from app.slots import BODIES
from tests.support.attack import Target, attacked
from tests.support.rawhttp import Raw, raw
from tests.support.rawsocket import Op, frame, raw_socket

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
MIB = 2**20
SETTINGS = {"RATE_LIMIT_GENERAL": "0", "RATE_LIMIT_LLM": "0", "MAX_SOCKET_MESSAGES_PER_SECOND": "100000"}
BODY = 1_000_000
MOST_HELD = BODIES * BODY
MANY = 120
"""More bodies than one user may have in memory, and fewer than the user has slots."""


def head(target: Target, length: int, user_id: str | None = ADA) -> bytes:
    signed = "" if user_id is None else f"Authorization: Bearer {target.token(user_id)}\r\n"
    lines = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{lines}{signed}Content-Length: {length}\r\n\r\n".encode()


async def places_free(target: Target) -> None:
    """Wait until only the bystander holds slots, and no body is in memory."""
    async with asyncio.timeout(30):
        while True:
            metrics = await target.metrics()
            taken = sum(value for _, value in metrics["agentgraph_slots_in_use"])
            if taken <= 2 and metrics["agentgraph_body_bytes"][0][1] < 1000:
                return
            await asyncio.sleep(0.05)


async def refused(connection: Raw) -> tuple[int, str]:
    status, _, body = await connection.answer()
    return status, json.loads(body)["errors"][0]["extensions"]["reason"]


@pytest.mark.parametrize(
    ("user_id", "count", "bodies", "more"), [(ADA, MANY, BODIES, 60 * MIB), (None, 30, BODIES // 4, 20 * MIB)]
)
async def test_incomplete_bodies_hold_at_most_the_share_of_their_owner(
    target: Target, user_id: str | None, count: int, bodies: int, more: int
) -> None:
    async with target.bystander(), target.measured() as cost, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(raw(target.address)) for _ in range(count)]
        answers = [asyncio.create_task(refused(one)) for one in held]
        for one in held:
            await one.send(head(target, BODY, user_id) + b" " * (BODY - 1000))
        told = {answer.result() for answer in (await until_done(answers, count - bodies - 1))}
        assert told == {(429, "BODIES")}
        for task in answers:
            task.cancel()
    await places_free(target)
    assert cost.peak_rss_bytes < bodies * BODY + more  # also the bytes that refused connections had received


async def until_done(tasks: list[asyncio.Task[tuple[int, str]]], count: int) -> list[asyncio.Task[tuple[int, str]]]:
    """Wait until this number of tasks has ended."""
    while len(done := [task for task in tasks if task.done()]) < count:
        waiting = [task for task in tasks if not task.done()]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    return done


async def test_incomplete_messages_of_sockets_are_bounded_by_the_users_share(target: Target) -> None:
    """A fragment of nearly a megabyte on each of many sockets, and no end."""
    async with target.bystander(), target.measured() as cost, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(raw_socket(target.address)) for _ in range(BODIES + 20)]
        for one in sockets:
            await one.sign_in(target.token())
        closing = [asyncio.create_task(one.closed()) for one in sockets]
        for one in sockets:
            await one.send(frame(Op.TEXT, b" " * (BODY - 1000), fin=False))
        told = {one.result() for one in await until_done(closing, len(sockets) - BODIES)}
        assert told == {(4429, "The messages and requests in progress have too many bytes. Send fewer at a time.")}
        for task in closing:
            task.cancel()
    await places_free(target)
    assert cost.peak_rss_bytes < MOST_HELD + 40 * MIB


async def test_incomplete_heads_of_all_connections_are_bounded(target: Target) -> None:
    part = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %b\r\n" % (at, b"x" * 590) for at in range(100))
    part = part[:60_000]
    many = 2 * MAX_HEADS_BYTES // len(part)
    async with target.bystander(), target.measured() as cost, AsyncExitStack() as stack:
        held = []
        for _ in range(many):
            held.append(await stack.enter_async_context(raw(target.address)))
            await held[-1].send(part)
        assert await held[0].rest() == b""
        await held[-1].send(b"\r\n\r\n")
        assert (await held[-1].answer())[0] == 200
    assert cost.peak_rss_bytes < 3 * MAX_HEADS_BYTES


@pytest.mark.parametrize("how", ["body", "query", "stream", "graph stream"])
async def test_aborted_requests_free_their_slots_and_memory(tmp_path: Path, how: str) -> None:
    async with attacked(tmp_path, **SETTINGS) as target:
        await _aborted(target, how)


async def _aborted(target: Target, how: str) -> None:
    say = "[[tokens=100 delay=0.02]]"
    chat = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": say}]}
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": say}]}

    def sent() -> bytes:
        if how == "body":
            return head(target, BODY) + b" " * 5000
        body: dict[str, Any]
        path, body = b"/graphql", {"query": "{ viewer { agents { nodes { id name messages { nodes { id } } } } } }"}
        if how == "stream":
            path, body = b"/v1/chat/completions", chat
        elif how == "graph stream":
            query = "subscription($i: CompletionInput!, $k: ID!) { completion(input: $i, streamKey: $k) { cursor } }"
            body = {"query": query, "variables": {"i": asked, "k": str(uuid.uuid4())}}
        content = json.dumps(body).encode()
        begin = head(target, len(content)).replace(b"/graphql", path)
        return begin.replace(b"\r\n\r\n", b"\r\nAccept: */*, text/event-stream\r\n\r\n") + content

    async def aborted(number: int) -> None:
        async with raw(target.address) as connection:
            await connection.send(sent())
            if number % 2:
                await asyncio.sleep(0.001 * (number % 30))
            connection.writer.transport.abort()

    await places_free(target)
    async with target.bystander(), target.measured() as cost:
        for start in range(0, 1000, 20):
            await asyncio.gather(*(aborted(start + number) for number in range(20)))
        await places_free(target)
    assert cost.rss_bytes < 64 * MIB  # garbage of up to 40 MB waits for a full collection
    assert b"internal error" not in target.log
    assert b"Traceback" not in target.log
    async with target.client() as client:
        assert (await client.post("/graphql", json={"query": "{ viewer { id } }"})).status_code == 200
