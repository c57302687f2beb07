"""Mutations of turns: send a message, decide on tool calls, cancel."""

from contextlib import AbstractAsyncContextManager
from enum import StrEnum

import strawberry
from strawberry import ID, Parent

from clients.letta.messages import MessageRecord
from resolvers import runs, turns
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.messages import message_edge
from resolvers.owned import OwnedRun
from resolvers.paging import Edge
from resolvers.sources.turn_events import sent_message
from resolvers.streams.stream import Stream as StreamRecord
from schema import named, outcomes
from schema.access import SIGNED_IN
from schema.base import answered_by, described, enum, optional
from schema.costs import calls
from schema.inputs import ANSWER_STREAM, RUN_CONTINUES, SendMessageInput, required_key
from schema.message import MessageEdge
from schema.outcomes import Payload, PayloadRecord, done_by, payload
from schema.run import Run, RunEdge, run_of
from schema.stream import Stream
from schema.stream_enums import OnDisconnect


class ApprovalDecision(StrEnum):
    """The user's decision on tool calls."""

    APPROVE = "approve"
    DENY = "deny"


enum(
    ApprovalDecision,
    "A decision on tool calls that need approval.",
    APPROVE="The agent makes the calls.",
    DENY="The agent makes none of the calls, and receives `reason`.",
)


@strawberry.input(description="A decision on an approval request.")
class RespondToApprovalInput:
    request_id: ID = described("The id of the `ApprovalRequestMessage`.")
    decision: ApprovalDecision = described("The decision, which applies to all tool calls of the request.")
    reason: str | None = optional("The reason for the decision. The agent receives this text.")
    on_disconnect: OnDisconnect | None = optional(
        RUN_CONTINUES,
        default=OnDisconnect.CONTINUE,
    )
    idempotency_key: str | None = optional(
        "An optional key of 1 to 200 characters. Default: `requestId`. A repeated request with the same key makes no "
        "second decision."
    )


@strawberry.input(description="The run to cancel.")
class CancelRunInput:
    run_id: ID = described("The run's id.")


@strawberry.input(description="The stream to cancel.")
class CancelStreamInput:
    stream_id: ID = described("The stream's id.")


class _Payload(PayloadRecord, kw_only=True):
    stream: StreamRecord | None = None
    run_id: str | None = None
    run: OwnedRun | None = None
    user_message_edge: Edge[MessageRecord] | None = None


async def _run_edge(record: Parent[_Payload], info: Info) -> Edge[OwnedRun] | None:
    return await turns.run_edge_of(info.context, record.run_id)


@payload(_Payload)
class SendMessagePayload(Payload):
    user_message_edge: MessageEdge | None = described(
        "The user's message as an edge, which clients can add at the end of `messages`."
    )
    run: Run | None = answered_by(run_of, "The turn's run.", optional=True, costs=[calls()], held=named.RUN)
    run_edge: RunEdge | None = answered_by(
        _run_edge, "The run as an edge, which clients can add at the start of `runs`.", optional=True, costs=[calls()]
    )
    stream: Stream | None = described(ANSWER_STREAM)


@payload(_Payload)
class RespondToApprovalPayload(Payload):
    run: Run | None = answered_by(
        run_of, "The run that continues the turn.", optional=True, costs=[calls()], held=named.RUN
    )
    run_edge: RunEdge | None = answered_by(
        _run_edge, "The run as an edge, which clients can add at the start of `runs`.", optional=True, costs=[calls()]
    )
    stream: Stream | None = described(ANSWER_STREAM)


@payload(_Payload)
class CancelRunPayload(Payload):
    run: Run | None = described("The run after the mutation.")


@payload(_Payload)
class CancelStreamPayload(Payload):
    stream: Stream | None = described("The stream after the mutation.")


async def _send_message(info: Info, input: SendMessageInput) -> _Payload:
    context = info.context
    key = required_key(input.idempotency_key)
    attached = await turns.send_message(
        context,
        agent_id=input.to.agent_id or None,
        conversation_id=input.to.conversation_id or None,
        content=input.parts(),
        max_cost=input.max_cost(),
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
            await turns.wait_ended(stream, min(wait_seconds, context.resources.timeouts.llm_total), context.leave)
            context.refresh()
    sent = sent_message(started)
    edge = None if sent is None else message_edge(sent)
    return _Payload(stream=stream, run_id=started.run_id or stream.run_id, user_message_edge=edge)


async def _respond_to_approval(info: Info, input: RespondToApprovalInput) -> _Payload:
    attached = await turns.respond_to_approval(
        info.context,
        request_id=input.request_id,
        approve=input.decision is ApprovalDecision.APPROVE,
        reason=input.reason,
        on_disconnect=input.on_disconnect or OnDisconnect.CONTINUE,
        key=input.idempotency_key,
    )
    return await _begun(info.context, attached)


async def _cancel_run(info: Info, input: CancelRunInput) -> _Payload:
    return _Payload(run=await runs.cancel(info.context, input.run_id))


async def _cancel_stream(info: Info, input: CancelStreamInput) -> _Payload:
    streams = info.context.resources.streams
    stream = await streams.get(input.stream_id, info.context.owner)
    await streams.cancel_and_wait(stream)
    return _Payload(stream=stream)


@strawberry.type
class MessageMutations:
    send_message: SendMessagePayload = done_by(
        _Payload,
        _send_message,
        "Sends a message to an agent. Read the answer with the `stream` subscription, or set `waitSeconds` to wait for "
        "the end of the turn.",
        outcomes.ConversationBusy,
        access=SIGNED_IN,
        calls=9,
    )


@strawberry.type
class TurnMutations:
    respond_to_approval: RespondToApprovalPayload = done_by(
        _Payload,
        _respond_to_approval,
        "Approves or denies tool calls that need the user's approval. After the decision, the turn continues at once.",
        outcomes.ConversationBusy,
        access=SIGNED_IN,
        calls=7,
    )
    cancel_run: CancelRunPayload = done_by(
        _Payload,
        _cancel_run,
        "Cancels a run. If the run has already ended, the mutation changes nothing and returns no error.",
        access=SIGNED_IN,
        calls=5,
    )
    cancel_stream: CancelStreamPayload = done_by(
        _Payload,
        _cancel_stream,
        "Cancels a stream. If the stream belongs to a completion, the model stops. If the stream belongs to a turn, "
        "the run continues. To cancel a run, use `cancelRun`.",
        access=SIGNED_IN,
        calls=1,
    )
