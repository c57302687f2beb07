"""Many answers in one HTTP body: event streams and multipart, with heartbeats from the first byte on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Send

from app.asgi import begin, retry_after, write
from app.graphql.engine import Payload
from app.graphql.media import Framing
from app.heartbeat import Beating
from resolvers.streams.log import Leave


async def relay(
    send: Send, answers: AsyncGenerator[Payload, None], framing: Framing, heartbeat: float, leave: Leave
) -> None:
    """Send answers as they come. The head waits for the first of them, but for one heartbeat at most.

    A refusal is an answer, too: the first and last, without ``data`` (decision 0028).
    """
    body = _Body(send, framing)
    async with aclosing(answers), Beating(body.write, heartbeat, framing.heartbeat) as beating:
        async for answer in answers:
            if not body.begun:
                body.headers = _wait(answer)
            chunk = framing.answer(answer)
            del answer  # while it waits to be read, it is kept in one form
            await beating.write(chunk)
            del chunk
    await write(send, framing.last(leave.reason and leave.reason.name), more=False)


class _Body:
    """A body whose head is sent with its first chunk, and then has these ``headers``."""

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


def _wait(first: Payload) -> dict[str, str]:
    """``Retry-After``, where the first answer is a refusal that says when to come back."""
    if "data" in first:
        return {}
    return retry_after(first["errors"][0]["extensions"].get("retryAfterSeconds"))
