"""Which readers a stopping gateway detaches, and when."""

from __future__ import annotations

import asyncio
import json
import signal
import time
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
from tests.support.process import serving
from tests.support.sse import parsed

FOLLOW = "subscription($id: ID!) { new: conversation(id: $id) { __typename cursor } }"
SEND = """mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }"""
GRACE = 50
"""A grace period that no test reaches, in seconds."""


def follow(conversation_id: str, document: str = FOLLOW) -> dict[str, Any]:
    return {"query": document, "variables": {"id": conversation_id}}


async def conversation_of(gateway: Any) -> str:
    return str((await first_agent(gateway))["conversations"]["nodes"][0]["id"])


async def test_fifty_readers_of_each_endpoint_are_told_before_the_process_ends(tmp_path: Path) -> None:
    text = "[[tokens=5000 delay=0.3]]"
    settings = {"SHUTDOWN_GRACE_SECONDS": "1", "MAX_STREAMS_PER_USER": "200"}
    async with serving(tmp_path, settings) as gateway:
        doors = (SocketReader, SseReader, MultipartReader, OpenAiReader)
        readers: list[Reader] = [door(gateway, text) for door in doors for _ in range(50)]
        async with reading(*readers) as tasks:
            gateway.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            await asyncio.gather(*tasks)
            log = await ended(gateway, signal.SIGTERM)
            assert time.monotonic() - began < 1 + SLACK
    for reader in readers:
        reader.check_detached()
    assert announced(log) == "Stopping: waiting up to 1 s for 200 streams. Press Ctrl-C again to stop now."
    assert not [line for line in log if line["level"] == "error" or "exception" in line]


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
    events = [one["payload"]["data"]["new"]["__typename"] for one in messages if one["type"] == "next"]
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
