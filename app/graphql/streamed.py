"""Many answers in one HTTP body: event streams and multipart, with heartbeats from the first byte on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Send

from app.asgi import begin, retry_after, write
from app.graphql.engine import Payload
from app.graphql.media import Framing
from resolvers.streams.log import Leave


async def relay(
    send: Send, answers: AsyncGenerator[Payload, None], framing: Framing, heartbeat: float, leave: Leave
) -> None:
    """Send answers as they come. The head waits for the first of them, but for one heartbeat at most.

    A refusal is an answer, too: the first and last, without ``data`` (decision 0028).
    """
    begun = False
    async with aclosing(_or_silence(answers, heartbeat)) as signs:
        async for answer in signs:
            if not begun:
                await begin(send, framing.content_type, _wait(answer))
            chunk = framing.heartbeat if answer is None else framing.answer(answer)
            await write(send, chunk if begun else framing.begin + chunk)
            begun = True
    await write(send, framing.last(leave.reason and leave.reason.name), more=False)


def _wait(first: Payload | None) -> dict[str, str]:
    """``Retry-After``, where the first answer is a refusal that says when to come back."""
    if first is None or "data" in first:
        return {}
    return retry_after(first["errors"][0]["extensions"].get("retryAfterSeconds"))


async def _or_silence(answers: AsyncGenerator[Payload, None], seconds: float) -> AsyncGenerator[Payload | None, None]:
    """The answers, and ``None`` whenever nothing has come for a time. Closes what it reads."""
    pending: asyncio.Task[Payload | None] | None = None
    try:
        while True:
            pending = asyncio.create_task(_next(answers))
            while not (await asyncio.wait({pending}, timeout=seconds))[0]:
                yield None
            answer = pending.result()
            if answer is None:
                return
            yield answer
    finally:
        if pending is not None and not pending.done():
            pending.cancel()
            await asyncio.wait({pending})
        await answers.aclose()


async def _next(answers: AsyncGenerator[Payload, None]) -> Payload | None:
    return await anext(answers, None)
