"""Many results in one HTTP body: event streams and multipart, with heartbeats from the first byte on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Send

from app.asgi import begin, retry_after, write
from app.graphql.media import Framing
from app.graphql.results import Refused, Result
from app.heartbeat import Beating
from resolvers.streams.log import Leave


async def relay(
    send: Send, results: AsyncGenerator[Result, None], framing: Framing, heartbeat: float, leave: Leave
) -> None:
    """Send results as they come. The head waits for the first result, for one heartbeat interval at most.

    If the operation is refused, the refusal is the only result (decision 0028).
    """
    body = _Body(send, framing)
    async with aclosing(results), Beating(body.write, heartbeat, framing.heartbeat) as beating:
        async for result in results:
            if not body.begun and isinstance(result, Refused):
                body.headers = retry_after(result.retry_after_seconds)
            chunk = framing.result(result)
            del result  # until the client reads it, memory holds its bytes alone
            await beating.write(chunk)
            del chunk
    await write(send, framing.last(leave.reason and leave.reason.name), more=False)


class _Body:
    """A body whose head, with ``headers``, is sent with its first chunk."""

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
