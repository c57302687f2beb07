"""An HTTP/1.1 client that needs little CPU time, with an open loop and a closed loop of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import cast

import httptools

GIVE_UP_SECONDS = 30.0
"""The timeout for the end of an answer."""


@dataclass(frozen=True)
class Request:
    """The bytes of a request."""

    raw: bytes

    @classmethod
    def post(cls, path: str, body: bytes, token: str, accept: str = "application/json") -> Request:
        """Return a POST of JSON with a token."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\naccept: {accept}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return cls(head.encode() + body)

    @classmethod
    def get(cls, path: str, token: str | None = None) -> Request:
        """Return a GET, with or without a token."""
        signed = "" if token is None else f"authorization: Bearer {token}\r\n"
        return cls(f"GET {path} HTTP/1.1\r\nhost: bench\r\n{signed}\r\n".encode())


@dataclass(frozen=True)
class Answered:
    """The result of a request.

    Attributes:
        began: the time at which the request was due, in seconds since the load began.
        seconds: the time from ``began`` to the answer's last byte.
        status: the answer's status; 0 without an answer.
    """

    began: float
    seconds: float
    status: int


class Connection(asyncio.Protocol):
    """A connection for one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port on this machine."""
        _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return made

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open."""
        return self.transport is not None and not self.transport.is_closing()

    async def ask(self, request: Request) -> int:
        """Send a request, and wait for the whole answer.

        Returns:
            The answer's status; 0 if the connection ends or ``GIVE_UP_SECONDS`` pass before the answer is complete.
        """
        assert self.transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request.raw)
        try:
            return await asyncio.wait_for(self._done, GIVE_UP_SECONDS)
        except TimeoutError:
            self.transport.abort()
            return 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self.transport is not None
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._end(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature of a protocol
        self._end(0)

    def _end(self, status: int) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(status)


class Pool:
    """Keep-alive connections to one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []

    async def ask(self, request: Request) -> int:
        """Send a request over an idle or new connection. Return the status, or 0 without an answer."""
        connection = None
        while self._idle and connection is None:
            connection = self._idle.pop()
            connection = connection if connection.is_open else None
        try:
            connection = connection or await Connection.open(self._port)
        except OSError:
            return 0
        status = await connection.ask(request)
        if connection.is_open:
            self._idle.append(connection)
        return status


async def at_pace(port: int, requests: Sequence[Request], per_second: float, seconds: float) -> list[Answered]:
    """Send requests round-robin at a fixed rate, independent of the answers (an open loop)."""
    pool, answers = Pool(port), list[Answered]()
    start = time.perf_counter()

    async def one(due: float, request: Request) -> None:
        status = await pool.ask(request)
        answers.append(Answered(due, time.perf_counter() - start - due, status))

    running, number = set[asyncio.Task[None]](), 0
    while (due := number / per_second) < seconds:
        if (wait := due - (time.perf_counter() - start)) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due, requests[number % len(requests)]))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    if running:
        await asyncio.wait(list(running))
    return answers


async def at_once(port: int, requests: Sequence[Request], clients: int, seconds: float) -> list[Answered]:
    """Keep ``clients`` requests in progress, round-robin. Send a request after each answer (a closed loop)."""
    pool, answers, turns = Pool(port), list[Answered](), cycle(requests)
    start = time.perf_counter()

    async def client() -> None:
        while (due := time.perf_counter() - start) < seconds:
            status = await pool.ask(next(turns))
            answers.append(Answered(due, time.perf_counter() - start - due, status))

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def times(port: int, requests: Sequence[Request], number: int, clients: int = 2) -> list[int]:
    """Send ``number`` requests, round-robin from ``requests``. Return the statuses."""
    pool, left, statuses = Pool(port), iter(range(number)), list[int]()

    async def client() -> None:
        for index in left:
            statuses.append(await pool.ask(requests[index % len(requests)]))

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses
