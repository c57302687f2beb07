"""Sends commands to Redis, each of which may be refused."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

from app.setting_kinds import revealed
from app.settings import Settings
from clients.state.names import PROBE, channel

if TYPE_CHECKING:
    from clients.state.link import Command, ErrorReply, Reply

_SECTIONS = ("server", "memory", "replication", "cluster")
_MICROSECONDS = 1_000_000


class Refused(Exception):
    """Redis refused a command. The message is Redis's."""


class RedisServer:
    """The server at ``REDIS_URL``."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._url = settings.redis_url or ""
        self._password = revealed(settings.redis_password)
        self._seconds = seconds
        self._info: asyncio.Task[dict[str, str]] | None = None

    async def ping(self) -> None:
        """Connect, sign in, and send a command. Raises StateUnavailable and Refused."""
        await self._run(("PING",))

    async def info(self) -> dict[str, str]:
        """Return the facts that Redis tells about itself. Raises StateUnavailable, and Refused if this is forbidden."""
        if self._info is None:
            self._info = asyncio.create_task(self._read_info())
        return await asyncio.shield(self._info)

    async def ahead(self) -> tuple[float, float]:
        """Return how many seconds Redis's clock is ahead of this machine's, and the duration of the call."""
        began = time.time()
        [[seconds, microseconds]] = await self._run(("TIME",))
        ended = time.time()
        return int(seconds) + int(microseconds) / _MICROSECONDS - (began + ended) / 2, ended - began

    async def try_commands(self) -> None:
        """Send one command of each kind that the gateway uses. Raises StateUnavailable and Refused."""
        key = PROBE.key(uuid.uuid4().hex)
        await self._run(
            ("SET", key, "1", "PX", PROBE.milliseconds),
            ("EVAL", "return redis.call('GET', KEYS[1])", 1, key),
            ("DEL", key),
            ("PUBLISH", channel(0, "doctor"), ""),
        )

    async def _read_info(self) -> dict[str, str]:
        replies = await self._run(*(("INFO", section) for section in _SECTIONS))
        lines = [line for reply in replies for line in bytes(reply).decode(errors="replace").splitlines()]
        return {name: value for name, mark, value in (line.partition(":") for line in lines) if mark}

    async def _run(self, *commands: Command) -> list[Reply]:
        """Execute commands over a connection of their own."""
        from clients.state.link import ErrorReply, Link, link_pool, pack  # noqa: PLC0415 - redis-py is slow to import

        link = Link(link_pool(self._url, self._password))
        try:
            await link.connect(self._seconds)
            replies: list[Reply | ErrorReply] = await link.exchange([pack(one) for one in commands], self._seconds)
        finally:
            await link.close()
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise Refused(str(reply)) from reply
        return replies

    async def aclose(self) -> None:
        """Cancel the commands in progress."""
        if self._info is not None:
            self._info.cancel()
            await asyncio.gather(self._info, return_exceptions=True)
