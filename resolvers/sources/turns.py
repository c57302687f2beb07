"""Starts or resumes a turn, and translates Letta's frames into events.

Deltas are passed on as they arrive. After each step, the gateway reads the step's messages from Letta, because only
stored messages have their final form and ids.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from decimal import Decimal

from clients.codes import Reason
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    Conflict,
    GatewayError,
    NotFound,
    Service,
    UpstreamError,
    UpstreamTimeout,
)
from clients.letta.frames import Done, ErrorFrame, Frame, MessageFrame, Ping, StopReason
from clients.letta.ids import is_letta_id
from clients.letta.messages import (
    ApprovalRequestMessage,
    AssistantMessage,
    MessageRecord,
    ReasoningMessage,
    ToolCallMessage,
)
from clients.letta.records import RunRecord, RunStatus
from clients.letta.sending import FollowedRun, Sent
from clients.letta.stops import StopKind, stop_kind
from clients.letta.turns import LettaTurn
from clients.outcome import outcome_unknown
from clients.owned import ConversationRef, OwnedRunId
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.messages import message_node_id
from resolvers.owned import run_named_in
from resolvers.sources.failures import failure_of
from resolvers.sources.lookup import BUSY, Attempt, run_of_attempt
from resolvers.sources.turn_costs import TurnCost, ended_steps, turn_cost
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded, TurnStarted
from resolvers.streams.events import (
    Ended,
    Event,
    ReasoningDelta,
    StreamFailure,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
    finish_reason,
)
from resolvers.streams.log import StreamLog
from resolvers.streams.timeouts import StreamTimeouts

READ_BACK = 50
"""The number of newest messages that are searched for the turn's messages."""

POLL_SECONDS = 1.0
"""The time between two polls of a run, in seconds. Runs are polled if Letta does not replay the stream."""

_STOP_OF = {RunStatus.COMPLETED: "end_turn", RunStatus.CANCELLED: "cancelled", RunStatus.FAILED: "error"}
"""The stop reason for each final run status. The gateway uses these reasons if Letta sends none."""

READ_BACK_SECONDS = 5.0


class LettaSource:
    """Reads one turn's events from Letta.

    If Letta stored the message from the attempt ``earlier``, the gateway does not send the message again.
    If the turn's estimated cost exceeds ``max_cost`` US dollars, the source cancels the run.
    """

    def __init__(
        self,
        context: RequestContext,
        conversation: ConversationRef,
        sent: Sent | FollowedRun,
        earlier: Attempt | None = None,
        *,
        max_cost: Decimal | None = None,
    ) -> None:
        self._context = context
        self._conversation = conversation
        self._sent = sent
        self._earlier = earlier
        self._max_cost = max_cost
        self._cost: TurnCost | None = None
        self._followed = sent if isinstance(sent, FollowedRun) else None
        self.run_id: str | None = self._followed.run_id if self._followed else None
        self._step: str | None = None
        self._reading: asyncio.Task[list[MessageRecord]] | None = None
        self._seen: set[str] = set()
        self._stop: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    async def events(self) -> AsyncGenerator[tuple[Event, bytes]]:
        """Send the message or resume the run, and yield the turn's events."""
        async with AsyncExitStack() as stack:
            if self._max_cost is not None:
                self._cost = await turn_cost(self._context, self._conversation, self._max_cost)
            if self._earlier is not None and not isinstance(self._sent, FollowedRun):
                self._followed = await run_of_attempt(self._context, self._conversation, self._sent, self._earlier)
            timeouts = StreamTimeouts(self._context.resources.timeouts, Service.LETTA)
            turn = await self._turn(stack)
            if turn is not None:
                events = self._events(timeouts.timed(turn.frames, is_token=_is_token), resumable=turn.background)
            elif self._followed is not None:
                events = self._events(self._polled(self._followed.run_id), resumable=False)
            else:
                return
            await stack.enter_async_context(aclosing(events))
            async for pair in events:
                yield pair

    async def settle(self, log: StreamLog) -> None:
        """Do nothing, because Letta reports a turn's usage, and the gateway's proxy counts the turn's tokens."""

    async def _turn(self, stack: AsyncExitStack) -> LettaTurn | None:
        if self._followed is None:
            try:
                return await stack.enter_async_context(self._sending())
            except Conflict as error:
                if self._earlier is not None and error.reason == Reason.RUN_BUSY:
                    raise outcome_unknown(BUSY, error) from error  # the earlier attempt may have arrived late
                raise
        self.run_id = self._followed.run_id
        if not self._followed.background:
            return None
        letta, timeouts = self._context.resources.letta, self._context.resources.timeouts
        turn = letta.resume(
            self._context.model_scope(), self._conversation, self._followed.run_id, opens_within=timeouts.first_token
        )
        try:
            return await stack.enter_async_context(turn)
        except (BadUserInput, NotFound):
            if isinstance(self._sent, FollowedRun):
                raise
            return None

    def _sending(self) -> AbstractAsyncContextManager[LettaTurn]:
        letta, timeouts, sent = self._context.resources.letta, self._context.resources.timeouts, self._sent
        if isinstance(sent, FollowedRun):
            raise TypeError("a run that is followed sends nothing")
        return letta.send(self._context.model_scope(), self._conversation, sent, opens_within=timeouts.first_token)

    async def _polled(self, run_id: OwnedRunId) -> AsyncIterator[Frame]:
        """Poll a run until the run has ended, because Letta does not replay the run's stream."""
        yield Ping(run_id)
        try:
            async with asyncio.timeout(self._context.resources.timeouts.llm_total):
                run = await self._run(run_id)
                while not run.over:
                    await asyncio.sleep(POLL_SECONDS)
                    run = await self._run(run_id)
        except TimeoutError as error:
            raise UpstreamTimeout(
                "The turn did not end in time. Retry the request with the same idempotency key or stream key.",
                reason=Reason.TOTAL,
                service=Service.LETTA,
            ) from error
        yield StopReason(run.stop_reason or _STOP_OF[run.status])

    async def _run(self, run_id: OwnedRunId) -> RunRecord:
        return await self._context.resources.letta.run(self._context.renewed().scope, run_id)

    async def _events(self, frames: AsyncIterator[Frame], *, resumable: bool) -> AsyncGenerator[tuple[Event, bytes]]:
        started = False
        failed: ErrorFrame | None = None
        try:
            async for frame in frames:
                self.run_id = self.run_id or _run_id(frame)
                if not started and (self.run_id is not None or not isinstance(frame, Ping)):
                    started = True
                    yield self._started(resumable=resumable), b""
                if isinstance(frame, Done):
                    break
                if isinstance(frame, ErrorFrame):
                    failed = frame
                for event in [*self._from(frame), *self._read()]:
                    yield event, b""
                if self._stop == "cancelled":
                    break
                if self._cost is not None and (excess := await self._excess(self._cost, frame)) is not None:
                    for event in await self._cancelled(excess):
                        yield event, b""
                    return
            if self._stop is None and failed is None:
                raise UpstreamError(
                    "The connection to Letta broke before the answer was complete. Retry the request with the same "
                    "idempotency key or stream key.",
                    reason=Reason.CUT,
                    service=Service.LETTA,
                )
            for event in await self._read_last():
                yield event, b""
            yield self._ended(failed), b""
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def _excess(self, cost: TurnCost, frame: Frame) -> BudgetExceeded | None:
        """Add a frame to the turn's cost. Return the error if the cost exceeds the maximum."""
        begins_step = isinstance(frame, MessageFrame) and cost.count(frame.message.step_id, _deltas(frame.message))
        if self.run_id is None:
            return None
        if begins_step:
            cost.report(await ended_steps(self._context, self._owned_run_id()))
        return cost.excess

    async def _cancelled(self, excess: BudgetExceeded) -> list[Event]:
        """Cancel the run, and return the stream's last events."""
        context, run_id = self._context.renewed(), self._owned_run_id()
        letta, usage = context.resources.letta, None
        for _ in range(2):
            with suppress(GatewayError):
                await letta.cancel(context.scope, self._conversation.agent_id, run_id)
                break
        with suppress(GatewayError):
            usage = await letta.run_usage(context.scope, run_id)
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

    def _owned_run_id(self) -> OwnedRunId:
        return run_named_in(self._conversation, self.run_id or "")

    def _started(self, *, resumable: bool) -> TurnStarted:
        message = self._sent.record(self._conversation, self.run_id)
        return TurnStarted(run_id=self.run_id, user_message=message, resumable=resumable)

    def _from(self, frame: Frame) -> list[Event]:
        match frame:
            case MessageFrame(message=message):
                if message.step_id is not None:
                    if self._step not in {None, message.step_id} and self._reading is None:
                        self._reading = asyncio.create_task(self._stored())
                    self._step = message.step_id
                return _deltas(message)
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

    async def _read_last(self) -> list[Event]:
        for _ in range(2):
            with suppress(GatewayError, TimeoutError):
                return self._added(await self._stored())
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
        context = self._context.renewed()
        async with asyncio.timeout(READ_BACK_SECONDS):
            newest = await context.resources.letta.messages(
                context.scope, self._conversation, limit=READ_BACK, newest_first=True
            )
        sent = [message for message in newest if self._sent.otid and message.otid == self._sent.otid]
        self.run_id = self.run_id or next((message.run_id for message in sent if message.run_id), None)
        own = {id(message) for message in sent}
        return [
            message
            for message in newest
            if id(message) in own or (self.run_id is not None and message.run_id == self.run_id)
        ]

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


def _run_id(frame: Frame) -> str | None:
    """Return a frame's run id if the id is well-formed, because the id becomes part of URL paths."""
    match frame:
        case Ping(run_id=run_id) | MessageFrame(message=MessageRecord(run_id=run_id)) | ErrorFrame(run_id=run_id):
            return run_id if run_id is not None and is_letta_id(run_id, "run") else None
        case _:
            return None


def _is_token(frame: Frame) -> bool:
    return isinstance(frame, MessageFrame | StopReason | ErrorFrame)


def _deltas(message: MessageRecord) -> list[Event]:
    node_id = message_node_id(message)
    match message:
        case AssistantMessage() if message.text:
            return [TextDelta(message_id=node_id, text=message.text)]
        case ReasoningMessage() if message.text:
            return [ReasoningDelta(message_id=node_id, text=message.text)]
        case ToolCallMessage() | ApprovalRequestMessage():
            return [
                ToolCallDelta(
                    message_id=node_id,
                    index=index,
                    tool_call_id=call.tool_call_id,
                    name=call.name,
                    arguments_delta=call.arguments or "",
                )
                for index, call in enumerate(message.tool_calls)
            ]
        case _:
            return []
