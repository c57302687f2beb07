"""What can be done."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import msgspec
import strawberry
from strawberry import Parent

from clients.errors import Conflict
from clients.letta.messages import MessageRecord
from clients.letta.records import ConversationRecord, MemoryBlockRecord, RunRecord
from resolvers import conversations, memory, runs, turns
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.messages import message_edge
from resolvers.paging import Edge
from resolvers.streams.stream import Stream as StreamRecord
from schema.agent import MemoryBlock
from schema.base import answered_by, described, reads
from schema.base import derived as done_by
from schema.conversation import ConversationEdge
from schema.inputs import (
    ApprovalDecision,
    CancelRunInput,
    CancelStreamInput,
    CompletionInput,
    CreateConversationInput,
    RespondToApprovalInput,
    SendMessageInput,
    UpdateMemoryBlockInput,
    required_key,
)
from schema.message import MessageEdge
from schema.run import Run
from schema.stream import Stream


@strawberry.interface(description="An outcome that a person acts on.")
class UserError:
    """What every such outcome has."""

    message: str = described("A sentence for people.")


class _Busy(msgspec.Struct, frozen=True):
    message: str
    run_id: str | None


async def _busy_run(record: Parent[_Busy], info: Info) -> RunRecord | None:
    return await turns.run_of(info.context, record.run_id)


@strawberry.type(description="The conversation is busy with another run: wait for it, or cancel it.")
@reads(_Busy)
class ConversationBusy(UserError):
    """A Conflict, reason RUN_BUSY, as data."""

    run: Run | None = answered_by(_busy_run, "The run it is busy with.")


class _Payload(msgspec.Struct, frozen=True, kw_only=True):
    errors: list[_Busy] = []
    stream: StreamRecord | None = None
    run_id: str | None = None
    run: RunRecord | None = None
    user_message_edge: Edge[MessageRecord] | None = None
    conversation_edge: Edge[ConversationRecord] | None = None
    memory_block: MemoryBlockRecord | None = None


async def _run(record: Parent[_Payload], info: Info) -> RunRecord | None:
    return await turns.run_of(info.context, record.run_id)


@strawberry.type(description="A message was sent, and a turn begun.")
@reads(_Payload)
class SendMessagePayload:
    """Payload of ``sendMessage``."""

    user_message_edge: MessageEdge | None = described("What you sent, for the end of `messages`.")
    run: Run | None = answered_by(_run, "The turn's run.", optional=True)
    stream: Stream | None = described("Where the answer comes: subscribe to it.")
    errors: list[UserError] = described("Outcomes to act on; empty when the message went out.")


@strawberry.type(description="A decision was taken, and the turn goes on.")
@reads(_Payload)
class RespondToApprovalPayload:
    """Payload of ``respondToApproval``."""

    run: Run | None = answered_by(_run, "The run that goes on with the turn.", optional=True)
    stream: Stream | None = described("Where the answer comes: subscribe to it.")
    errors: list[UserError] = described("Outcomes to act on; empty when the turn goes on.")


@strawberry.type(description="A run was stopped.")
@reads(_Payload)
class CancelRunPayload:
    """Payload of ``cancelRun``."""

    run: Run | None = described("The run as it is now.")
    errors: list[UserError] = described("Outcomes to act on; empty when the run is over.")


@strawberry.type(description="A stream was stopped.")
@reads(_Payload)
class CancelStreamPayload:
    """Payload of ``cancelStream``."""

    stream: Stream | None = described("The stream as it is now.")
    errors: list[UserError] = described("Outcomes to act on; empty when the stream is over.")


@strawberry.type(description="A memory block was written.")
@reads(_Payload)
class UpdateMemoryBlockPayload:
    """Payload of ``updateMemoryBlock``."""

    memory_block: MemoryBlock | None = described("The block as it is now.")
    errors: list[UserError] = described("Outcomes to act on; empty when it was written.")


@strawberry.type(description="A completion was begun.")
@reads(_Payload)
class StartCompletionPayload:
    """Payload of ``startCompletion``."""

    stream: Stream | None = described("Where the answer comes: subscribe to it.")
    errors: list[UserError] = described("Outcomes to act on; empty when the completion began.")


@strawberry.type(description="A conversation was started.")
@reads(_Payload)
class CreateConversationPayload:
    """Payload of ``createConversation``."""

    conversation_edge: ConversationEdge | None = described("The conversation, for the front of `conversations`.")
    errors: list[UserError] = described("Outcomes to act on; empty when it was started.")


async def _send_message(info: Info, input: SendMessageInput) -> _Payload:  # noqa: A002 - the argument's name
    context = info.context
    key = required_key(input.idempotency_key)
    scope = await turns.message_scope(context, input.to.agent_id or None, input.to.conversation_id or None)
    attached = turns.send_message(
        context, scope=scope, content=input.parts(), on_disconnect=input.on_disconnect, key=key, reads=False
    )
    return await _begun(context, attached, wait_seconds=input.wait_seconds)


async def _begun(
    context: RequestContext, attached: AbstractAsyncContextManager[StreamRecord], *, wait_seconds: int = 0
) -> _Payload:
    try:
        async with attached as stream:
            started = await turns.started(context, stream)
            if wait_seconds > 0:
                await turns.finished(stream, min(wait_seconds, context.resources.clocks.llm_total))
                context.refresh()
    except Conflict as conflict:
        if conflict.reason != "RUN_BUSY":
            raise
        return _Payload(errors=[_Busy(conflict.message, conflict.details.get("runId"))])
    edge = message_edge(started.user_message) if started.user_message else None
    return _Payload(stream=stream, run_id=started.run_id, user_message_edge=edge)


async def _respond_to_approval(info: Info, input: RespondToApprovalInput) -> _Payload:  # noqa: A002 - as above
    attached = await turns.respond_to_approval(
        info.context,
        request_id=input.request_id,
        approve=input.decision is ApprovalDecision.APPROVE,
        reason=input.reason,
        on_disconnect=input.on_disconnect,
        key=input.idempotency_key,
    )
    return await _begun(info.context, attached)


async def _cancel_run(info: Info, input: CancelRunInput) -> _Payload:  # noqa: A002 - as above
    return _Payload(run=await runs.cancel(info.context, input.run_id))


async def _cancel_stream(info: Info, input: CancelStreamInput) -> _Payload:  # noqa: A002 - as above
    streams = info.context.resources.streams
    stream = streams.get(input.stream_id, info.context.principal.user_id)
    await streams.cancelled(stream)
    return _Payload(stream=stream)


async def _update_memory_block(info: Info, input: UpdateMemoryBlockInput) -> _Payload:  # noqa: A002 - as above
    return _Payload(memory_block=await memory.write(info.context, input.block_id, input.value))


async def _start_completion(info: Info, input: CompletionInput) -> _Payload:  # noqa: A002 - the argument's name
    key = required_key(input.idempotency_key)
    attached = await turns.start_completion(
        info.context, body=input.body(), on_disconnect=input.on_disconnect, key=key, reads=False
    )
    async with attached as stream:
        return _Payload(stream=stream)


async def _create_conversation(info: Info, input: CreateConversationInput) -> _Payload:  # noqa: A002 - as above
    edge = await conversations.create(info.context, input.agent_id, input.summary)
    return _Payload(conversation_edge=edge)


@strawberry.type(description="What can be done.")
class Mutation:
    """The root of mutations."""

    send_message: SendMessagePayload = done_by(
        _send_message,
        "Send a message to an agent. Answers as soon as the run exists; subscribe to its stream.",
    )
    start_completion: StartCompletionPayload = done_by(
        _start_completion, "Ask a model for a completion; subscribe to its stream."
    )
    respond_to_approval: RespondToApprovalPayload = done_by(
        _respond_to_approval,
        "Decide on the tool calls that a turn waits for; it goes on at once.",
    )
    cancel_run: CancelRunPayload = done_by(
        _cancel_run, "Stop a run. One that is over already stays as it is, which is no error."
    )
    cancel_stream: CancelStreamPayload = done_by(
        _cancel_stream, "Stop a stream, and with it the model where it answers by itself. A run goes on: `cancelRun`."
    )
    update_memory_block: UpdateMemoryBlockPayload = done_by(
        _update_memory_block, "Write a memory block of your agents."
    )
    create_conversation: CreateConversationPayload = done_by(
        _create_conversation, "Start a conversation with one of your agents."
    )
