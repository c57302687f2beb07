"""A conversation, followed: whatever turn is or becomes active in it, wherever that was begun.

Turns that this gateway has begun are read from their own streams. Those begun elsewhere (by another gateway, past any
gateway) are found in Letta's list of runs and taken up by one stream for all who follow.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import msgspec

from clients.errors import BadUserInput, GatewayError, NotFound
from clients.letta.records import RunRecord
from clients.letta.sending import FollowedRun
from resolvers.context import RequestContext
from resolvers.paging import decode_cursor, encode_cursor
from resolvers.streams.events import Detached, Event, OnDisconnect
from resolvers.streams.letta import LettaSource
from resolvers.streams.stream import Stream
from resolvers.streams.waiters import woken

NEWEST_RUNS = 50
"""How many of an agent's runs are looked through for those begun elsewhere."""


class _Place(msgspec.Struct, array_like=True):
    """A cursor of a followed conversation: a stream, and a cursor of that."""

    stream_id: str
    cursor: str


async def follow(context: RequestContext, scope: str, agent_id: str, after: str | None = None) -> AsyncIterator[Event]:
    """The events of one turn after another, until the reader leaves or is let go.

    ``scope`` has been proved to be the principal's, and to be a conversation with ``agent_id``. Without ``after``, it
    begins with the turn that is active, from that turn's start.

    Raises:
        BadUserInput: reason ``CURSOR`` for a cursor of something else, ``CURSOR_EXPIRED`` for one of a turn that cannot
            be read again: what came after it is in the messages.
    """
    following = _Following(context, scope, agent_id)
    stream, cursor = following.resumed(after)
    await following.begin(stream)
    while True:
        async with AsyncExitStack() as stack:
            if stream is None:
                stream = await following.next(stack)
            else:
                await stack.enter_async_context(context.resources.streams.attached(stream))
            if stream is None:
                if context.leave is not None and context.leave.reason is not None:
                    yield Detached(cursor=after or "", reason=context.leave.reason)
                return
            async for event in context.resources.streams.events(stream, cursor, context.leave):
                after = encode_cursor(_Place(stream.id, event.cursor))
                placed = copy.copy(event)
                placed.cursor = after
                yield placed
                if isinstance(event, Detached):
                    return
        following.told(stream)
        stream = cursor = None


class _Following:
    """What one reader has been told of one conversation."""

    def __init__(self, context: RequestContext, scope: str, agent_id: str) -> None:
        self._context = context
        self._scope = scope
        self._agent_id = agent_id
        self._streams = context.resources.streams
        self._told = {stream.id for stream in self._mine() if stream.log.ended is not None}
        self._runs: set[str] = set()

    def _mine(self) -> list[Stream]:
        streams = self._streams.of(self._context.principal.user_id)
        return [stream for stream in streams if stream.scope == self._scope]

    def told(self, stream: Stream) -> None:
        """A stream was read to its end."""
        self._told.add(stream.id)
        if stream.run_id is not None:
            self._runs.add(stream.run_id)

    def resumed(self, after: str | None) -> tuple[Stream | None, str | None]:
        """The stream that a cursor is of, and the place in it; what came before that has been told."""
        if after is None:
            return None, None
        place = decode_cursor(after, _Place)
        try:
            stream = self._streams.get(place.stream_id, self._context.principal.user_id)
        except NotFound as error:
            raise BadUserInput("That turn cannot be read again.", reason="CURSOR_EXPIRED") from error
        if stream.scope != self._scope:
            raise BadUserInput("The cursor is not one of this conversation.", reason="CURSOR")
        stream.log.position(place.cursor)
        mine = self._mine()
        self._told = {earlier.id for earlier in mine[: mine.index(stream)]}
        return stream, place.cursor

    async def begin(self, resumed: Stream | None) -> None:
        """Take stock: runs that are over are told, but for those that came after the turn that a cursor is of.

        Raises:
            UpstreamFailure: where Letta cannot say; later looks wait for a Letta that is away.
        """
        runs = await self._newest()
        ids = [run.id for run in runs]
        if resumed is not None and resumed.run_id in ids:
            self._runs = set(ids[ids.index(resumed.run_id) + 1 :])
        else:
            self._runs = {run.id for run in runs if run.over}

    async def next(self, stack: AsyncExitStack) -> Stream | None:
        """The next turn, attached to; ``None`` when it is time to leave. Raises NotFound once it is not theirs."""
        leave = self._context.leave
        while leave is None or leave.reason is None:
            stream = self._untold()
            if stream is not None:
                return await stack.enter_async_context(self._streams.attached(stream))
            run = await self._elsewhere()
            if run is not None and self._untold() is None:
                await self._context.renewed().access.scope(self._scope)
                with suppress(GatewayError):
                    return await stack.enter_async_context(self._taken_up(run))
            if self._untold() is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._streams.limits.look):
                        await woken(self._streams.begun, *([] if leave is None else [leave]))
        return None

    def _untold(self) -> Stream | None:
        return next((stream for stream in self._mine() if stream.id not in self._told), None)

    async def _elsewhere(self) -> RunRecord | None:
        """The oldest new run of the conversation that no stream here is of. Letta may be away for a look."""
        try:
            runs = await self._newest()
        except GatewayError:
            return None
        told = self._runs | {stream.run_id for stream in self._mine() if stream.run_id is not None}
        known = (run for run in reversed(runs) if run.is_active or run.over)  # what else there is never ends
        return next((run for run in known if run.id not in told), None)

    async def _newest(self) -> list[RunRecord]:
        context = self._context.renewed()
        runs = await context.resources.letta.runs(context.scope, [self._agent_id], limit=NEWEST_RUNS)
        wanted = None if self._scope == self._agent_id else self._scope
        return [run for run in runs if run.agent_id == self._agent_id and run.conversation_id == wanted]

    def _taken_up(self, run: RunRecord) -> AbstractAsyncContextManager[Stream]:
        taken = FollowedRun(run_id=run.id, background=run.background is True)
        return self._streams.started(
            self._context.principal.user_id,
            kind="turn",
            source=lambda: LettaSource(self._context, self._scope, taken),
            on_disconnect=OnDisconnect.CANCEL,
            key=f"run:{run.id}",
            scope=self._scope,
        )
