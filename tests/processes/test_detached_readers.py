"""Which readers a stopping gateway detaches, and when."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.draining import (
    LONG,
    SLACK,
    MultipartReader,
    OpenAiReader,
    Reader,
    SocketReader,
    SseReader,
    announced,
    asked,
    client,
    ended,
    first_agent,
    reading,
    rest_of,
    signed_in,
    tell,
)
from tests.support.following import conversations
from tests.support.held_model import HeldModel
from tests.support.process import serving
from tests.support.sse import parsed
from tests.support.stack import embedded_stack
from tests.support.streaming import expected, text_of
from tests.support.two_gateways import process_of

FOLLOW = "subscription($id: ID!) { new: conversation(id: $id) { __typename cursor } }"
SEND = """mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }"""
ADDED = ["MessageAdded"] * 2
"""The messages of a turn: the user's and the agent's."""
END_SECONDS = 20
"""The time in which allowed words end on a busy machine. Without it, a stream that does not end is not named."""
GRACE = 50
"""A grace period that no test reaches, in seconds."""


def follow(conversation_id: str, document: str = FOLLOW) -> dict[str, Any]:
    return {"query": document, "variables": {"id": conversation_id}}


def text_for(tokens: int) -> str:
    return f"[[tokens={tokens} delay=0]]"


async def conversation_of(gateway: Any) -> str:
    return str((await first_agent(gateway))["conversations"]["nodes"][0]["id"])


def _kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the kinds of all events that are not deltas."""
    return [event["__typename"] for event in events if event["__typename"] != "TextDelta"]


@pytest.mark.needs_redis
@pytest.mark.timeout(120)
async def test_fifty_readers_of_each_endpoint_are_detached_and_continue_turns_at_another_replica(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> None:
    """At each GraphQL endpoint, half of the streams are turns. At ``/v1``, half of the streams end during the drain."""
    model, grace = HeldModel(monkeypatch), 3
    settings = {"redis_url": redis_url, "max_streams_per_user": 300, "shutdown_grace_seconds": grace}
    async with embedded_stack(rate_limit_llm=0, rate_limit_general=0) as stack, AsyncExitStack() as processes:
        [(_, first), (_, second)] = [
            await processes.enter_async_context(process_of(stack, tmp_path, **settings)) for _ in range(2)
        ]
        doors = (SocketReader, SseReader, MultipartReader)
        conversation_ids = await conversations(stack, await stack.make_agent(), 75)
        model.allow(3)
        turns: list[Reader] = [
            door(first, text_for(9), to=one) for door, one in zip(doors * 25, conversation_ids, strict=True)
        ]
        completions: list[Reader] = [door(first, text_for(9)) for door in (*doors, OpenAiReader) for _ in range(25)]
        ending = [OpenAiReader(first, text_for(4)) for _ in range(25)]
        log = asyncio.create_task(ended(first, signal.SIGTERM))
        async with reading(*turns, *completions, *ending) as tasks:
            first.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            await asyncio.wait(tasks[: len(turns)], return_when=asyncio.FIRST_COMPLETED)  # the process drains
            model.allow(4)
            async with asyncio.timeout(END_SECONDS):
                await asyncio.gather(*tasks)
                lines = await log
            assert time.monotonic() - began < grace + SLACK
            resumed = [reader.resumed(second, "tok4") for reader in turns]
            model.allow(5)
            async with reading(*resumed) as rest:
                model.allow(9)
                async with asyncio.timeout(END_SECONDS):
                    await asyncio.gather(*rest)
        second.process.send_signal(signal.SIGTERM)
        lines += await ended(second, signal.SIGTERM)
        assert (stack.platform.state.stats.total, stack.platform.state.stats.inflight) == (200, 0)
    for reader in turns + completions:
        reader.check_detached()
    assert all(reader.heard.rstrip().endswith("data: [DONE]") and "tok3" in reader.heard for reader in ending)
    for before, after in zip(turns, resumed, strict=True):
        events = [*before.events()[:-1], *after.events()]
        assert text_of(events) == expected(9)
        assert (events[-1]["outcome"], _kinds(events)) == ("COMPLETED", ["StreamStarted", *ADDED, "StreamEnded"])
    assert announced(lines) == f"Stopping: waiting up to {grace} s for 200 streams. Press Ctrl-C again to stop now."
    assert not [line for line in lines if line["level"] == "error" or "exception" in line]


async def test_a_follower_without_events_is_detached_at_once_with_a_valid_cursor(tmp_path: Path) -> None:
    again = FOLLOW.replace("id: $id)", 'id: $id, after: "")')
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": str(GRACE)}) as gateway, signed_in(gateway) as socket:
        conversation_id = await conversation_of(gateway)
        for name, text in (("1", FOLLOW), ("2", again)):
            await tell(socket, id=name, type="subscribe", payload=follow(conversation_id, text))
        await tell(socket, id="3", type="subscribe", payload={"query": "{ viewer { id } }"})
        while json.loads(await socket.recv()) != {"id": "3", "type": "complete"}:
            pass
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(1 + SLACK):
            messages, code = await rest_of(socket)
            await ended(gateway, signal.SIGTERM)
    events = {one["id"]: one["payload"]["data"]["new"] for one in messages if one["type"] == "next"}
    assert events == {name: {"__typename": "ReaderDetached", "cursor": ""} for name in ("1", "2")}
    assert code == 1001


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_event_source_continues_after_it_was_detached_and_other_clients_do_not(
    tmp_path: Path, method: str
) -> None:
    settings = {"SHUTDOWN_GRACE_SECONDS": str(GRACE), "STREAM_HEARTBEAT_SECONDS": "0.05"}
    async with serving(tmp_path, settings) as gateway, client(gateway) as http:
        given: dict[str, Any] = follow(await conversation_of(gateway))
        if method == "GET":
            given = {"params": {**given, "variables": json.dumps(given["variables"])}}
        else:
            given = {"json": given}
        async with http.stream(method, "/graphql", headers={"accept": "text/event-stream"}, **given) as answer:
            pieces = answer.aiter_text()
            heard = await anext(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(1 + SLACK):
                async for piece in pieces:
                    heard += piece
                await ended(gateway, signal.SIGTERM)
    [detached, *after] = parsed(heard.replace(":\n", "").removesuffix(": DRAINING\n"))
    assert json.loads(detached.data)["data"]["new"] == {"__typename": "ReaderDetached", "cursor": ""}
    assert detached.id == ""
    assert 1000 <= (detached.retry or 0) <= 3000
    assert [event.name for event in after] == ([] if method == "GET" else ["complete"])


async def test_a_follower_is_detached_after_the_turn_that_it_reads(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": str(GRACE)}) as gateway, signed_in(gateway) as socket:
        conversation_id = await conversation_of(gateway)
        await tell(socket, id="1", type="subscribe", payload=follow(conversation_id))
        content = [{"text": "[[tokens=20 delay=0.05]]"}]
        given = {"to": {"conversationId": conversation_id}, "content": content, "idempotencyKey": "k"}
        await tell(socket, id="2", type="subscribe", payload={"query": SEND, "variables": {"i": given}})
        while "TextDelta" not in str(await socket.recv()):
            pass
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2 + SLACK):
            messages, code = await rest_of(socket)
            await ended(gateway, signal.SIGTERM)
    followed = [one for one in messages if one["type"] == "next" and one["id"] == "1"]
    events = [one["payload"]["data"]["new"]["__typename"] for one in followed]
    assert events[-2:] == ["StreamEnded", "ReaderDetached"]
    assert messages[-2] == {"id": "1", "type": "complete"}
    assert code == 1001


async def test_a_follower_is_detached_together_with_its_sockets_other_readers(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "1.5"}) as gateway, signed_in(gateway) as socket:
        await tell(socket, id="1", type="subscribe", payload=asked(LONG))
        await tell(socket, id="2", type="subscribe", payload=follow(await conversation_of(gateway)))
        while "TextDelta" not in str(await socket.recv()):
            pass
        gateway.process.send_signal(signal.SIGTERM)
        messages, code = await rest_of(socket)
        await ended(gateway, signal.SIGTERM)
    completes = [one["id"] for one in messages if one["type"] == "complete"]
    assert sorted(completes) == ["1", "2"]
    assert sum("TextDelta" in json.dumps(one) for one in messages) > 10
    assert messages[-1]["type"] == "ping"
    assert code == 1001
