"""Sends commands to Redis in pipelines.

Commands that arrive in one tick of the event loop, or while a pipeline is in flight, are sent together. The pipeline is
a task of its own, so a cancelled caller never leaves a reply on the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence

from clients.state.errors import StateCause, StateUnavailable
from clients.state.link import Argument, Command, ErrorReply, Link, Reply, link_pool, pack
from clients.state.names import PROBE
from clients.state.scripts import Script
from clients.state.status import StateObserver, StateStatus

LANES = 4
"""The maximum number of pipelines in flight. Each pipeline has its own connection."""

PIPELINE = 512
"""The maximum number of commands in a pipeline."""

PIPELINE_BYTES = 1024 * 1024
"""A pipeline ends with the command that reaches this size, in bytes. So large commands do not share one timeout."""

MAX_QUEUED = 50_000
"""The maximum number of commands that wait for a pipeline."""

COMMAND_SECONDS = 0.25
"""The timeout of a pipeline, including the time for connecting, in seconds."""

IDLE_SECONDS = 1.0
"""After this time without commands, the gateway checks whether Redis has closed the connection, in seconds."""

PROBE_SECONDS = 1.0
"""The longest interval between two attempts to reach Redis after a failure, in seconds."""


class _Waiting:
    __slots__ = ("packed", "reply")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()


class RedisConnection:
    """A connection to Redis that many tasks share.

    After a failure, all commands fail at once until Redis executes a command again. Then a task that waits for a
    hanging Redis waits at most ``COMMAND_SECONDS``.

    Attributes:
        status: whether Redis executes commands.
        up_since: the time since when Redis has executed commands without a failure (``time.monotonic``); ``None`` while
            Redis is down.
    """

    def __init__(self, url: str, password: str | None, observer: StateObserver) -> None:
        self._pool = link_pool(url, password)
        self._observer = observer
        self.status = StateStatus.OK
        self.cause: StateCause | None = None
        self.up_since: float | None = time.monotonic()
        self._failure = StateUnavailable(StateCause.CONNECTION)
        self._down_since = 0.0
        self._listeners: list[Callable[[bool], None]] = []
        self._queue: deque[_Waiting] = deque()
        self._idle = [_Lane(Link(self._pool)) for _ in range(LANES)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._probe_key = PROBE.key(uuid.uuid4().hex)
        self._probing: asyncio.Task[None] | None = None
        self._rechecking: asyncio.Task[None] | None = None
        self._is_scheduled = False
        self._is_closed = False

    @property
    def database(self) -> int:
        """The number of the Redis database. News channels contain the number, because databases share channels."""
        return int(self._pool.connection_kwargs.get("db") or 0)

    @property
    def is_up(self) -> bool:
        """Whether Redis executes commands, as far as the gateway knows."""
        return self.up_since is not None

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Call ``listener`` with ``False`` when Redis fails, and with ``True`` when Redis executes commands again."""
        self._listeners.append(listener)

    def new_link(self) -> Link:
        """Return a connection of its own, for example for blocking reads. The caller connects and closes the link."""
        return Link(self._pool)

    def submit(self, *command: Argument) -> asyncio.Future[Reply]:
        """Queue a command, and return its reply's future. The future can fail with StateUnavailable or ErrorReply."""
        waiting = _Waiting(pack(command))
        if self.up_since is None or self._is_closed:
            self._fail([waiting], self._failure)
        elif len(self._queue) >= MAX_QUEUED:
            self._fail([waiting], StateUnavailable(StateCause.QUEUE))
        else:
            self._queue.append(waiting)
            if self._idle and not self._is_scheduled:
                self._is_scheduled = True
                asyncio.get_running_loop().call_soon(self._start)
        return waiting.reply

    async def command(self, *command: Argument) -> Reply:
        """Execute a command, and return the reply. Raises StateUnavailable."""
        try:
            return await self.submit(*command)
        except ErrorReply as error:
            raise self.refused(error) from error

    async def script(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Reply:
        """Execute a script, and return the reply. Raises StateUnavailable.

        If Redis does not know the script, the script is sent with a second command.
        """
        tail: Command = (len(keys), *keys, *arguments)
        try:
            return await self.submit("EVALSHA", script.digest, *tail)
        except ErrorReply as error:
            if error.word != "NOSCRIPT":
                raise self.refused(error) from error
        return await self.command("EVAL", script.text, *tail)

    async def ping(self) -> None:
        """Raise StateUnavailable if Redis does not execute commands."""
        if self._probing is not None:
            await asyncio.wait([self._probing], timeout=COMMAND_SECONDS)
        await self.command(*self._probe_command())
        self._recovered()

    async def recovered(self, within: float) -> bool:
        """Wait until Redis executes commands, at most until ``within`` seconds after the failure.

        Return whether Redis executes commands. If the failure is older, the method returns at once.
        """
        left = self._down_since + within - time.monotonic()
        if self._probing is not None and left > 0:
            await asyncio.wait([self._probing], timeout=left)
        return self.is_up

    async def aclose(self) -> None:
        """Close all connections. Commands that wait fail."""
        self._is_closed = True
        await asyncio.sleep(0)  # a task that is cancelled before it starts cannot fail its commands
        tasks = [*self._tasks, *(task for task in (self._probing, self._rechecking) if task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_all(StateUnavailable(StateCause.CONNECTION, "The gateway stops."))
        for lane in self._idle:
            await lane.link.close()

    # Pipelines

    def _start(self) -> None:
        self._is_scheduled = False
        while self._idle and self._queue and self.up_since is not None and not self._is_closed:
            task = asyncio.create_task(self._run(self._idle.pop(), self._batch()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < PIPELINE and size < PIPELINE_BYTES:
            waiting = self._queue.popleft()
            if not waiting.reply.cancelled():
                batch.append(waiting)
                size += len(waiting.packed)
        return batch

    async def _run(self, lane: _Lane, batch: list[_Waiting]) -> None:
        try:
            while batch:
                batch = self._batch() if await self._execute(lane, batch) else []
        finally:
            self._idle.append(lane)
            if self._queue:
                self._start()

    async def _execute(self, lane: _Lane, batch: list[_Waiting]) -> bool:
        """Send a pipeline, and set the replies. Return whether the connection is still usable."""
        began = time.monotonic()
        try:
            replies = await lane.exchange([waiting.packed for waiting in batch])
        except StateUnavailable as error:
            self._down(error, batch)
            return False
        except BaseException:  # a cancellation at shutdown
            self._fail(batch, StateUnavailable(StateCause.CONNECTION, "The gateway stops."))
            raise
        self._observer.state_commands(len(batch), time.monotonic() - began)
        for waiting, reply in zip(batch, replies, strict=True):
            if waiting.reply.done():
                continue
            if isinstance(reply, ErrorReply):
                waiting.reply.set_exception(reply)
            else:
                waiting.reply.set_result(reply)
        return True

    # Failures

    def refused(self, error: ErrorReply) -> StateUnavailable:
        """Record that Redis refused a command. If this server cannot execute commands, reconnect."""
        unavailable = error.unavailable()
        if unavailable.cause in {StateCause.READ_ONLY, StateCause.LOADING}:
            self._down(unavailable, [])
        else:
            self._observer.state_failed(unavailable.cause, 1)
            self._set(StateStatus.DEGRADED, unavailable.cause)
            if self._rechecking is None and not self._is_closed:
                self._rechecking = asyncio.create_task(self._recheck())
        return unavailable

    async def _recheck(self) -> None:
        """Wait until Redis executes a command that writes."""
        while self.status is StateStatus.DEGRADED:
            await asyncio.sleep(PROBE_SECONDS)
            with contextlib.suppress(StateUnavailable, ErrorReply):
                await self.submit(*self._probe_command())
                self._recovered()
        self._rechecking = None

    def _fail(self, batch: Sequence[_Waiting], error: StateUnavailable) -> None:
        self._observer.state_failed(error.cause, len(batch))
        for waiting in batch:
            if not waiting.reply.done():
                failure = StateUnavailable(error.cause, str(error))
                failure.__cause__ = error.__cause__
                waiting.reply.set_exception(failure)
                waiting.reply.exception()  # otherwise, asyncio reports an error that no task has retrieved

    def _fail_all(self, error: StateUnavailable) -> None:
        self._fail(list(self._queue), error)
        self._queue.clear()

    def _down(self, error: StateUnavailable, batch: list[_Waiting]) -> None:
        self._fail(batch, error)
        if self.up_since is None or self._is_closed:
            return
        self.up_since, self._down_since, self._failure = None, time.monotonic(), error
        self._set(StateStatus.DOWN, error.cause)
        self._fail_all(error)
        self._probing = asyncio.create_task(self._probe())
        self._tell(is_up=False)

    async def _probe(self) -> None:
        """Reconnect until Redis executes a command that writes."""
        pause = 0.01
        while True:
            link = Link(self._pool)
            try:
                await link.connect()
                reply = (await link.exchange([pack(self._probe_command())], COMMAND_SECONDS))[0]
                if not isinstance(reply, ErrorReply):
                    break
                unavailable = reply.unavailable()
                if unavailable.cause is StateCause.FULL:
                    break
                self._set(StateStatus.DOWN, unavailable.cause)
            except StateUnavailable as error:
                self._failure = error
                self._set(StateStatus.DOWN, error.cause)
            finally:
                await link.close()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(2 * pause, PROBE_SECONDS)
        for lane in self._idle:
            await lane.link.close()
        self.up_since = time.monotonic()
        self._probing = None
        self._recovered()
        self._tell(is_up=True)

    def _probe_command(self) -> Command:
        return ("SET", self._probe_key, "1", "PX", PROBE.milliseconds)

    def _recovered(self) -> None:
        if self.is_up:  # another pipeline can have failed in the meantime
            self._set(StateStatus.OK, None)

    def _set(self, status: StateStatus, cause: StateCause | None) -> None:
        if (status, cause) != (self.status, self.cause):
            self.status, self.cause = status, cause
            self._observer.state_changed(status, cause)

    def _tell(self, *, is_up: bool) -> None:
        for listener in self._listeners:
            listener(is_up)


class _Lane:
    """A connection for one pipeline at a time."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._used_at = 0.0

    async def exchange(self, packed: list[bytes]) -> list[Reply | ErrorReply]:
        now = time.monotonic()
        if not self.link.is_open or (now - self._used_at > IDLE_SECONDS and await self.link.is_stale()):
            with contextlib.suppress(StateUnavailable):
                await self.link.close()
            await self.link.connect(COMMAND_SECONDS)
        self._used_at = now
        return await self.link.exchange(packed, now + COMMAND_SECONDS - time.monotonic())
