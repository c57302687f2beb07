"""Follows a conversation: sends each of the conversation's turns to the subscriber.

A turn that this gateway has started is read from the turn's stream. Other turns are found in Letta's list of runs (see
``watch``). All of a user's subscriptions to one of these turns share one stream.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack

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
from resolvers.streams.known import KnownStreams
from resolvers.streams.stream import Stream, StreamRequest
from resolvers.watch import Poll, Watch, copy_of


class _FollowCursor(msgspec.Struct, array_like=True):
    stream_id: str
    cursor: str


async def follow(
    context: RequestContext, conversation: ConversationRef, after: str | None = None
) -> AsyncIterator[Delivery[Event]]:
    """Read a conversation's turns one after another until the client or the gateway ends the subscription.

    If ``after`` is ``None``, reading begins with the active turn.

    Raises:
        BadUserInput: reason ``CURSOR``, or ``CURSOR_EXPIRED`` if the cursor's turn can no longer be replayed.
        RateLimited: reason ``FOLLOWS``.
    """
    streams, leave = context.resources.streams, context.leave
    reads = _AgentReads(context, conversation.agent_id)
    with ExitStack() as registered:
        known = registered.enter_context(streams.known(context.owner))
        await known.refresh()
        watch = registered.enter_context(
            context.resources.watches.following(reads, conversation, streams.limits.poll_interval)
        )
        following = _Following(context, conversation, watch, known)
        stream, cursor = await following.resumed(after)
        registered.enter_context(leave.reading(following.is_movable))
        await following.begin(stream)
        if stream is not None and await following.has_read(stream, cursor):
            following.finished(stream)
            stream = cursor = None
        while True:
            async with AsyncExitStack() as stack:
                if stream is None:
                    stream, replayed = await following.next(stack)
                else:
                    replayed = True
                    await stack.enter_async_context(streams.attached(stream))
                if stream is None:
                    if leave.reason is not None:
                        yield Delivery("", after or "", Detached(reason=leave.reason))
                    return
                following.reading = stream
                async for one in streams.events(stream, cursor, leave, replayed=replayed):
                    after, event = encode_cursor(_FollowCursor(stream.id, one.cursor)), one.event
                    # if a stream of the run broke off, the reader has already read a part of the run
                    is_reread = isinstance(event, Started) and following.broke_off(event.run_id)
                    yield Delivery(stream.id, after, event, replayed or is_reread)
                    if isinstance(event, Detached):
                        return
            following.finished(stream)
            leave.changed()
            stream = cursor = None


class _AgentReads:
    def __init__(self, context: RequestContext, agent_id: OwnedAgentId) -> None:
        self.owner_id = context.principal.user_id
        self.agent_id = agent_id
        self._context = context

    def renewed(self) -> _AgentReads:
        return _AgentReads(self._context.renewed(), self.agent_id)

    async def runs(self, limit: int) -> list[RunRecord]:
        return await self._context.resources.letta.runs(self._context.scope, [self.agent_id], limit=limit)

    async def prove(self, conversation: ConversationRef) -> None:
        await self._context.access.conversation_ref(conversation)


class _Following:
    """Records which turns of a conversation one reader has read. ``reading`` is the current turn's stream."""

    def __init__(
        self, context: RequestContext, conversation: ConversationRef, watch: Watch, known: KnownStreams
    ) -> None:
        self._context = context
        self._known = known
        self._conversation = conversation
        self._watch = watch
        self._owner = context.owner
        self._streams = context.resources.streams
        self._finished = {stream.id for stream in self._own_streams() if stream.log.ended is not None}
        self._found_at_start = {stream.id for stream in self._own_streams()}
        self._runs: set[str] = set()
        self._whole: set[str] = set()
        self._unstreamed: set[str] = set()
        self._since = 0.0
        self.reading: Stream | None = None

    def _own_streams(self) -> list[Stream]:
        return [stream for stream in self._known.streams if stream.conversation == self._conversation]

    def finished(self, stream: Stream) -> None:
        """Record that the reader has read all events of a stream."""
        self._finished.add(stream.id)
        self.reading = None
        self._since = time.monotonic()
        if stream.run_id is not None:
            self._runs.add(stream.run_id)
            if not stream.broke_off:
                self._whole.add(stream.run_id)

    def broke_off(self, run_id: str | None) -> bool:
        """Return whether one of the run's streams failed or was cancelled. Even then, Letta may continue the run."""
        return run_id is not None and any(one.broke_off and one.run_id == run_id for one in self._own_streams())

    async def resumed(self, after: str | None) -> tuple[Stream | None, str | None]:
        """Split a subscription's cursor into a stream and a cursor in the stream. Mark earlier streams as read."""
        if not after:  # a reader that was detached before its first event has an empty cursor
            return None, None
        resumed = decode_cursor(after, _FollowCursor)
        try:
            stream = await self._streams.get(resumed.stream_id, self._owner)
        except NotFound as error:
            raise BadUserInput(
                "The gateway can no longer replay the turn to which the cursor belongs. Read the conversation's "
                "`messages`.",
                reason=Reason.CURSOR_EXPIRED,
            ) from error
        if stream.conversation != self._conversation:
            raise BadUserInput(
                "The cursor does not belong to this conversation. Omit the cursor.", reason=Reason.CURSOR
            )
        await stream.log.position(resumed.cursor)
        streams = self._own_streams()
        self._finished = {earlier.id for earlier in streams[: streams.index(stream)]}
        return stream, resumed.cursor

    def is_movable(self) -> bool:
        """Return whether the reader can be detached without an interruption of a turn that it reads."""
        return self.reading is None or self._streams.is_resumable_elsewhere(self.reading)

    async def has_read(self, stream: Stream, cursor: str | None) -> bool:
        """Return whether a cursor is the last one of an ended stream."""
        return stream.log.ended is not None and await stream.log.position(cursor) == stream.log.length

    async def begin(self, resumed: Stream | None) -> None:
        """Mark ended runs as read, except runs after the turn at which reading resumes. Raises UpstreamFailure."""
        runs = await self._watch.fresh(self._conversation)
        ids: list[str] = [run.id for run in runs]
        if resumed is not None and resumed.run_id in ids:
            self._runs = set(ids[ids.index(resumed.run_id) + 1 :])
        else:
            self._runs = {run.id for run in runs if run.over}

    async def next(self, stack: AsyncExitStack) -> tuple[Stream | None, bool]:
        """Wait for the next turn, and attach to its stream.

        Returns:
            The stream, or ``None`` if the reader is detached. Also, whether the stream began before the subscription.
        """
        leave = self._context.leave
        seen: Poll | None = None
        with self._watch.waiting():
            while leave.reason is None:
                stream = self._unread()
                if stream is not None:
                    replayed = stream.id in self._found_at_start
                    return await stack.enter_async_context(self._streams.attached(stream)), replayed
                poll = self._watch.newest
                if poll is None or poll is seen or poll.began < self._since or self._is_opening():
                    await self._streams.turn_begun(self._owner, self._conversation, self._watch.polled, leave)
                    continue
                seen = poll
                run = self._next_run(poll)
                if run is None:
                    continue
                await self._known.refresh()  # another replica may stream the run
                if self._is_opening() or self._unread() is not None:
                    seen = None
                elif self._is_unread(run) and (stream := await self._read_run(run, stack)) is not None:
                    return stream, False
        return None, False

    def _unread(self) -> Stream | None:
        return next(
            (
                one
                for one in self._own_streams()
                if one.begun and one.id not in self._finished and not self._repeats(one)
            ),
            None,
        )

    def _repeats(self, stream: Stream) -> bool:
        """Return whether to skip a stream, because the reader has already received the run."""
        if stream.run_id in self._whole:
            return True
        return stream.restarted and stream.run_id in self._runs and not self.broke_off(stream.run_id)

    def _is_opening(self) -> bool:
        return any(not stream.begun and stream.log.ended is None for stream in self._own_streams())

    def _next_run(self, poll: Poll) -> OwnedRun | None:
        """Return the oldest unread run. If the poll failed, raise the poll's error unless the error is temporary."""
        if poll.failure is not None and not isinstance(poll.failure, UpstreamFailure | RateLimited):
            raise copy_of(poll.failure)
        return next((run for run in reversed(self._watch.runs(self._conversation)) if self._is_unread(run)), None)

    def _is_unread(self, run: OwnedRun) -> bool:
        """Return whether the reader must still read a run.

        Such a run is new and has no stream, or is active although its stream broke off.
        """
        if any(stream.run_id == run.id and not stream.broke_off for stream in self._own_streams()):
            return False
        if self.broke_off(run.id):
            return run.is_active
        return run.id not in self._runs and (run.is_active or run.over)  # Letta never ends any other run

    async def _read_run(self, run: OwnedRun, stack: AsyncExitStack) -> Stream | None:
        """Start a stream that reads a run. Return ``None`` if Letta refuses the stream."""
        followed = FollowedRun(run_id=run.id, background=run.background is True and run.id not in self._unstreamed)
        request = StreamRequest(
            owner=self._owner,
            kind="turn",
            source=lambda _: LettaSource(self._context, self._conversation, followed),
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
