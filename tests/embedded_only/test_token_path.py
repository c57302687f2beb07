"""The tasks, timers and iterations of the event loop that one token of a stream needs in the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.connections.outgoing import Unsent
from app.lag import LoopWatch
from tests.support.stack import embedded_stack
from tests.support.tokens import Model, reading

pytestmark = pytest.mark.timeout(60)

TOKENS = 100
MAX_ITERATIONS = 6
"""The maximum number of iterations for a token, from the model's write to the client's read. One each is for the bytes
from the model, the source, the reader, the joined bytes to the client, and the client; one is spare."""


PERIODIC = (LoopWatch, Unsent)
"""What sets timers at an interval, however many tokens there are."""


@dataclass
class Counts:
    """What the event loop created and ran."""

    tasks: int = 0
    timers: int = 0
    iterations: int = 0


@contextmanager
def counted() -> Iterator[Counts]:
    """Count the tasks, timers and iterations of the running event loop."""
    loop, counts = asyncio.get_running_loop(), Counts()
    call_at = loop.call_at
    run_once: Callable[[], None] = loop._run_once  # type: ignore[attr-defined] # noqa: SLF001 - there is no public hook

    def count_iteration() -> None:
        counts.iterations += 1
        run_once()

    def count_timer(when: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        counts.timers += not isinstance(getattr(callback, "__self__", None), PERIODIC)
        return call_at(when, callback, *args, **options)

    def count_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        counts.tasks += 1
        return asyncio.Task(coro, loop=loop, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_run_once", count_iteration)
        patch.setattr(loop, "call_at", count_timer)
        loop.set_task_factory(count_task)
        yield counts
        loop.set_task_factory(None)


@asynccontextmanager
async def model() -> AsyncIterator[tuple[str, asyncio.Future[Model]]]:
    """Run a model, and return its URL and a future of its connection."""
    answering: asyncio.Future[Model] = asyncio.get_running_loop().create_future()
    Model.answering = answering
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answering


@pytest.mark.parametrize("door", ["v1", "sse", "multipart", "ws"])
async def test_a_token_creates_no_task_and_no_timer(door: str) -> None:
    async with (
        model() as (url, answering),
        embedded_stack(litellm_base_url=url, litellm_api_key="k", stream_coalesce_milliseconds=0) as stack,
        reading(stack, door) as hear,
    ):
        speaker = await answering
        for number in range(3):  # the first tokens of a stream need more
            speaker.say(f"<w{number}>")
            await hear(b"<w%d>" % number)
        with counted() as counts:
            for number in range(TOKENS):
                speaker.say(f"<{number}>")
                await hear(b"<%d>" % number)
        speaker.transport.abort()
    assert counts.tasks == 0
    assert counts.timers <= TOKENS / 4  # timers of the services and the client
    assert counts.iterations <= MAX_ITERATIONS * TOKENS
