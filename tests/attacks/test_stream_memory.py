"""The memory of a running stream: resident memory of a gateway that serves little else."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from app.embedded.people import ADA, GRACE
from tests.support.attack import Target
from tests.support.documents import COMPLETION_TEXT
from tests.support.endless import Model, asked, endless_model, gone
from tests.support.rawsocket import text

STREAMS = 100
TOKENS = 24
LATER_TOKENS = 120
MAX_STREAM_BYTES = 60 * 1024
"""Of a stream with ``TOKENS`` tokens, at any door."""
MAX_TOKEN_BYTES = 150
"""Of each token after them, once its readers have taken it. One that is not packed takes 450."""
UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13"
    b"\r\nsec-websocket-key: c2l4dGVlbiBieXRlcyEhIQ==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n"
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio]


class Streams:
    """Running streams of two users at one door, read by one client each."""

    def __init__(self, target: Target, door: str) -> None:
        self._target = target
        self._door = door
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, number: int) -> None:
        """Open streams, each with its first token."""
        for _ in range(0, number, 2):
            self._open += await asyncio.gather(self._one(ADA), self._one(GRACE))

    async def say(self, tokens: int) -> None:
        """Send this number of tokens in every stream, one at a time, and read them."""
        for _ in range(tokens):
            for transport in Model.answering:
                Model.say(transport)
            await asyncio.gather(*(reader.readuntil(b"token ") for reader, _ in self._open))

    async def close(self) -> None:
        """Close every stream, and wait until the gateway has closed it too."""
        for _, writer in self._open:
            writer.transport.abort()
        self._open.clear()
        await gone(self._target)

    async def _one(self, user_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self._target.address)
        if self._door == "ws":
            writer.write(UPGRADE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                text(type="connection_init", payload={"Authorization": f"Bearer {self._target.token(user_id)}"})
            )
            await reader.readuntil(b"connection_ack")
            given = {"model": "m", "messages": [{"role": "USER", "content": "hi"}]}
            payload = {"query": COMPLETION_TEXT, "variables": {"i": given, "k": str(uuid.uuid4())}}
            writer.write(text(id="1", type="subscribe", payload=payload))
        else:
            writer.write(asked(self._door, user_id, self._target))
        await reader.readuntil(b"token ")
        return reader, writer


@pytest.mark.parametrize("door", ["v1", "graphql", "ws"])
async def test_a_running_stream_holds_little_memory(door: str, tmp_path: Path) -> None:
    async with endless_model(tmp_path) as target:
        streams = Streams(target, door)
        await streams.open(10)  # what is made once
        await streams.say(TOKENS)
        await streams.close()
        before = target.rss_bytes()
        await streams.open(STREAMS)
        await streams.say(TOKENS)
        opened = target.rss_bytes()
        await streams.say(LATER_TOKENS)
        grown = target.rss_bytes() - opened
        await streams.close()
    assert (opened - before) / STREAMS <= MAX_STREAM_BYTES
    assert grown / (STREAMS * LATER_TOKENS) <= MAX_TOKEN_BYTES
