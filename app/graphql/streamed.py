"""Sends an operation's results in one HTTP body, with heartbeats."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import Send

from app.asgi import begin, retry_after, write
from app.graphql.framing import Framing
from app.graphql.results import Executed, Refused, Result
from app.heartbeat import HeartbeatWriter
from resolvers.streams.log import Leave


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseForm:
    """How a client receives an operation's results.

    Attributes:
        heartbeat: the interval of heartbeats, in seconds.
        subscribes: whether the operation is a subscription.
        reconnects: whether the client repeats the request after each response, as ``EventSource`` does.
        resumed_after: the cursor with which the client has repeated the request.
    """

    framing: Framing
    heartbeat: float
    subscribes: bool
    reconnects: bool
    resumed_after: str | None

    def is_over(self, result: Result) -> bool:
        """Return whether a reconnected client has already received the stream's last event, which is ``result``."""
        return (
            self.reconnects
            and self.resumed_after is not None
            and isinstance(result, Executed)
            and result.cursor == self.resumed_after
            and not result.is_detached
        )


async def relay(send: Send, results: AsyncGenerator[Result, None], form: ResponseForm, leave: Leave) -> None:
    """Send each result to the client as soon as the result arrives.

    If no result arrives within one heartbeat interval, the response begins with a heartbeat. If the operation is
    refused, the refusal is the only result (decision 0028).

    If a client reconnects after the end of a stream, the response has the status 204, which stops ``EventSource``
    (HTML, 9.2.3). A detached client that reconnects by itself receives no ``complete`` event.
    """
    framing = form.framing
    body, completes = _Body(send, form), True
    async with aclosing(results), HeartbeatWriter(body.write, form.heartbeat, framing.heartbeat) as writer:
        async for result in results:
            if not body.begun and isinstance(result, Refused):
                body.headers = retry_after(result.retry_after_seconds)
            if not body.begun and form.is_over(result):
                body.is_empty = True
                await writer.write(b"")
                break
            completes = not (form.reconnects and isinstance(result, Executed) and result.is_detached)
            chunk = framing.result(result)
            del result  # only the encoded bytes stay in memory until the client reads them
            await writer.write(chunk)
            del chunk
    reason = leave.reason and leave.reason.name
    await body.close(framing.end(reason, completes=completes))


class _Body:
    """A response body. The status and ``headers`` are sent with the first chunk.

    If ``is_empty`` is set before the first chunk, the response has the status 204 and no body.
    """

    def __init__(self, send: Send, form: ResponseForm) -> None:
        self.begun = False
        self.is_empty = False
        self.headers: dict[str, str] = {}
        self._send = send
        self._form = form

    async def write(self, chunk: bytes) -> None:
        if not self.begun:
            self.begun = True
            if self.is_empty:
                await self._send({"type": "http.response.start", "status": 204, "headers": []})
                return
            framing = self._form.framing
            await begin(self._send, framing.content_type, self.headers)
            chunk = framing.begin(subscribes=self._form.subscribes) + chunk
        elif self.is_empty:  # a heartbeat has begun the response meanwhile
            self.is_empty = False
            return
        await write(self._send, chunk)

    async def close(self, end: bytes) -> None:
        await write(self._send, b"" if self.is_empty else end, more=False)
