"""Turns and completions: starting them, and reading what they say."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import msgspec

from clients.errors import BadUserInput, Conflict, Service, UpstreamTimeout
from clients.letta.messages import ApprovalRequestMessage
from clients.letta.records import RunRecord
from clients.letta.sending import SentDecision, SentMessage
from clients.outcome import outcome_unknown
from resolvers import checks, starts
from resolvers.access import default_conversation, scope_of
from resolvers.context import RequestContext
from resolvers.doubt import settled_at
from resolvers.messages import message_by_id
from resolvers.once import fingerprint
from resolvers.paging import Edge
from resolvers.runs import run_edge
from resolvers.sources.completions import CompletionSource
from resolvers.sources.lookup import Attempt
from resolvers.sources.turns import LettaSource
from resolvers.streams.events import Ended, Event, OnDisconnect, Started, StreamOutcome
from resolvers.streams.log import Leave
from resolvers.streams.stream import Stream
from resolvers.vetting import Vetted

_USERS = ("user", "safety_identifier")
_OTIDS = uuid.UUID("6f1d8a52-2f0b-5d0e-9c1e-0d6a3f2b7c44")
"""The namespace of the ids that messages are sent under."""

UNCONFIRMED = (
    "Letta did not confirm the message. Send it again with the same key: the gateway looks for it first, and sends it "
    "only if Letta does not have it."
)
REQUEST_COPIES = 3
"""How often the body of a completion is in memory while its stream runs: as it came, parsed, and as it is sent."""

MAY_BE_PAID = "The completion may have been paid for: use a new key to ask again."


async def message_scope(context: RequestContext, agent_id: str | None, conversation_id: str | None) -> str:
    """Where a message goes, once it is proved to be the principal's. Raises NotFound."""
    if agent_id is not None:
        return scope_of(default_conversation((await context.access.agent(agent_id)).agent_id))
    if conversation_id is None:
        raise BadUserInput("Say which agent or conversation the message is for.")
    return scope_of(await context.access.conversation(conversation_id))


async def send_message(
    context: RequestContext,
    *,
    agent_id: str | None,
    conversation_id: str | None,
    content: list[dict[str, Any]],
    on_disconnect: OnDisconnect,
    key: str,
    reads: bool = True,
) -> AbstractAsyncContextManager[Stream]:
    """Start a turn with the principal's agent, or attach to the one that ``key`` has started.

    Raises:
        RateLimited: reason ``RATE_LIMIT_LLM``.
        NotFound: where the agent or conversation is not the principal's.
    """
    checks.key(key)
    key = f"message:{key}"
    counts = await starts.counted(context, key)
    scope = await message_scope(context, agent_id, conversation_id)
    input_print = fingerprint(scope, content)
    sent = SentMessage(content=content, otid=_otid(context, key, input_print))
    return _turn(
        context,
        scope,
        sent,
        counted=counts,
        on_disconnect=on_disconnect,
        key=key,
        fingerprint=input_print,
        reads=reads,
    )


def _turn(
    context: RequestContext, scope: str, sent: SentMessage | SentDecision, *, key: str, **how: Any
) -> AbstractAsyncContextManager[Stream]:
    """Start a turn under a key; one whose outcome is not known is looked for before it is sent again."""
    return starts.started(
        context,
        kind="turn",
        source=lambda: LettaSource(context, scope, sent, _attempt(context, key)),
        key=key,
        scope=scope,
        unknown=UNCONFIRMED,
        looks=True,
        **how,
    )


def _otid(context: RequestContext, key: str, input_print: str) -> str:
    """The id that a message is sent under: the same at each attempt, also after a restart."""
    return str(uuid.uuid5(_OTIDS, f"{context.principal.user_id}\n{key}\n{input_print}"))


def _attempt(context: RequestContext, key: str) -> Attempt | None:
    """An earlier attempt under a key that begins again."""
    stream = context.resources.streams.earlier(context.principal.user_id, key)
    if stream is None:
        return None
    settled = settled_at(None) if stream.settled_at is None else stream.settled_at
    return Attempt(key=key, run_id=stream.run_id, began=stream.first_began, settled_at=settled)


async def respond_to_approval(
    context: RequestContext,
    *,
    request_id: str,
    approve: bool,
    reason: str | None,
    on_disconnect: OnDisconnect,
    key: str | None,
) -> AbstractAsyncContextManager[Stream]:
    """Go on with a turn that waits for a decision. Without a key, one request takes one decision.

    Raises:
        RateLimited: reason ``RATE_LIMIT_LLM``.
        NotFound: where there is no such request, or it is not the principal's.
        BadUserInput: reason ``NO_APPROVAL``, where the message asks for no decision.
    """
    if key is not None:
        checks.key(key)
    stream_key = f"approval:{request_id if key is None else key}"
    counts = await starts.counted(context, stream_key)
    request = await message_by_id(context, request_id)
    if not isinstance(request, ApprovalRequestMessage):
        raise BadUserInput("This message asks for no decision.", reason="NO_APPROVAL")
    calls = [call.tool_call_id for call in request.tool_calls if call.tool_call_id]
    input_print = fingerprint(request_id, approve, reason)
    otid = _otid(context, stream_key, input_print)
    return _turn(
        context,
        request.scope,
        SentDecision(tool_call_ids=calls, approve=approve, reason=reason, otid=otid),
        counted=counts,
        on_disconnect=on_disconnect,
        key=stream_key,
        fingerprint=input_print,
        reads=False,
    )


async def start_completion(
    context: RequestContext,
    *,
    body: Vetted,
    on_disconnect: OnDisconnect,
    key: str,
    reads: bool = True,
    anew: bool = False,
) -> AbstractAsyncContextManager[Stream]:
    """Start a completion, or attach to the one that ``key`` has started. ``body`` is OpenAI's request.

    With ``anew``, one that broke off is started again.

    Raises:
        RateLimited: reason ``RATE_LIMIT_LLM``.
    """
    checks.key(key)
    key = f"completion:{key}"
    counts = await starts.counted(context, key, anew=anew)
    pays = await context.access.model_key()
    input_print = fingerprint(body)
    request = msgspec.json.encode(payable(context, body, pays))
    source = CompletionSource(context, pays, request, wants_usage=True)
    return starts.started(
        context,
        counted=counts,
        kind="completion",
        source=lambda: source,
        on_disconnect=on_disconnect,
        key=key,
        fingerprint=input_print,
        reads=reads,
        anew=anew,
        unknown=MAY_BE_PAID,
        keeps_raw=False,
        holds=REQUEST_COPIES * len(request),
    )


def payable(context: RequestContext, body: Vetted, key: str) -> dict[str, Any]:
    """The request as LiteLLM gets it with the key that pays: streamed, with usage, and naming nobody but the caller."""
    return {**naming(context, body, key), "stream": True, "stream_options": {"include_usage": True}}


def naming(context: RequestContext, body: Vetted, key: str) -> dict[str, Any]:
    """The request, in which whoever is named as its user is the caller; they are named where the platform's key pays.

    LiteLLM charges the user it is told of, and a provider may shut them out: nobody is to name somebody else.
    """
    named = [name for name in _USERS if name in body]
    if key != context.resources.platform_key and not named:
        return body
    return {**body, **dict.fromkeys(["user", *named], context.principal.user_id)}


async def events(
    context: RequestContext,
    attached: AbstractAsyncContextManager[Stream],
    after: str | None = None,
    *,
    replayed: bool | None = None,
) -> AsyncIterator[Event]:
    """What a stream says, to a reader who stays attached as long as this is read.

    ``replayed`` says whether it was read before; without it, whether another operation has started it.
    """
    streams = context.resources.streams
    async with attached as stream:
        if replayed is None:
            replayed = streams.is_replay(stream, context)
        context.forget()  # each event is answered with loaders of its own
        async for event in streams.events(stream, after, context.leave, replayed=replayed):
            yield event


async def started(context: RequestContext, stream: Stream) -> Started:
    """The first event of a turn's stream, within the operation's time; the run exists by then.

    Raises:
        GatewayError: Letta's refusal, where it came late, or why the turn did not begin.
        Conflict: reason ``CANCELLED``, where the stream was cancelled meanwhile.
        Conflict: reason ``OUTCOME_UNKNOWN``, where Letta has not begun the turn in time. The same key attaches to it.
    """
    try:
        async with asyncio.timeout(context.scope.deadline - time.monotonic()):
            await stream.log.more(0)
    except TimeoutError as error:
        raise outcome_unknown(UNCONFIRMED, _not_begun()) from error
    stream.opened.result()
    first, ended = stream.log.started, stream.log.ended
    if first is not None and (first.run_id is not None or ended is None or _ran(ended)):
        return first
    if ended is not None and ended.error is not None:
        raise ended.error.error()
    raise Conflict("The stream was cancelled before the turn began.", reason="CANCELLED")


def _ran(ended: Ended) -> bool:
    """Whether a stream that named no run when it began has had one: Letta named it late, or not at all."""
    return ended.run_id is not None or ended.outcome is StreamOutcome.COMPLETED


def _not_begun() -> UpstreamTimeout:
    return UpstreamTimeout("Letta has not begun the turn yet.", reason="DEADLINE", service=Service.LETTA)


async def finished(stream: Stream, seconds: float, leave: Leave | None = None) -> Ended | None:
    """The stream's end, if it comes within a time and before readers are detached."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while stream.log.ended is None and (leave is None or leave.reason is None):
                await stream.log.more(len(stream.log.entries), leave)
    return stream.log.ended


async def run_of(context: RequestContext, run_id: str | None) -> RunRecord | None:
    """The run behind a stream of the principal's."""
    return None if run_id is None else await context.access.run(run_id)


async def run_edge_of(context: RequestContext, run_id: str | None) -> Edge[RunRecord] | None:
    """The same in its place in the list of its agent's."""
    run = await run_of(context, run_id)
    return None if run is None else run_edge(run)
