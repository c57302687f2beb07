"""A hub of streams, and sources that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from clients.errors import GatewayError
from clients.origin import Owner
from clients.usage import Usage
from resolvers.streams.attaching import Starting
from resolvers.streams.events import (
    Batch,
    Delivery,
    Ended,
    Event,
    OnDisconnect,
    Started,
    StreamFailure,
    StreamOutcome,
    TextDelta,
)
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import StreamLimits
from resolvers.streams.log import StreamLog
from resolvers.streams.stream import Stream, StreamRequest

ADA, GRACE, USER = Owner("ada"), Owner("grace"), Owner("user")
COMPLETED = Ended(outcome=StreamOutcome.COMPLETED)


class Metrics:
    def __init__(self) -> None:
        self.ended: list[str] = []
        self.tokens: list[tuple[int | None, int | None]] = []
        self.broken: list[Exception] = []

    def stream_started(self, kind: str) -> None: ...
    def first_token(self, kind: str, seconds: float) -> None: ...
    def next_frames(self, kind: str, seconds: float, frames: int) -> None: ...

    def event_unreadable(self, kind: str) -> None: ...

    def tokens_used(self, kind: str, prompt: int | None, completion: int | None) -> None:
        self.tokens.append((prompt, completion))

    def stream_ended(self, kind: str, outcome: str, seconds: float) -> None:
        self.ended.append(outcome)

    def source_broke(self, kind: str, error: Exception) -> None:
        self.broken.append(error)


class ScriptedSource:
    """A source that follows a script, and counts how often it was opened and closed."""

    def __init__(self, *script: Event | Exception | asyncio.Event, refuses: Exception | None = None) -> None:
        self.run_id: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}
        self.mark = 0
        self.script = script
        self.refuses = refuses
        self.opened = self.closed = self.abandonments = 0
        self.settled: list[Ended | None] = []

    def recipe(self) -> bytes:
        return b"script"

    async def events(self) -> AsyncGenerator[Batch]:
        self.opened += 1
        if self.refuses is not None:
            raise self.refuses
        try:
            async for said in self.said():
                yield Batch([said])
        finally:
            self.closed += 1

    async def settle(self, log: StreamLog) -> None:
        self.settled.append(log.ended)

    async def abandoned(self) -> None:
        self.abandonments += 1

    async def said(self) -> AsyncIterator[tuple[Event, bytes]]:
        for line in self.script:
            if isinstance(line, asyncio.Event):
                await line.wait()
            elif isinstance(line, Exception):
                raise line
            else:
                yield line, b""


def finished(*events: Event | asyncio.Event) -> ScriptedSource:
    """Return a source that completes after these events."""
    return ScriptedSource(Started(), *events, COMPLETED)


def hub(**limits: Any) -> tuple[StreamHub, Metrics]:
    metrics = Metrics()
    return StreamHub(StreamLimits(**{"coalesce": 0, **limits}), metrics), metrics


def starting(streams: StreamHub, source: ScriptedSource, /, **more: Any) -> Starting:
    options = {"owner": USER, "kind": "turn", "source": lambda _: source, "on_disconnect": OnDisconnect.CANCEL, **more}
    return streams.start(StreamRequest(**options))


async def end_of(stream: Stream) -> Ended:
    return await stream.log.end()


async def run_to_end(streams: StreamHub, source: ScriptedSource, **more: Any) -> Ended:
    """Start a stream, and read it until its end."""
    async with starting(streams, source, **more) as stream:
        return await end_of(stream)


def failure_of(ended: Ended) -> StreamFailure:
    assert ended.error is not None
    return ended.error


@contextmanager
def refuses(kind: type[GatewayError], reason: str) -> Iterator[None]:
    """Expect an error with a reason."""
    with pytest.raises(kind) as refused:
        yield
    assert refused.value.reason == reason


async def upstream_bytes(log: StreamLog) -> list[bytes]:
    """Return the upstream bytes of the entries that still have them."""
    found: list[bytes] = []
    position = 0
    while batch := await log.after(position):
        position += len(batch)
        found += [entry.raw for entry in batch if entry.raw]
    return found


def text_in(heard: list[Delivery[Event]]) -> str:
    return "".join(one.event.text for one in heard if isinstance(one.event, TextDelta))
