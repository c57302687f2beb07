"""Turns: sending a message, deciding on what a turn waits for, stopping."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from enum import StrEnum

import strawberry
from strawberry import ID, Parent

from clients.letta.messages import MessageRecord
from clients.letta.records import RunRecord
from resolvers import runs, turns
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.messages import message_edge
from resolvers.paging import Edge
from resolvers.sources.turn_events import sent_message
from resolvers.streams.events import OnDisconnect
from resolvers.streams.stream import Stream as StreamRecord
from schema import outcomes
from schema.base import answered_by, described, enum, reads
from schema.costs import calls
from schema.inputs import SendMessageInput, required_key
from schema.message import MessageEdge
from schema.outcomes import Payload, PayloadRecord, done_by
from schema.run import Run, RunEdge
from schema.stream import Stream


class ApprovalDecision(StrEnum):
    """Yes or no."""

    APPROVE = "approve"
    DENY = "deny"


enum(
    ApprovalDecision,
    "What is decided on tool calls that a turn asks leave for.",
    APPROVE="The calls are made.",
    DENY="None is made; the agent is told, with your `reason`.",
)


@strawberry.input(description="A decision on an approval request.")
class RespondToApprovalInput:
    """What goes on with a turn."""

    request_id: ID = strawberry.field(description="The id of the `ApprovalRequestMessage`.")
    decision: ApprovalDecision = strawberry.field(description="Whether the calls may be made.")
    reason: str | None = strawberry.field(default=None, description="Why, for the agent to read.")
    on_disconnect: OnDisconnect | None = strawberry.field(
        default=OnDisconnect.CONTINUE, description="What happens to this stream when its last reader leaves."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Without one, the request's id serves: a decision is not taken twice."
    )


@strawberry.input(description="A run to stop.")
class CancelRunInput:
    """What stops a run."""

    run_id: ID = strawberry.field(description="The run.")


@strawberry.input(description="A stream to stop.")
class CancelStreamInput:
    """What stops a stream."""

    stream_id: ID = strawberry.field(description="The stream.")


class _Payload(PayloadRecord, kw_only=True):
    stream: StreamRecord | None = None
    run_id: str | None = None
    run: RunRecord | None = None
    user_message_edge: Edge[MessageRecord] | None = None


async def _run(record: Parent[_Payload], info: Info) -> RunRecord | None:
    return await turns.run_of(info.context, record.run_id)


async def _run_edge(record: Parent[_Payload], info: Info) -> Edge[RunRecord] | None:
    return await turns.run_edge_of(info.context, record.run_id)


@strawberry.type(description="A message was sent, and a turn begun.")
@reads(_Payload)
class SendMessagePayload(Payload):
    """Payload of ``sendMessage``."""

    user_message_edge: MessageEdge | None = described("What you sent, for the end of `messages`.")
    run: Run | None = answered_by(_run, "The turn's run.", optional=True, costs=[calls()])
    run_edge: RunEdge | None = answered_by(
        _run_edge, "The same, for the front of `runs`.", optional=True, costs=[calls()]
    )
    stream: Stream | None = described("Where the answer comes: subscribe to it.")


@strawberry.type(description="A decision was taken, and the turn goes on.")
@reads(_Payload)
class RespondToApprovalPayload(Payload):
    """Payload of ``respondToApproval``."""

    run: Run | None = answered_by(_run, "The run that goes on with the turn.", optional=True, costs=[calls()])
    run_edge: RunEdge | None = answered_by(
        _run_edge, "The same, for the front of `runs`.", optional=True, costs=[calls()]
    )
    stream: Stream | None = described("Where the answer comes: subscribe to it.")


@strawberry.type(description="A run was stopped.")
@reads(_Payload)
class CancelRunPayload(Payload):
    """Payload of ``cancelRun``."""

    run: Run | None = described("The run as it is now.")


@strawberry.type(description="A stream was stopped.")
@reads(_Payload)
class CancelStreamPayload(Payload):
    """Payload of ``cancelStream``."""

    stream: Stream | None = described("The stream as it is now.")


async def _send_message(info: Info, input: SendMessageInput) -> _Payload:  # noqa: A002 - the argument's name
    context = info.context
    key = required_key(input.idempotency_key)
    attached = await turns.send_message(
        context,
        agent_id=input.to.agent_id or None,
        conversation_id=input.to.conversation_id or None,
        content=input.parts(),
        on_disconnect=input.when_left(),
        key=key,
        reads=False,
    )
    return await _begun(context, attached, wait_seconds=input.wait_seconds or 0)


async def _begun(
    context: RequestContext, attached: AbstractAsyncContextManager[StreamRecord], *, wait_seconds: int = 0
) -> _Payload:
    async with attached as stream:
        started = await turns.wait_started(context, stream)
        if wait_seconds > 0:
            await turns.wait_ended(stream, min(wait_seconds, context.resources.clocks.llm_total), context.leave)
            context.refresh()
    sent = sent_message(started)
    edge = None if sent is None else message_edge(sent)
    return _Payload(stream=stream, run_id=started.run_id or stream.run_id, user_message_edge=edge)


async def _respond_to_approval(info: Info, input: RespondToApprovalInput) -> _Payload:  # noqa: A002 - as above
    attached = await turns.respond_to_approval(
        info.context,
        request_id=input.request_id,
        approve=input.decision is ApprovalDecision.APPROVE,
        reason=input.reason,
        on_disconnect=input.on_disconnect or OnDisconnect.CONTINUE,
        key=input.idempotency_key,
    )
    return await _begun(info.context, attached)


async def _cancel_run(info: Info, input: CancelRunInput) -> _Payload:  # noqa: A002 - as above
    return _Payload(run=await runs.cancel(info.context, input.run_id))


async def _cancel_stream(info: Info, input: CancelStreamInput) -> _Payload:  # noqa: A002 - as above
    streams = info.context.resources.streams
    stream = streams.get(input.stream_id, info.context.principal.user_id)
    await streams.cancel_and_wait(stream)
    return _Payload(stream=stream)


@strawberry.type
class MessageMutations:
    """Part of the root of mutations."""

    send_message: SendMessagePayload = done_by(
        _Payload,
        _send_message,
        "Send a message to an agent. Answers as soon as the run exists; subscribe to its stream.",
        outcomes.ConversationBusy,
        calls=6,
    )


@strawberry.type
class TurnMutations:
    """Part of the root of mutations."""

    respond_to_approval: RespondToApprovalPayload = done_by(
        _Payload,
        _respond_to_approval,
        "Decide on the tool calls that a turn waits for; it goes on at once.",
        outcomes.ConversationBusy,
        calls=7,
    )
    cancel_run: CancelRunPayload = done_by(
        _Payload, _cancel_run, "Stop a run. One that is over already stays as it is, which is no error.", calls=5
    )
    cancel_stream: CancelStreamPayload = done_by(
        _Payload,
        _cancel_stream,
        "Stop a stream, and with it the model where it answers by itself. A run goes on: `cancelRun`.",
        calls=1,
    )
