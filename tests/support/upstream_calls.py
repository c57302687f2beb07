"""One service's client over a scripted transport, and calls of it."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from clients.breaker import BreakerState
from clients.calls import Call, CallScope, RetryCause, UpstreamLimits
from clients.encoding import TooLarge
from clients.errors import Service
from clients.http.messages import RawAnswer, RawHeaders, RawRequest
from clients.http.transport import FRESH
from clients.upstream import Upstream

Act = Callable[[httpx.Request], Awaitable[httpx.Response]]
E = TypeVar("E", bound=BaseException)


class Observer:
    """Records the reports of an upstream."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.states: list[tuple[str | None, BreakerState]] = []
        self.retried: list[str] = []

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        self.outcomes.append(outcome)

    def call_retried(
        self, service: Service, operation: str, cause: RetryCause, wait_seconds: float, request_id: str
    ) -> None:
        self.retried.append(cause.value)

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        self.states.append((part, state))


class ScriptedAnswer:
    """The answer of a scripted transport, as ``RawAnswer``."""

    def __init__(self, response: httpx.Response, deadline: float) -> None:
        self.status = response.status_code
        self.deadline = deadline
        self._response = response

    def take_headers(self) -> RawHeaders:
        return list(self._response.headers.raw)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        async with within(self.deadline):
            async for chunk in self._response.stream:
                yield chunk

    async def read(self, limit: int) -> bytes:
        body = b""
        async for chunk in self:
            body += chunk
            if len(body) > limit:
                raise TooLarge(limit)
        return body

    async def aclose(self) -> None:
        await self._response.aclose()


def within(deadline: float) -> asyncio.Timeout:
    return asyncio.timeout(None if deadline == math.inf else deadline - time.monotonic())


class ScriptedTransport:
    """A transport whose answers the test sets. It implements ``Sender``."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.calls = 0

    async def send(self, request: RawRequest) -> RawAnswer:
        self.calls += 1
        async with within(request.deadline):
            return ScriptedAnswer(await self.act(as_httpx(request)), request.deadline)

    async def aclose(self) -> None:
        pass


def as_httpx(request: RawRequest) -> httpx.Request:
    """Return a request as httpx would have built it."""
    first, *lines = request.head.decode("ascii").splitlines()
    method, target, _ = first.split(" ")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    scheme, host, port = request.origin
    base = f"{scheme}://{host}" + ("" if port == 80 else f":{port}")
    extensions = {FRESH: True} if request.fresh else {}
    return httpx.Request(method, base + target, headers=headers, content=request.body, extensions=extensions)  # type: ignore[arg-type]


def upstream_with(act: Act, **limits: Any) -> tuple[Upstream, ScriptedTransport, Observer]:
    """Return a client whose transport answers with ``act``."""
    wire, observer = ScriptedTransport(act), Observer()
    bounds = UpstreamLimits(**{"breaker_reset": 1000, "queue": 0.05, "backoff": 0.001, **limits})
    upstream = Upstream(
        Service.AMS,
        "http://ams",
        translate=lambda rejected: rejected,
        headers={"authorization": "secret"},
        limits=bounds,
        observer=observer,
        transport=wire,
    )
    return upstream, wire, observer


def scope(seconds: float = 5, caller: str | None = None) -> CallScope:
    """Return a scope, by default of a new caller, so that a caller's share is no bound."""
    return CallScope("request-1", time.monotonic() + seconds, "00-trace", caller=caller or str(uuid.uuid4()))


def answering(status: int = 200, **parts: Any) -> Act:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, **(parts or {"content": b"{}"}))

    return act


def failing(error: Exception) -> Act:
    async def act(_: httpx.Request) -> httpx.Response:
        raise error

    return act


async def forever(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def ask(upstream: Upstream, seconds: float = 5, caller: str | None = None) -> None:
    await upstream.request(scope(seconds, caller), Call("me", "/me"))


async def raised(kind: type[E] | tuple[type[E], ...], call: Awaitable[object]) -> E:
    """Return the error of a call."""
    with pytest.raises(kind) as caught:
        await call
    return caught.value


async def made(transport: ScriptedTransport, calls: int) -> None:
    """Wait for calls."""
    while transport.calls < calls:
        await asyncio.sleep(0)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel calls, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def read_stream(upstream: Upstream, call: Call, caller: str | None = None, *, opens_within: float = 1) -> bytes:
    async with upstream.stream(scope(opens_within + 5, caller), call, opens_within=opens_within) as answer:
        return b"".join([chunk async for chunk in answer.chunks])


def parts(upstream: Upstream) -> dict[str, str]:
    """Return the state of each part whose breakers are not all closed."""
    return {part.part: part.state.value for part in upstream.breakers.parts()}
