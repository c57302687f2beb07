"""The connections to one origin."""

import asyncio
import time
from collections import deque

import httpx

from clients.http.connection import Connection
from clients.http.dialing import Dialer
from clients.http.messages import RawRequest

KEEPALIVE_SECONDS = 4.0
"""The seconds after which the client closes an idle connection.

The time is shorter than servers' timeouts, such as uvicorn's 5 seconds, so that the server rarely closes first.
"""

_CLOSING_TURNS = 100
"""The maximum number of event loop iterations for which ``aclose`` waits until connections are closed."""


class Pool:
    """The connections to one origin.

    Args:
        dialer: opens connections.
        limit: the maximum number of connections, or ``None``. Further requests wait in a queue, first in, first out.

    Attributes:
        in_use: the number of connections that are carrying a request or are being opened.
    """

    def __init__(self, dialer: Dialer, limit: int | None = None) -> None:
        self._dialer = dialer
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # the connection that was used last is the last
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.in_use = 0

    def take(self) -> Connection | None:
        """Take an idle connection. Returns ``None`` if there is none, or if ``limit`` connections are in use.

        Unlike ``acquire``, this method needs no coroutine.
        """
        if self._limit is not None and self.in_use >= self._limit:
            return None
        connection = self._reusable()
        if connection is not None:
            self.in_use += 1
        return connection

    async def acquire(self, request: RawRequest) -> Connection:
        """Take an idle connection, or open a connection. Wait if ``limit`` connections are in use.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: no connection can be opened.
            httpx.PoolTimeout: no connection was free within the timeout.
            TimeoutError: the request's deadline has passed.
        """
        left = request.deadline - time.monotonic()
        async with asyncio.timeout(left if left < float("inf") else None):
            await self._wait(request.timeouts.pool)
            try:
                connection = None if request.fresh else self._reusable()
                return connection or await self._open(request)
            except BaseException:  # a cancellation also frees the slot
                self._free()
                raise

    async def _open(self, request: RawRequest) -> Connection:
        if self._limit is not None and self.in_use + len(self._idle) > self._limit:
            next(iter(self._idle)).abort()
        self._check_open()
        connection = Connection(self, self._loop)
        try:
            await self._dialer.dial(lambda: connection, request.timeouts.connect)
            self._check_open()
        except BaseException:  # a cancellation also closes the connection
            connection.abort()  # uvloop calls no connection_lost if it closes a new connection at a cancellation
            raise
        self._all.add(connection)
        return connection

    def _check_open(self) -> None:
        if self._is_closed:
            raise httpx.ConnectError("The client was closed.")

    async def _wait(self, timeout_seconds: float | None) -> None:
        """Wait for one of ``limit`` slots, and take the slot."""
        if self._limit is None or self.in_use < self._limit:
            self.in_use += 1
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter
        except BaseException as error:  # a cancellation also gives the slot to the next request
            if waiter.done() and not waiter.cancelled():
                self._free()
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("No connection was free in time.") from error
            raise

    def _free(self) -> None:
        self.in_use -= 1
        if not self._waiters:
            return
        waiter = next((one for one in self._waiters if not one.done()), None)
        if waiter is not None:
            self._waiters.remove(waiter)
            self.in_use += 1
            waiter.set_result(None)

    def _reusable(self) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.idle_until > now and connection.is_open:
                return connection
            self._idle[connection] = None
            connection.abort()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep an idle connection for the next request."""
        connection.idle_until = time.monotonic() + KEEPALIVE_SECONDS
        self._idle[connection] = None
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(KEEPALIVE_SECONDS, self._sweep)
        self._free()

    def drop(self, connection: Connection) -> None:
        """Remove a closed connection."""
        if connection in self._all:
            self._all.discard(connection)
            if connection in self._idle:
                del self._idle[connection]
            else:
                self._free()

    def _sweep(self) -> None:
        """Close connections that were idle for ``KEEPALIVE_SECONDS``."""
        self._sweeper = None
        now = time.monotonic()
        while self._idle:
            connection = next(iter(self._idle))
            if (left := connection.idle_until - now) > 0:
                self._sweeper = self._loop.call_later(left, self._sweep)
                return
            connection.abort()

    async def aclose(self) -> None:
        """Close all connections."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        closing = list(self._all)
        for connection in closing:
            connection.cut("The client was closed.")
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)
            if all(connection.is_lost for connection in closing):
                break
