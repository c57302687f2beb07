"""Starts turns and reads their streams."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AbstractAsyncContextManager, suppress
from decimal import Decimal
from typing import Any, Self

from clients.codes import Reason
from clients.errors import BadUserInput, Conflict, Service, UpstreamTimeout
from clients.letta.messages import ApprovalRequestMessage
from clients.letta.sending import SentDecision, SentMessage
from clients.outcome import outcome_unknown
from clients.owned import ConversationRef
from resolvers import checks, starts
from resolvers.context import RequestContext
from resolvers.idempotency import fingerprint
from resolvers.messages import message_by_id
from resolvers.outcome_unknown import settled_at
from resolvers.owned import OwnedRun, ref_of, run_named_in
from resolvers.paging import Edge
from resolvers.runs import run_edge
from resolvers.sources.lookup import Attempt
from resolvers.sources.turns import LettaSource
from resolvers.streams.events import Delivery, Ended, Event, OnDisconnect, Started, StreamOutcome
from resolvers.streams.log import Leave, Leaving
from resolvers.streams.stream import Stream, StreamRequest

_OTID_NAMESPACE = uuid.UUID("6f1d8a52-2f0b-5d0e-9c1e-0d6a3f2b7c44")


UNCONFIRMED = (
    "Letta did not confirm the message. Retry with the same key: the gateway sends the message only if Letta does not "
    "have the message."
)


async def recipient(context: RequestContext, agent_id: str | None, conversation_id: str | None) -> ConversationRef:
    """Return the conversation with the given id, or the given agent's default conversation. Raises NotFound."""
    if agent_id is not None:
        return ConversationRef((await context.access.agent(agent_id)).agent_id)
    if conversation_id is None:
        raise BadUserInput("The message has no recipient. Set `agentId` or `conversationId`.")
    return ref_of(await context.access.conversation(conversation_id))


async def send_message(
    context: RequestContext,
    *,
    agent_id: str | None,
    conversation_id: str | None,
    content: list[dict[str, Any]],
    on_disconnect: OnDisconnect,
    key: str,
    max_cost: Decimal | None = None,
    reads: bool = True,
) -> AbstractAsyncContextManager[Stream]:
    """Start a turn with the user's agent, or attach to the turn that was started with ``key``.

    If the turn's estimated cost exceeds ``max_cost`` US dollars, the run is cancelled.
    """
    key = f"message:{checks.key(key)}"
    charged = await starts.charge_turn(context, key)
    conversation = await recipient(context, agent_id, conversation_id)
    return start_turn(
        context,
        conversation,
        content,
        key,
        on_disconnect=on_disconnect,
        max_cost=max_cost,
        charged=charged,
        reads=reads,
    )


def start_turn(
    context: RequestContext,
    conversation: ConversationRef,
    content: list[dict[str, Any]],
    key: str,
    *,
    on_disconnect: OnDisconnect,
    charged: bool,
    max_cost: Decimal | None = None,
    reads: bool = True,
    cancels: bool = False,
) -> AbstractAsyncContextManager[Stream]:
    """Start a turn in the user's conversation, or attach to the turn that was started with the stream key ``key``.

    ``charged`` is whether the request was counted as a model call, see ``starts.charge_turn``. ``cancels`` is whether
    the run is cancelled in Letta if the stream is abandoned after it has begun.
    """
    input_print = message_print(conversation, content, max_cost)
    sent = SentMessage(content=content, otid=_otid(context, key, input_print))
    return _start(
        context,
        conversation,
        sent,
        key,
        input_print,
        on_disconnect,
        max_cost,
        charged=charged,
        reads=reads,
        cancels=cancels,
    )


def message_print(conversation: ConversationRef, content: list[dict[str, Any]], max_cost: Decimal | None = None) -> str:
    """Return the fingerprint of a message, which the message's stream has too."""
    bound = () if max_cost is None else (str(max_cost.normalize()),)
    return fingerprint(str(conversation), content, *bound)


def _start(
    context: RequestContext,
    conversation: ConversationRef,
    sent: SentMessage | SentDecision,
    key: str,
    input_print: str,
    on_disconnect: OnDisconnect,
    max_cost: Decimal | None = None,
    *,
    charged: bool,
    reads: bool,
    cancels: bool = False,
) -> AbstractAsyncContextManager[Stream]:
    """Start a turn with a stream key.

    If an earlier attempt's outcome is unknown, the stream first searches Letta for the attempt's run.
    """
    request = StreamRequest(
        owner=context.owner,
        kind="turn",
        source=lambda earlier: LettaSource(
            context, conversation, sent, _attempt(earlier, key, conversation), max_cost=max_cost, cancels=cancels
        ),
        on_disconnect=on_disconnect,
        key=key,
        fingerprint=input_print,
        conversation=conversation,
        reads=reads,
        starter=context,
        on_reuse=starts.refund(context) if charged else None,
        unknown=UNCONFIRMED,
        can_search=True,
    )
    return context.resources.streams.start(request)


def _otid(context: RequestContext, key: str, input_print: str) -> str:
    """Return a message's ``otid``, which is the same for every attempt, even after a restart of the gateway."""
    return str(uuid.uuid5(_OTID_NAMESPACE, f"{context.principal.user_id}\n{key}\n{input_print}"))


def _attempt(stream: Stream | None, key: str, conversation: ConversationRef) -> Attempt | None:
    if stream is None:
        return None
    settled = settled_at(None) if stream.settled_at is None else stream.settled_at
    run_id = None if stream.run_id is None else run_named_in(conversation, stream.run_id)
    return Attempt(key=key, run_id=run_id, began=stream.first_began, settled_at=settled)


async def respond_to_approval(
    context: RequestContext,
    *,
    request_id: str,
    approve: bool,
    reason: str | None,
    on_disconnect: OnDisconnect,
    key: str | None,
) -> AbstractAsyncContextManager[Stream]:
    """Continue a turn that waits for the user's decision. By default, ``key`` is the approval request's id.

    Raises:
        NotFound: the user has no such message.
        BadUserInput: reason ``NO_APPROVAL``, if the message is not an approval request.
    """
    if key is not None:
        checks.key(key)
    stream_key = f"approval:{request_id if key is None else key}"
    charged = await starts.charge_turn(context, stream_key)
    request = await message_by_id(context, request_id)
    if not isinstance(request, ApprovalRequestMessage):
        raise BadUserInput(
            "`requestId` must be the id of an `ApprovalRequestMessage`. Choose a different message.",
            reason=Reason.NO_APPROVAL,
        )
    calls = [call.tool_call_id for call in request.tool_calls if call.tool_call_id]
    input_print = fingerprint(request_id, approve, reason)
    otid = _otid(context, stream_key, input_print)
    sent = SentDecision(tool_call_ids=calls, approve=approve, reason=reason, otid=otid)
    conversation = request.conversation
    return _start(context, conversation, sent, stream_key, input_print, on_disconnect, charged=charged, reads=False)


class Events:
    """The events of a stream. The first ``__anext__`` attaches to the stream, and ``aclose`` detaches.

    It is a class with slots, because a generator takes 600 bytes more for each stream.
    """

    __slots__ = ("_after", "_attached", "_context", "_events", "_leaving", "_replayed", "_stream")

    _stream: Stream
    _leaving: Leaving

    def __init__(
        self,
        context: RequestContext,
        attached: AbstractAsyncContextManager[Stream],
        after: str | None = None,
        *,
        replayed: bool | None = None,
    ) -> None:
        self._context = context
        self._attached = attached
        self._after = after
        self._replayed = replayed
        self._events: AsyncGenerator[Delivery[Event]] | None = None

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Delivery[Event]]:
        return self._first() if self._events is None else anext(self._events)

    async def _first(self) -> Delivery[Event]:
        context, streams = self._context, self._context.resources.streams
        stream = self._stream = await self._attached.__aenter__()
        replayed = streams.is_replay(stream, context) if self._replayed is None else self._replayed
        context.has_replayed = stream.is_repeated_by(context)
        context.reset_loaders()  # each event has its own loaders
        self._leaving = context.leave.reading(self._is_movable)
        self._leaving.__enter__()
        self._events = streams.events(stream, self._after, context.leave, replayed=replayed)
        return await anext(self._events)

    def _is_movable(self) -> bool:
        return self._context.resources.streams.is_resumable_elsewhere(self._stream)

    async def aclose(self) -> None:
        """Detach from the stream, if attached."""
        events, self._events = self._events, None
        if events is not None:
            try:
                await events.aclose()
            finally:
                self._leaving.__exit__()
                del self._leaving  # breaks a reference cycle
                await self._attached.__aexit__(None, None, None)


async def wait_started(context: RequestContext, stream: Stream) -> Started:
    """Wait for a turn's first event, at most until the operation's deadline.

    Raises:
        GatewayError: Letta refused the turn, or the stream failed.
        Conflict: reason ``CANCELLED``, or ``OUTCOME_UNKNOWN`` after the deadline. A retry with the same key then
            attaches to the stream.
    """
    try:
        async with asyncio.timeout(context.scope.deadline - time.monotonic()):
            await stream.log.more(0)
    except TimeoutError as error:
        message = "The turn did not begin in time. Retry the request."
        late = UpstreamTimeout(message, reason=Reason.DEADLINE, service=Service.LETTA)
        raise outcome_unknown(UNCONFIRMED, late) from error
    stream.opened.result()
    first, ended = stream.log.started, stream.log.ended
    if first is not None and (first.run_id is not None or ended is None or _ran(ended)):
        return first
    if ended is not None and ended.error is not None:
        raise ended.error.error()
    raise Conflict("The stream was cancelled before the turn began. Retry with a new key.", reason=Reason.CANCELLED)


def _ran(ended: Ended) -> bool:
    """Return whether an ended turn had a run in Letta, even if the first event had no run id."""
    return ended.run_id is not None or ended.outcome is StreamOutcome.COMPLETED


async def wait_ended(stream: Stream, seconds: float, leave: Leave | None = None) -> Ended | None:
    """Wait for a stream's end, a timeout, or the reader's detachment. If the stream ended, return ``Ended``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while stream.log.ended is None and (leave is None or leave.reason is None):
                await stream.log.more(stream.log.length, leave)
    return stream.log.ended


async def run_of(context: RequestContext, run_id: str | None) -> OwnedRun | None:
    """Return the run of the user's stream, if the stream has a run."""
    return None if run_id is None else await context.access.run(run_id)


async def run_edge_of(context: RequestContext, run_id: str | None) -> Edge[OwnedRun] | None:
    """Return the edge of the user's run in the list of the agent's runs."""
    run = await run_of(context, run_id)
    return None if run is None else run_edge(run)
