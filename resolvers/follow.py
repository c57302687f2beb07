"""A conversation, followed: whatever turn is or becomes active in it, wherever that was begun.

Turns that this gateway has begun are read from their own streams. Those begun elsewhere (by another gateway, past any
gateway) are found in Letta's list of runs (see ``watch``) and taken up by one stream for all who follow.
"""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec

from clients.errors import BadUserInput, GatewayError, NotFound, RateLimited, UpstreamFailure
from clients.letta.records import RunRecord
from clients.letta.sending import FollowedRun
from resolvers.context import RequestContext
from resolvers.paging import decode_cursor, encode_cursor
from resolvers.sources.turns import LettaSource
from resolvers.streams.events import Detached, Event, OnDisconnect, Started
from resolvers.streams.stream import Stream
from resolvers.watch import Poll, Watch, again


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
        RateLimited: reason ``FOLLOWS``, past what one user may follow at a time.
    """
    streams = context.resources.streams
    with context.resources.watches.following(_Reads(context, agent_id), scope, streams.limits.look) as watch:
        following = _Following(context, scope, watch)
        stream, cursor = following.resumed(after)
        await following.begin(stream)
        while True:
            async with AsyncExitStack() as stack:
                if stream is None:
                    stream, replayed = await following.next(stack)
                else:
                    replayed = True
                    await stack.enter_async_context(streams.attached(stream))
                if stream is None:
                    if context.leave is not None and context.leave.reason is not None:
                        yield Detached(cursor=after or "", reason=context.leave.reason)
                    return
                told = streams.events(stream, cursor, context.leave, replayed=replayed)
                async for event in told:
                    after = encode_cursor(_Place(stream.id, event.cursor))
                    placed = copy.copy(event)
                    placed.cursor = after
                    if isinstance(placed, Started) and following.broke_off(placed.run_id):
                        placed.replayed = True  # whoever follows had a part of it
                    yield placed
                    if isinstance(event, Detached):
                        return
            following.told(stream)
            stream = cursor = None


class _Reads:
    """The reads of a watch; see ``AgentReads``."""

    def __init__(self, context: RequestContext, agent_id: str) -> None:
        self.owner_id = context.principal.user_id
        self.agent_id = agent_id
        self._context = context

    def renewed(self) -> _Reads:
        return _Reads(self._context.renewed(), self.agent_id)

    async def runs(self, limit: int) -> list[RunRecord]:
        return await self._context.resources.letta.runs(self._context.scope, [self.agent_id], limit=limit)

    async def prove(self, conversation: str) -> None:
        await self._context.access.scope(conversation)


class _Following:
    """What one reader has been told of one conversation."""

    def __init__(self, context: RequestContext, scope: str, watch: Watch) -> None:
        self._context = context
        self._scope = scope
        self._watch = watch
        self._owner_id = context.principal.user_id
        self._streams = context.resources.streams
        self._told = {stream.id for stream in self._mine() if stream.log.ended is not None}
        self._came_to = {stream.id for stream in self._mine()}
        self._runs: set[str] = set()
        self._whole: set[str] = set()
        self._unstreamed: set[str] = set()
        self._since = 0.0

    def _mine(self) -> list[Stream]:
        return [stream for stream in self._streams.of(self._owner_id) if stream.scope == self._scope]

    def told(self, stream: Stream) -> None:
        """A stream was read to its end."""
        self._told.add(stream.id)
        self._since = time.monotonic()
        if stream.run_id is not None:
            self._runs.add(stream.run_id)
            if not stream.broke_off:
                self._whole.add(stream.run_id)

    def broke_off(self, run_id: str | None) -> bool:
        """Whether a stream here was of this run and broke off: the run itself may go on."""
        return run_id is not None and any(one.broke_off and one.run_id == run_id for one in self._mine())

    def resumed(self, after: str | None) -> tuple[Stream | None, str | None]:
        """The stream that a cursor is of, and the place in it; what came before that has been told."""
        if not after:  # a reader that was detached before its first event has an empty cursor
            return None, None
        place = decode_cursor(after, _Place)
        try:
            stream = self._streams.get(place.stream_id, self._owner_id)
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
            UpstreamFailure: where Letta cannot say; later polls wait for a Letta that is away.
        """
        runs = await self._watch.fresh(self._scope)
        ids = [run.id for run in runs]
        if resumed is not None and resumed.run_id in ids:
            self._runs = set(ids[ids.index(resumed.run_id) + 1 :])
        else:
            self._runs = {run.id for run in runs if run.over}

    async def next(self, stack: AsyncExitStack) -> tuple[Stream | None, bool]:
        """The next turn, attached to, and whether it began before this reader came; ``None`` when it is time to leave.

        Raises:
            NotFound: once the conversation is not theirs.
        """
        leave = self._context.leave
        wakers = [self._watch.polled] if leave is None else [self._watch.polled, leave]
        seen: Poll | None = None
        with self._watch.waiting():
            while leave is None or leave.reason is None:
                stream = self._untold()
                if stream is not None:
                    replayed = stream.id in self._came_to
                    return await stack.enter_async_context(self._streams.attached(stream)), replayed
                look = self._watch.newest
                if look is None or look is seen or look.began < self._since or self._is_opening():
                    await self._streams.begun(self._owner_id, self._scope, *wakers)
                    continue
                seen = look
                run = self._elsewhere(look)
                taken = None if run is None else await self._take_up(run, stack)
                if taken is not None:
                    return taken, False
        return None, False

    def _untold(self) -> Stream | None:
        """The oldest stream here that has begun and is news to this reader."""
        return next(
            (one for one in self._mine() if one.begun and one.id not in self._told and not self._old(one)), None
        )

    def _old(self, stream: Stream) -> bool:
        """Whether a stream only repeats a turn that this reader has had, or that was over before they came."""
        if stream.run_id in self._whole:
            return True
        return stream.again and stream.run_id in self._runs and not self.broke_off(stream.run_id)

    def _is_opening(self) -> bool:
        """Whether a turn may be about to begin here: a new run in Letta may be its own."""
        return any(not stream.begun and stream.log.ended is None for stream in self._mine())

    def _elsewhere(self, look: Poll) -> RunRecord | None:
        """The oldest run of the conversation that is to be taken up. Letta may be away for a poll."""
        if look.failure is not None and not isinstance(look.failure, UpstreamFailure | RateLimited):
            raise again(look.failure)
        return next((run for run in reversed(self._watch.runs(self._scope)) if self._is_news(run)), None)

    def _is_news(self, run: RunRecord) -> bool:
        """Whether a run is new and no stream here is of it, or it goes on although a stream of it broke off.

        What is neither going on nor over never ends in Letta.
        """
        if any(stream.run_id == run.id and not stream.broke_off for stream in self._mine()):
            return False
        if self.broke_off(run.id):
            return run.is_active
        return run.id not in self._runs and (run.is_active or run.over)

    async def _take_up(self, run: RunRecord, stack: AsyncExitStack) -> Stream | None:
        """Read a run by a stream here; ``None`` where Letta refuses. One it will not stream is watched next time."""
        taken = FollowedRun(run_id=run.id, background=run.background is True and run.id not in self._unstreamed)
        started = self._streams.started(
            self._owner_id,
            kind="turn",
            source=lambda: LettaSource(self._context, self._scope, taken),
            on_disconnect=OnDisconnect.CONTINUE,
            key=f"run:{run.id}",
            scope=self._scope,
            anew=True,
        )
        try:
            return await stack.enter_async_context(started)
        except BadUserInput:
            self._unstreamed.add(run.id)
        except GatewayError:
            pass
        return None
