"""Follows a conversation: reads its turns as they come.

Turns that this gateway has started are read from their streams. Other turns are found in Letta's list of runs (see
``watch``), and read by one stream for all followers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, NotFound, RateLimited, UpstreamFailure
from clients.letta.records import RunRecord
from clients.letta.sending import FollowedRun
from clients.owned import ConversationRef, OwnedAgentId
from resolvers.context import RequestContext
from resolvers.owned import OwnedRun
from resolvers.paging import decode_cursor, encode_cursor
from resolvers.sources.turns import LettaSource
from resolvers.streams.events import Delivery, Detached, Event, OnDisconnect, Started
from resolvers.streams.stream import Stream, StreamRequest
from resolvers.watch import Poll, Watch, again


class _FollowCursor(msgspec.Struct, array_like=True):
    """A cursor of a followed conversation: a stream, and a cursor of that."""

    stream_id: str
    cursor: str


async def follow(
    context: RequestContext, conversation: ConversationRef, after: str | None = None
) -> AsyncIterator[Delivery[Event]]:
    """Read the events of one turn after another, until the reader leaves or is detached.

    Without a cursor, ``after``, the active turn is read from its start.

    Raises:
        BadUserInput: reason ``CURSOR``; ``CURSOR_EXPIRED`` for the cursor of a turn that cannot be replayed.
        RateLimited: reason ``FOLLOWS``, if the user follows too many conversations.
    """
    streams = context.resources.streams
    reads = _Reads(context, conversation.agent_id)
    with context.resources.watches.following(reads, conversation, streams.limits.look) as watch:
        following = _Following(context, conversation, watch)
        stream, cursor = await following.resumed(after)
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
                        yield Delivery("", after or "", Detached(reason=context.leave.reason))
                    return
                async for one in streams.events(stream, cursor, context.leave, replayed=replayed):
                    after, event = encode_cursor(_FollowCursor(stream.id, one.cursor)), one.event
                    # if a stream of the run broke off, the reader has read a part of it
                    is_reread = isinstance(event, Started) and following.broke_off(event.run_id)
                    yield Delivery(stream.id, after, event, replayed or is_reread)
                    if isinstance(event, Detached):
                        return
            following.finished(stream)
            stream = cursor = None


class _Reads:
    """The reads of a watch; see ``AgentReads``."""

    def __init__(self, context: RequestContext, agent_id: OwnedAgentId) -> None:
        self.owner_id = context.principal.user_id
        self.agent_id = agent_id
        self._context = context

    def renewed(self) -> _Reads:
        return _Reads(self._context.renewed(), self.agent_id)

    async def runs(self, limit: int) -> list[RunRecord]:
        return await self._context.resources.letta.runs(self._context.scope, [self.agent_id], limit=limit)

    async def prove(self, conversation: ConversationRef) -> None:
        await self._context.access.conversation_ref(conversation)


class _Following:
    """The turns of one conversation that one reader has read."""

    def __init__(self, context: RequestContext, conversation: ConversationRef, watch: Watch) -> None:
        self._context = context
        self._conversation = conversation
        self._watch = watch
        self._owner = context.owner
        self._streams = context.resources.streams
        self._finished = {stream.id for stream in self._here() if stream.log.ended is not None}
        self._found_at_start = {stream.id for stream in self._here()}
        self._runs: set[str] = set()
        self._whole: set[str] = set()
        self._unstreamed: set[str] = set()
        self._since = 0.0

    def _here(self) -> list[Stream]:
        """Return the conversation's streams in this process."""
        return [stream for stream in self._streams.of(self._owner) if stream.conversation == self._conversation]

    def finished(self, stream: Stream) -> None:
        """Note that a stream was read to its end."""
        self._finished.add(stream.id)
        self._since = time.monotonic()
        if stream.run_id is not None:
            self._runs.add(stream.run_id)
            if not stream.broke_off:
                self._whole.add(stream.run_id)

    def broke_off(self, run_id: str | None) -> bool:
        """Whether a stream of a run broke off: the run itself may continue."""
        return run_id is not None and any(one.broke_off and one.run_id == run_id for one in self._here())

    async def resumed(self, after: str | None) -> tuple[Stream | None, str | None]:
        """Return the stream of a cursor, and the cursor in it. The streams before it have been read."""
        if not after:  # a reader that was detached before its first event has an empty cursor
            return None, None
        resumed = decode_cursor(after, _FollowCursor)
        try:
            stream = self._streams.get(resumed.stream_id, self._owner)
        except NotFound as error:
            raise BadUserInput(
                "The turn of this cursor cannot be replayed any more. Read the conversation's messages.",
                reason=Reason.CURSOR_EXPIRED,
            ) from error
        if stream.conversation != self._conversation:
            raise BadUserInput("The cursor does not belong to this conversation.", reason=Reason.CURSOR)
        await stream.log.position(resumed.cursor)
        streams = self._here()
        self._finished = {earlier.id for earlier in streams[: streams.index(stream)]}
        return stream, resumed.cursor

    async def begin(self, resumed: Stream | None) -> None:
        """Note the runs that are over as read, except those after the turn of a cursor.

        Raises:
            UpstreamFailure: Letta cannot be read. Later polls wait for it.
        """
        runs = await self._watch.fresh(self._conversation)
        ids: list[str] = [run.id for run in runs]
        if resumed is not None and resumed.run_id in ids:
            self._runs = set(ids[ids.index(resumed.run_id) + 1 :])
        else:
            self._runs = {run.id for run in runs if run.over}

    async def next(self, stack: AsyncExitStack) -> tuple[Stream | None, bool]:
        """Attach to the next turn. Raises NotFound if the conversation is not the user's any more.

        Returns:
            Its stream, or ``None`` if the reader has to leave; and whether the stream began before this reader.
        """
        leave = self._context.leave
        wakers = [self._watch.polled] if leave is None else [self._watch.polled, leave]
        seen: Poll | None = None
        with self._watch.waiting():
            while leave is None or leave.reason is None:
                stream = self._unread()
                if stream is not None:
                    replayed = stream.id in self._found_at_start
                    return await stack.enter_async_context(self._streams.attached(stream)), replayed
                poll = self._watch.newest
                if poll is None or poll is seen or poll.began < self._since or self._is_opening():
                    await self._streams.turn_begun(self._owner, self._conversation, *wakers)
                    continue
                seen = poll
                run = self._next_run(poll)
                stream = None if run is None else await self._take_up(run, stack)
                if stream is not None:
                    return stream, False
        return None, False

    def _unread(self) -> Stream | None:
        """Return the oldest stream that has begun and that this reader has not read."""
        return next(
            (one for one in self._here() if one.begun and one.id not in self._finished and not self._repeats(one)), None
        )

    def _repeats(self, stream: Stream) -> bool:
        """Whether a stream only repeats a turn that this reader has read, or that was over before it attached."""
        if stream.run_id in self._whole:
            return True
        return stream.restarted and stream.run_id in self._runs and not self.broke_off(stream.run_id)

    def _is_opening(self) -> bool:
        """Whether a stream has not begun yet: a new run in Letta may be its own."""
        return any(not stream.begun and stream.log.ended is None for stream in self._here())

    def _next_run(self, poll: Poll) -> OwnedRun | None:
        """Return the oldest run to read. Raises the poll's error, unless it is temporary."""
        if poll.failure is not None and not isinstance(poll.failure, UpstreamFailure | RateLimited):
            raise again(poll.failure)
        return next((run for run in reversed(self._watch.runs(self._conversation)) if self._is_unread(run)), None)

    def _is_unread(self, run: OwnedRun) -> bool:
        """Whether a run is new and has no stream, or is active although its stream broke off.

        A run that is neither active nor over never ends in Letta.
        """
        if any(stream.run_id == run.id and not stream.broke_off for stream in self._here()):
            return False
        if self.broke_off(run.id):
            return run.is_active
        return run.id not in self._runs and (run.is_active or run.over)

    async def _take_up(self, run: OwnedRun, stack: AsyncExitStack) -> Stream | None:
        """Start a stream that reads a run; ``None`` if Letta refuses. If the run does not stream, poll it next."""
        followed = FollowedRun(run_id=run.id, background=run.background is True and run.id not in self._unstreamed)
        request = StreamRequest(
            owner=self._owner,
            kind="turn",
            source=lambda: LettaSource(self._context, self._conversation, followed),
            on_disconnect=OnDisconnect.CONTINUE,
            key=f"run:{run.id}",
            conversation=self._conversation,
            restarts=True,
        )
        try:
            return await stack.enter_async_context(self._streams.start(request))
        except BadUserInput:
            self._unstreamed.add(run.id)
        except GatewayError:
            pass
        return None
