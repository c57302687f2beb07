"""A gateway in a thread of its own, whose bytecode instructions and upstream calls are counted.

The services and the clients run in the test's thread. A stream advances in steps: the model sends a token after the
client has received the one before, so that every token arrives alone.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import uvloop

from app.connections.stoppable import StoppableServer
from app.lag import LoopWatch
from app.logs import make_logger
from app.main import create_app
from app.telemetry import Telemetry
from bench.upstreams import Connection
from tests.support.serving import served
from tests.support.settings import settings_of

_TURNS = 50
"""Turns of the event loop after an answer, in which the gateway ends what belongs to the request."""

_PERIODIC = frozenset({LoopWatch._tick.__code__, StoppableServer.main_loop.__code__})  # noqa: SLF001 - only its code
"""What a process does all the time is not counted: on a busy machine, it happens more often during a request."""


class Services:
    """AMS, Letta and LiteLLM with static answers. ``calls`` has the first line of each call."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.steps = asyncio.Semaphore(0)

    def connection(self) -> Connection:
        """Return the protocol of a connection."""
        services = self

        class Stepped(Connection):
            def serve(self, head: bytes, asked: bytes) -> None:
                services.calls.append(head.partition(b"\r\n")[0])
                super().serve(head, asked)

            async def until(self, due: float) -> None:
                await services.steps.acquire()

        return Stepped()


class Instructions:
    """Counts the bytecode instructions of the thread that starts it. C code counts only as the call's instruction."""

    def __init__(self) -> None:
        self.number = 0
        self._skipped: FrameType | None = None

    def start(self) -> None:
        """Count from now on."""
        self.number, self._skipped = 0, None
        sys.settrace(self._frame)

    def stop(self) -> int:
        """Stop, and return the number."""
        sys.settrace(None)
        return self.number

    def _frame(self, frame: FrameType, event: str, arg: Any) -> Any:
        if self._skipped is not None:
            return None
        frame.f_trace_lines = False
        if frame.f_code in _PERIODIC:
            self._skipped = frame
            return self._skip
        frame.f_trace_opcodes = True
        return self._instruction

    def _instruction(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.number += event == "opcode"
        return self._instruction

    def _skip(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "return":  # a coroutine returns when it waits, too
            self._skipped = None
        return self._skip


class CountedGateway:
    """A running gateway. ``port`` is its own, ``services`` are behind it."""

    def __init__(self, services: Services, settings: dict[str, Any]) -> None:
        self.services, self._settings = services, settings
        self._ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=uvloop.run, args=(self._serve(),), daemon=True)
        self._instructions = Instructions()
        self.port = 0

    async def start(self) -> None:
        """Start the thread and wait until it serves."""
        self._thread.start()
        self.port, self._loop, self._end = await asyncio.wrap_future(self._ready)

    async def stop(self) -> None:
        """Stop the gateway and wait for the end of the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        await asyncio.to_thread(self._thread.join)

    async def start_counting(self) -> None:
        """Count instructions and calls from now on."""
        self.services.calls.clear()
        await self._inside(self._start)

    async def counted(self) -> tuple[int, int]:
        """Return the instructions and the upstream calls since the start."""
        return await self._inside(self._stop), len(self.services.calls)

    async def settled(self) -> None:
        """Wait until the gateway has ended what belongs to its last request."""
        await self._inside(self._turns)

    async def _inside(self, work: Any) -> int:
        found: int = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self._loop))
        return found

    async def _turns(self) -> int:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return 0

    async def _start(self) -> int:
        await self._turns()
        self._instructions.start()
        return 0

    async def _stop(self) -> int:
        await self._turns()
        return self._instructions.stop()

    async def _serve(self) -> None:
        try:
            settings = settings_of(**self._settings)
            app = create_app(settings, Telemetry(make_logger("INFO", io.StringIO())))
            async with served(app, settings) as url:
                end = asyncio.Event()
                self._ready.set_result((int(url.rpartition(":")[2]), asyncio.get_running_loop(), end))
                await end.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)


@asynccontextmanager
async def counted_gateway(**settings: Any) -> AsyncIterator[CountedGateway]:
    """Run a gateway and its services until the context ends."""
    services = Services()
    server = await asyncio.get_running_loop().create_server(services.connection, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    given = {
        "ams_base_url": f"{base}/ams",
        "supabase_service_key": "k",
        "letta_base_url": f"{base}/letta",
        "letta_api_key": "k",
        "litellm_base_url": f"{base}/litellm",
        "litellm_api_key": "k",
        "stream_coalesce_milliseconds": 0,
        **settings,
    }
    gateway = CountedGateway(services, given)
    async with server:
        await gateway.start()
        try:
            yield gateway
        finally:
            await gateway.stop()
