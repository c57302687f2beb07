"""News through Redis's pub/sub."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

from clients.state.connection import PROBE_SECONDS, RedisConnection
from clients.state.errors import StateUnavailable
from clients.state.link import ErrorReply, Link, pack
from clients.state.names import channel
from clients.state.news import Subscriber

CHECK_SECONDS = 2.0
"""The interval at which the gateway checks whether the connection for news works, in seconds."""

SILENT_SECONDS = 5.0
"""If Redis sends nothing for this time, the gateway connects again, in seconds."""


class RedisNews:
    """News through Redis's pub/sub, on a connection of its own.

    If the connection breaks, the gateway connects again, and calls ``connected`` of each subscriber.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._link: Link | None = None
        self._heard_at = 0.0
        self._unsent: list[str] = []
        self._wake = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())
        self._checking = asyncio.create_task(self._check())

    def publish(self, topic: str, message: bytes) -> None:
        """Send a message to all replicas."""
        self._connection.submit("PUBLISH", self._channel(topic), message).add_done_callback(_retrieve)

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Receive the messages of a topic."""
        name = self._channel(topic)
        self._subscribers.setdefault(name, []).append(subscriber)
        self._unsent.append(name)
        self._wake.set()

    def _channel(self, topic: str) -> str:
        return channel(self._connection.database, topic)

    async def aclose(self) -> None:
        """Close the connection."""
        tasks = (self._listening, self._checking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        pause = 0.01
        while True:
            link = self._connection.new_link()
            try:
                await link.connect()
                self._heard_at, self._link = time.monotonic(), link
                names, self._unsent = list(self._subscribers), []
                await link.send([pack(("SUBSCRIBE", self._channel("none"), *names))])
                while True:
                    self._hear(await link.read())
                    pause = 0.01
            except StateUnavailable:
                pass
            finally:
                self._link = None
                await link.close()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(2 * pause, PROBE_SECONDS)

    def _hear(self, message: object) -> None:
        self._heard_at = time.monotonic()
        if isinstance(message, ErrorReply):  # for example, the Redis user may not subscribe to the channels
            raise self._connection.refused(message)
        if not isinstance(message, list) or len(message) != 3:
            return
        kind, name, payload = message
        loop = asyncio.get_running_loop()  # a subscriber that raises an exception does not end the news
        for subscriber in self._subscribers.get(bytes(name).decode(), ()):
            if kind == b"message":
                loop.call_soon(subscriber.hear, bytes(payload))
            elif kind == b"subscribe":
                loop.call_soon(subscriber.connected)

    async def _check(self) -> None:
        """Send new subscriptions and pings. Close a connection on which nothing arrives."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            link, names = self._link, self._unsent
            if link is None:
                continue
            self._unsent = []
            if time.monotonic() - self._heard_at > SILENT_SECONDS:
                await link.close()
                continue
            with suppress(StateUnavailable):
                await link.send([pack(("SUBSCRIBE", *names) if names else ("PING",))])


def _retrieve(reply: asyncio.Future[object]) -> None:
    if not reply.cancelled():
        reply.exception()
