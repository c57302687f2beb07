"""Starts or resumes a turn, and translates Letta's frames into events.

Deltas are passed on as they arrive. After each step, the gateway reads the step's messages from Letta, because only
stored messages have their final form and ids.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from decimal import Decimal

from clients.codes import Reason
from clients.errors import BudgetExceeded, Conflict, GatewayError, Service
from clients.letta.frames import Done, ErrorFrame, Frame, MessageFrame, Ping, StopReason
from clients.letta.messages import (
    ApprovalRequestMessage,
    MessageRecord,
    UserMessage,
)
from clients.letta.sending import FollowedRun, Sent
from clients.letta.stops import StopKind, stop_kind
from clients.outcome import outcome_unknown
from clients.owned import ConversationRef, OwnedRunId, Position
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.messages import message_node_id
from resolvers.owned import run_named_in
from resolvers.sources.failures import failure_of
from resolvers.sources.lookup import BUSY, Attempt, LostTurn, run_of_attempt, run_of_lost_turn
from resolvers.sources.patience import patiently
from resolvers.sources.positions import BEGINNING, ResumePoint
from resolvers.sources.recipes import turn_recipe
from resolvers.sources.run_frames import RunFrames, cut
from resolvers.sources.turn_costs import TurnCost, ended_steps, turn_cost
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded, TurnStarted, deltas_of
from resolvers.streams.events import (
    Batch,
    Ended,
    Event,
    StreamFailure,
    StreamOutcome,
    batch_of,
    finish_reason,
)
from resolvers.streams.log import StreamLog
from resolvers.streams.timeouts import StreamTimeouts

READ_BACK = 50
"""The number of newest messages that one call reads to find the turn's messages."""

READ_BACK_SECONDS = 5.0


class LettaSource:
    """Reads one turn's events from Letta.

    If Letta stored the message from the attempt ``earlier``, the gateway does not send the message again.
    If the turn's estimated cost exceeds ``max_cost`` US dollars, the source cancels the run. ``cancels`` is whether the
    source also cancels the run of a stream that is abandoned after it has begun. The source yields only the events
    after ``point``.
    """

    def __init__(
        self,
        context: RequestContext,
        conversation: ConversationRef,
        sent: Sent | FollowedRun | LostTurn,
        earlier: Attempt | None = None,
        *,
        max_cost: Decimal | None = None,
        point: ResumePoint = BEGINNING,
        cancels: bool = False,
    ) -> None:
        self._context = context
        self._conversation = conversation
        self._sent = sent
        self._earlier = earlier
        self._max_cost = max_cost
        self._point = point
        self._cancels = cancels
        self._cost: TurnCost | None = None
        self.mark = 0
        self.run_id: str | None = sent.run_id if isinstance(sent, FollowedRun | LostTurn) else None
        self._step: str | None = None
        self._reading: asyncio.Task[list[MessageRecord]] | None = None
        self._seen = set(point.seen)
        self._stop: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    def recipe(self) -> bytes:
        """Return the data with which another process continues the turn."""
        return turn_recipe(
            self._context, self._conversation, self._sent, self._earlier, self._max_cost, cancels=self._cancels
        )

    async def events(self) -> AsyncGenerator[Batch]:
        """Send the message or resume the run, and yield the turn's events."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._context.changed_by_turn)
            stack.callback(self._stop_reading)
            followed = await self._found()
            timeouts = StreamTimeouts(self._context.resources.timeouts, Service.LETTA)
            run = await self._opened(followed, stack)
            has_started, failed = self._point.has_started, None
            if has_started:
                self._reading = asyncio.create_task(self._stored())
            frames = await stack.enter_async_context(aclosing(run.frames()))
            async for frame in stack.enter_context(timeouts.timed(frames, is_token=run.is_token)):
                self.run_id = self.run_id or run.run_id
                if not has_started and (self.run_id is not None or not isinstance(frame, Ping)):
                    has_started = True
                    yield batch_of(await self._started(resumable=run.is_replayed))
                if isinstance(frame, Done):
                    break
                if isinstance(frame, ErrorFrame):
                    failed = frame
                if events := self._from(frame):
                    yield batch_of(*events)
                self.mark = 0
                if events := self._read():
                    yield batch_of(*events)
                if self._stop == "cancelled":
                    break
                if self._cost is not None and (excess := await self._excess(self._cost, frame)) is not None:
                    yield batch_of(*await self._cancelled(excess))
                    return
            yield batch_of(*await self._last(failed))

    async def settle(self, log: StreamLog) -> None:
        """Do nothing, because Letta reports a turn's usage, and the gateway's proxy counts the turn's tokens."""

    async def abandoned(self) -> None:
        """Cancel the run, if the source cancels the runs of abandoned streams."""
        if self._cancels and self.run_id is not None:
            await self._cancel_run()
            await self._context.changed_by_turn()

    async def _opened(self, followed: FollowedRun | None, stack: AsyncExitStack) -> RunFrames:
        """Send the message, or attach to the run that has the message."""
        # the cost is an estimate from all frames, so a bounded turn is read from its first frame
        after = max(self._point.mark - 1, 0) if self._cost is None else 0
        run = await stack.enter_async_context(RunFrames(self._context, self._conversation, after))
        if followed is None:
            await self._send(run)
        elif isinstance(self._sent, LostTurn):
            await patiently(lambda: run.attach(followed))
        else:
            await run.attach(followed)
        return run

    async def _found(self) -> FollowedRun | None:
        """Find the run that has the message already, if there is one, and the prices for the bound on the cost."""
        followed: FollowedRun | None = None
        if isinstance(self._sent, FollowedRun):
            followed = self._sent
        elif isinstance(self._sent, LostTurn):
            followed = await run_of_lost_turn(self._context, self._conversation, self._sent)
        elif self._earlier is not None:
            followed = await run_of_attempt(self._context, self._conversation, self._sent.otid, self._earlier)
        self.run_id = self.run_id if followed is None else followed.run_id
        if self._max_cost is not None:
            self._cost = await self._bound(self._max_cost)
        return followed

    async def _bound(self, max_cost: Decimal) -> TurnCost:
        """Read the model's prices. A lost turn whose bound cannot be enforced any longer is cancelled."""
        if not isinstance(self._sent, LostTurn):
            return await turn_cost(self._context, self._conversation, max_cost)
        try:
            return await patiently(lambda: turn_cost(self._context, self._conversation, max_cost))
        except GatewayError:
            await self._cancel_run()
            raise

    async def _send(self, run: RunFrames) -> None:
        if isinstance(self._sent, FollowedRun | LostTurn):
            raise TypeError("a run that is followed sends nothing")
        try:
            await run.send(self._sent)
        except Conflict as error:
            if self._earlier is not None and error.reason == Reason.RUN_BUSY:
                raise outcome_unknown(BUSY, error) from error  # the earlier attempt may have arrived late
            raise

    async def _excess(self, cost: TurnCost, frame: Frame) -> BudgetExceeded | None:
        """Add a frame to the turn's cost. Return the error if the cost exceeds the maximum."""
        begins_step = isinstance(frame, MessageFrame) and cost.count(frame.message.step_id, deltas_of(frame.message))
        if self.run_id is None:
            return None
        if begins_step:
            cost.report(await ended_steps(self._context, self._owned_run_id()))
        return cost.excess

    async def _cancelled(self, excess: BudgetExceeded) -> list[Event]:
        """Cancel the run, and return the stream's last events."""
        run_id, usage = self._owned_run_id(), None
        await self._cancel_run()
        with suppress(GatewayError):
            usage = await self._context.resources.letta.run_usage(self._context.renewed().scope, run_id)
        return [
            *await self._read_last(),
            Ended(
                outcome=StreamOutcome.FAILED,
                error=StreamFailure.of(excess),
                usage=usage,
                run_id=run_id,
                conversation=self._conversation,
            ),
        ]

    async def _cancel_run(self) -> None:
        letta, agent_id = self._context.resources.letta, self._conversation.agent_id
        for _ in range(2):
            with suppress(GatewayError):
                await letta.cancel(self._context.renewed().scope, agent_id, self._owned_run_id())
                break

    def _owned_run_id(self) -> OwnedRunId:
        return run_named_in(self._conversation, self.run_id or "")

    async def _started(self, *, resumable: bool) -> TurnStarted:
        if isinstance(self._sent, LostTurn):
            message: UserMessage | None = await self._lost_message(self._sent)
        else:
            message = self._sent.record(self._conversation, self.run_id)
        await self._context.changed_by_turn()
        return TurnStarted(run_id=self.run_id, user_message=message, resumable=resumable)

    async def _lost_message(self, turn: LostTurn) -> UserMessage | None:
        """Return the message that began a lost turn, if Letta has stored the message."""
        with suppress(GatewayError, TimeoutError):
            stored = (message for message in await self._stored() if isinstance(message, UserMessage))
            return next((message for message in stored if message.otid == turn.otid), None)
        return None

    def _from(self, frame: Frame) -> list[Event]:
        match frame:
            case MessageFrame(message=message, seq_id=seq_id):
                self.mark = seq_id or 0
                if message.step_id is not None:
                    if self._step not in {None, message.step_id} and self._reading is None:
                        self._reading = asyncio.create_task(self._stored())
                    self._step = message.step_id
                return self._point.missing(seq_id, deltas_of(message))
            case StopReason(reason=reason):
                self._stop = self._stop or reason
            case Usage():
                self.usage = frame
            case _:
                pass
        return []

    def _read(self) -> list[Event]:
        """Return the last step's messages if Letta has already sent them. Deltas do not wait for the messages."""
        reading = self._reading
        if reading is None or not reading.done():
            return []
        self._reading = None
        return [] if reading.exception() is not None else self._added(reading.result())

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read_last(self) -> list[Event]:
        for _ in range(2):
            with suppress(GatewayError, TimeoutError):
                return self._added(await self._stored())
        await self._context.changed_by_turn()
        return []

    def _added(self, stored: list[MessageRecord]) -> list[Event]:
        events: list[Event] = []
        for message in stored:
            node_id = message_node_id(message)
            if node_id in self._seen:
                continue
            self._seen.add(node_id)
            if isinstance(message, ApprovalRequestMessage):
                events.append(ApprovalRequested(message=message, run_id=self.run_id))
            else:
                events.append(MessageAdded(message=message))
        return events

    async def _stored(self) -> list[MessageRecord]:
        async with asyncio.timeout(READ_BACK_SECONDS):
            newest = await self._newest()
        await self._context.changed_by_turn()  # before a reader receives the messages
        sent = [message for message in newest if self._sent.otid and message.otid == self._sent.otid]
        self.run_id = self.run_id or next((message.run_id for message in sent if message.run_id), None)
        own = {id(message) for message in sent}
        return [
            message
            for message in newest
            if id(message) in own or (self.run_id is not None and message.run_id == self.run_id)
        ]

    async def _newest(self) -> list[MessageRecord]:
        """Read the conversation's newest messages, back to a message that is not new to the stream."""
        context, before = self._context.renewed(), None
        newest: list[MessageRecord] = []
        while True:
            page = await context.resources.letta.messages(
                context.scope, self._conversation, limit=READ_BACK, newest_first=True, before=before
            )
            newest = [*page, *newest]
            if len(page) < READ_BACK or page[0].run_id is None or page[0].run_id != self.run_id:
                return newest
            if message_node_id(page[0]) in self._seen:
                return newest
            before = Position(page[0].letta_id)

    async def _last(self, failed: ErrorFrame | None) -> list[Event]:
        """Return the events after the last frame. Raises UpstreamError (``CUT``) if Letta has sent no end."""
        if self._stop is None and failed is None:
            raise cut()
        return [*await self._read_last(), self._ended(failed)]

    def _ended(self, failed: ErrorFrame | None) -> Ended:
        stop = self._stop or "error"
        kind = StopKind.FAILED if failed is not None else stop_kind(stop)
        return Ended(
            outcome=StreamOutcome(kind),
            finish_reason=finish_reason(self._stop),
            error=failure_of(stop, failed) if kind is StopKind.FAILED else None,
            usage=self.usage,
            run_id=self.run_id,
            conversation=self._conversation,
        )
