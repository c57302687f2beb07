"""Sends an operation's results in one HTTP body, with heartbeats."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Send

from app.asgi import begin, retry_after, write
from app.graphql.media import Framing
from app.graphql.results import Refused, Result
from app.heartbeat import HeartbeatWriter
from resolvers.streams.log import Leave


async def relay(
    send: Send, results: AsyncGenerator[Result, None], framing: Framing, heartbeat: float, leave: Leave
) -> None:
    """Send each result to the client as soon as the result arrives.

    If no result arrives within one heartbeat interval, the response begins with a heartbeat. If the operation is
    refused, the refusal is the only result (decision 0028).
    """
    body = _Body(send, framing)
    async with aclosing(results), HeartbeatWriter(body.write, heartbeat, framing.heartbeat) as writer:
        async for result in results:
            if not body.begun and isinstance(result, Refused):
                body.headers = retry_after(result.retry_after_seconds)
            chunk = framing.result(result)
            del result  # only the encoded bytes stay in memory until the client reads them
            await writer.write(chunk)
            del chunk
    await write(send, framing.last(leave.reason and leave.reason.name), more=False)


class _Body:
    """A response body. The status and ``headers`` are sent with the first chunk."""

    def __init__(self, send: Send, framing: Framing) -> None:
        self.begun = False
        self.headers: dict[str, str] = {}
        self._send = send
        self._framing = framing

    async def write(self, chunk: bytes) -> None:
        if not self.begun:
            self.begun = True
            await begin(self._send, self._framing.content_type, self.headers)
            chunk = self._framing.begin + chunk
        await write(self._send, chunk)
