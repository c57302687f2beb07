"""Sends an operation's results in one HTTP body, with heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.types import Send

from app.asgi import begin, retry_after, write
from app.drain import Drain, Stage, interruption, refusal
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
        request_id: the id in the error of an operation that the stopping gateway cancels.
    """

    framing: Framing
    heartbeat: float
    subscribes: bool
    reconnects: bool
    resumed_after: str | None
    request_id: str

    def is_over(self, result: Result) -> bool:
        """Return whether a reconnected client has already received the stream's last event, which is ``result``."""
        return (
            self.reconnects
            and self.resumed_after is not None
            and isinstance(result, Executed)
            and result.cursor == self.resumed_after
            and not result.is_detached
        )

    def cut(self) -> Refused:
        """Return the last result of an operation that the stopping gateway cancels."""
        return Refused.by(refusal() if self.reconnects else interruption(), self.request_id)


async def relay(
    send: Send, results: AsyncGenerator[Result, None], form: ResponseForm, leave: Leave, drain: Drain
) -> None:
    """Send each result to the client as soon as the result arrives.

    If no result arrives within one heartbeat interval, the response begins with a heartbeat. If the operation is
    refused, the refusal is the only result (decision 0028).

    If a client reconnects after the end of a stream, the response has the status 204, which stops ``EventSource``
    (HTML, 9.2.3). A detached client that reconnects by itself receives no ``complete`` event.

    In the stage ``CUTTING``, the operation is cancelled, and an error is its last result. ``Shield`` answers if the
    response has not begun.
    """
    body, limit = _Body(send, form), asyncio.timeout(None)

    def cut(stage: Stage) -> None:
        if stage is Stage.CUTTING and body.begun:
            limit.reschedule(0)

    try:
        async with limit:
            with drain.watched(cut):
                completes = await _copy(body, results, form)
    except TimeoutError:
        if not limit.expired():
            raise
        completes = not form.reconnects
        await body.write(form.framing.result(form.cut()))
    reason = leave.reason and leave.reason.name
    await body.close(form.framing.end(reason, completes=completes))


async def _copy(body: _Body, results: AsyncGenerator[Result, None], form: ResponseForm) -> bool:
    """Send the results, and heartbeats. Return whether the client must not continue the operation by itself."""
    framing, completes = form.framing, True
    try:
        async with HeartbeatWriter(body.write, form.heartbeat, framing.heartbeat) as writer:
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
    finally:
        await results.aclose()
    return completes


class _Body:
    """A response body. The status and ``headers`` are sent with the first chunk.

    If ``is_empty`` is set before the first chunk, the response has the status 204 and no body.
    """

    __slots__ = ("_form", "_send", "begun", "headers", "is_empty")

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
