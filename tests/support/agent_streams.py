"""Streamed answers of agents to clients of OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from tests.support.agent_models import statuses
from tests.support.stack import Stack, until

CHAT = "/v1/chat/completions"
LONG = "tokens=600 delay=0.05"


def to_agent(agent_id: str, directive: str, **more: Any) -> dict[str, Any]:
    return {"model": agent_id, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], **more}


@asynccontextmanager
async def streaming(
    stack: Stack, asked: dict[str, Any], **headers: str
) -> AsyncIterator[tuple[str, AsyncGenerator[str]]]:
    """Request a streamed answer. Yield the stream's id, and the lines after the first text.

    Closing the lines disconnects.
    """
    async with (
        stack.client.stream(
            "POST", CHAT, json={**asked, "stream": True}, headers={**stack.headers(), **headers}
        ) as answer,
        aclosing(_lines(answer)) as lines,
    ):
        await reach(lines, "tok1 ")
        yield answer.headers["x-stream-id"], lines


async def _lines(answer: httpx.Response) -> AsyncGenerator[str]:
    try:
        async for line in answer.aiter_lines():
            yield line
    finally:
        await answer.aclose()


async def reach(lines: AsyncIterator[str], text: str) -> None:
    while text not in await anext(lines):
        pass


async def run_is_cancelled(stack: Stack, agent_id: str) -> None:
    async def cancelled() -> bool:
        return await statuses(stack, agent_id) == ["CANCELLED"]

    await until(cancelled)
