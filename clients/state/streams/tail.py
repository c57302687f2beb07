"""Reads the streams' logs in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from clients.state.connection import RedisConnection
from clients.state.link import Command, ErrorReply, pack
from clients.state.names import STREAM_WAKE
from clients.state.streams.backend import Place
from clients.state.streams.keys import stream_keys
from clients.state.streams.records import Page, StreamState

BLOCK_SECONDS = 1.0
"""How long a blocking read waits for entries, in seconds."""

ANSWER_SECONDS = 2.0
"""How long a blocking read may take after ``BLOCK_SECONDS``, in seconds."""

UNREADABLE = b""
"""An entry with fields that only a different version of the gateway knows. No entry of a stream is empty."""


class LogTail:
    """Reads logs, and waits for new entries of many logs with one blocking command on a connection of its own."""

    def __init__(self, connection: RedisConnection, replica: str) -> None:
        self._redis = connection
        self._link = connection.new_link()
        self._wake_key = STREAM_WAKE.key("all", replica)
        self._woken = "0"

    async def range(self, place: Place, count: int) -> Page:
        """Return the entries after a place."""
        log = stream_keys(place.owner, place.stream_id)[1]
        reply = await self._redis.command("XRANGE", log, f"({place.after}-0", "+", "COUNT", count)
        return _page(place.after, reply)

    async def states(self, places: Sequence[Place]) -> list[tuple[StreamState | None, int]]:
        """Return each stream's state, or ``None`` if the stream does not exist, and its number of entries."""
        replies = []
        for place in places:
            record, log = stream_keys(place.owner, place.stream_id)
            replies += [self._redis.command("HGET", record, "state"), self._redis.command("XLEN", log)]
        values = iter(await asyncio.gather(*replies))
        return [_state(state, count) for state, count in zip(values, values, strict=True)]

    async def next_pages(self, places: Sequence[Place], count: int) -> list[tuple[Place, Page]]:
        """Wait until streams have entries after the given places. Return at most ``count`` entries of each."""
        by_log = {stream_keys(place.owner, place.stream_id)[1]: place for place in places}
        ids = [f"{place.after}-0" for place in by_log.values()]
        block = int(BLOCK_SECONDS * 1000)
        command: Command = (
            "XREAD",
            "COUNT",
            count,
            "BLOCK",
            block,
            "STREAMS",
            self._wake_key,
            *by_log,
            self._woken,
            *ids,
        )
        if not self._link.is_open:
            await self._link.connect()
        reply = (await self._link.exchange([pack(command)], BLOCK_SECONDS + ANSWER_SECONDS))[0]
        if isinstance(reply, ErrorReply):
            await self._link.close()
            raise reply.unavailable()
        pages = []
        for name, entries in reply or ():
            place = by_log.get(name.decode())
            if place is None:
                self._woken = entries[-1][0].decode()
            else:
                pages.append((place, _page(place.after, entries)))
        return pages

    def wake(self) -> None:
        """End the current wait of ``next_pages``, or the next wait."""
        self._submit("XADD", self._wake_key, "MAXLEN", 1, "*", "w", "")
        self._submit("PEXPIRE", self._wake_key, STREAM_WAKE.milliseconds)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._link.close()

    def _submit(self, *command: Any) -> None:
        self._redis.submit(*command).add_done_callback(_retrieve)


def _state(state: bytes | None, count: int) -> tuple[StreamState | None, int]:
    if state is None:
        return None, 0
    found = StreamState.RUNNING
    with suppress(ValueError):  # a state of a different version of the gateway
        found = StreamState(state.decode())
    if found is StreamState.RUNNING:
        return found, count
    return (found, count - 1) if count else (StreamState.EVICTED, 0)  # an ended log has an entry with the outcome


def _page(after: int, entries: Sequence[Any]) -> Page:
    """Decode entries. The entries after a gap are left out."""
    found: list[bytes] = []
    for seq, (entry_id, fields) in enumerate(entries, after + 1):
        if int(entry_id.partition(b"-")[0]) != seq:
            break
        match fields:
            case [b"e", outcome]:
                return Page(after, found, outcome)
            case [b"d", value]:
                found.append(value)
            case _:
                found.append(UNREADABLE)
    return Page(after, found)


def _retrieve(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()
