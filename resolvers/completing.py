"""Runs completions and embeddings."""

from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, Conflict
from clients.letta.tools import ToolCall
from clients.litellm import EmbeddingRecord
from clients.outcome import outcome_unknown
from clients.usage import Usage
from resolvers import checks, starts
from resolvers.context import RequestContext
from resolvers.idempotency import OVERHEAD_BYTES, fingerprint
from resolvers.sources.completions import MAY_BE_PAID, CompletionSource
from resolvers.streams.events import Ended, Event, FinishReason, OnDisconnect, ReasoningDelta, StreamOutcome
from resolvers.streams.merging import joined_calls
from resolvers.streams.stream import Stream, StreamRequest
from resolvers.tokens import embedding_need
from resolvers.vetting import Vetted, vet_embeddings

MAX_INPUTS = 100
MAX_INPUT = 200_000  # characters of all inputs together
MAX_DIMENSIONS = 4096
_NUMBER_BYTES = 32
"""The memory of one number in a vector, in bytes."""

REQUEST_COPIES = 3
"""The number of copies of a request body in memory: the received, parsed and sent body."""

_USERS = ("user", "safety_identifier")


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The complete answer to a completion request, and the stream that contains the answer."""

    stream: Stream
    model: str
    text: str
    reasoning: str | None
    tool_calls: list[ToolCall]
    finish_reason: FinishReason | None
    usage: Usage | None


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """The embeddings of several texts, in the order of the texts."""

    model: str
    embeddings: list[EmbeddingRecord]
    usage: Usage


async def start_completion(
    context: RequestContext,
    *,
    body: Vetted,
    on_disconnect: OnDisconnect,
    key: str,
    max_cost: Decimal | None = None,
    reads: bool = True,
    restarts: bool = False,
) -> AbstractAsyncContextManager[Stream]:
    """Start a completion, or attach to the completion that was started with ``key``.

    If the answer's estimated cost exceeds ``max_cost`` US dollars, the stream fails with the reason ``MAX_COST``.
    """
    key = f"completion:{checks.key(key)}"
    charged = await starts.charge(context, key, restarts=restarts)
    model_key = await context.access.model_key()
    input_print = fingerprint(body) if max_cost is None else fingerprint(body, str(max_cost.normalize()))
    request = msgspec.json.encode(payable(context, body, model_key))
    need = starts.need(context, body, is_bounded=max_cost is not None)
    joins = context.resources.streams.limits.coalesce > 0
    source = CompletionSource(context, model_key, request, need, wants_usage=True, max_cost=max_cost, joins=joins)
    stream_request = StreamRequest(
        owner=context.owner,
        kind="completion",
        source=lambda _: source,
        on_disconnect=on_disconnect,
        key=key,
        fingerprint=input_print,
        reads=reads,
        restarts=restarts,
        starter=context,
        on_reuse=starts.refund(context) if charged else None,
        unknown=MAY_BE_PAID,
        keeps_raw=False,
        request_bytes=REQUEST_COPIES * len(request),
    )
    return context.resources.streams.start(stream_request)


def payable(context: RequestContext, body: Vetted, key: str) -> dict[str, Any]:
    """Return a copy of the request that asks for streaming and token usage."""
    return {**naming(context, body, key), "stream": True, "stream_options": {"include_usage": True}}


def naming(context: RequestContext, body: Vetted, key: str) -> dict[str, Any]:
    """Add the signed-in user's id to certain model requests.

    These requests contain a user's id, or are paid with the platform's key.

    LiteLLM charges the user whose id a request contains.
    """
    named = [name for name in _USERS if name in body]
    if key != context.resources.platform_key and not named:
        return body
    return {**body, **dict.fromkeys(["user", *named], context.principal.user_id)}


async def complete(
    context: RequestContext, *, body: Vetted, on_disconnect: OnDisconnect, key: str, max_cost: Decimal | None = None
) -> Completion:
    """Run a completion, or wait for the completion that was started with ``key``. Return the complete answer.

    A failed completion is run again, unless the completion exceeded ``max_cost``.

    Raises:
        Conflict: reason ``KEY_REUSED`` or ``CANCELLED``; ``OUTCOME_UNKNOWN``, if LiteLLM may have charged for the
            completion. A retry with the key does not start such a completion again.
        GatewayError: LiteLLM refused the request, or the stream failed.
    """
    attached = await start_completion(
        context, body=body, on_disconnect=on_disconnect, key=key, max_cost=max_cost, restarts=True
    )
    async with attached as stream:
        ended = await stream.log.end()
        context.refresh()
        return _completion(body["model"], stream, ended, await stream.log.joined_events())


def _completion(model: str, stream: Stream, ended: Ended, events: list[Event]) -> Completion:
    stream.opened.result()
    if ended.outcome is StreamOutcome.CANCELLED:
        raise Conflict("The completion was cancelled.", reason=Reason.CANCELLED)
    if ended.error is not None:
        error = ended.error.error()
        raise outcome_unknown(MAY_BE_PAID, error) if stream.unsure else error
    return Completion(
        stream=stream,
        model=model,
        text=stream.text,
        reasoning="".join(event.text for event in events if isinstance(event, ReasoningDelta)) or None,
        tool_calls=tool_calls_of(events),
        finish_reason=ended.finish_reason,
        usage=ended.usage,
    )


def tool_calls_of(events: list[Event]) -> list[ToolCall]:
    """Join the streamed pieces of each tool call. Return the tool calls sorted by index."""
    return [
        ToolCall(tool_call_id=call.tool_call_id, name=call.name, arguments=call.arguments_delta)
        for call in joined_calls(events)
    ]


async def embed(
    context: RequestContext, *, model: str, inputs: list[str], dimensions: int | None, key: str | None
) -> Embedded:
    """Return each text's embedding. A retry with the same idempotency key does not call the model."""
    _check(inputs, dimensions)
    parts = (model, inputs, dimensions)
    embedded = await context.idempotent(key, "embed", parts, lambda: _embedded(context, *parts), Embedded, _weight)
    context.refresh()
    return embedded


async def _embedded(context: RequestContext, model: str, inputs: list[str], dimensions: int | None) -> Embedded:
    body: dict[str, Any] = {"model": model, "input": inputs, "encoding_format": "float"}
    if dimensions is not None:
        body["dimensions"] = dimensions
    vetted = vet_embeddings(body)
    await starts.charge(context)
    model_key = await context.access.model_key()
    request = msgspec.json.encode(naming(context, vetted, model_key))
    async with starts.Spent(context, starts.need(context, vetted, embedding_need)) as spent:
        answer = await context.resources.litellm.embeddings(context.model_scope(), model_key, request, model)
        spent.usage = answer.usage
    if answer.usage is not None:
        context.resources.metrics.tokens_used("embedding", answer.usage.prompt_tokens, None)
    embeddings = answer.embeddings(len(inputs))
    return Embedded(model=model, embeddings=embeddings.records, usage=embeddings.usage)


def _weight(embedded: Embedded) -> int:
    return OVERHEAD_BYTES + sum(_NUMBER_BYTES * len(one.vector) for one in embedded.embeddings)


def _check(inputs: list[str], dimensions: int | None) -> None:
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise BadUserInput(
            f"`inputs` has {len(inputs)} texts: 1 to {MAX_INPUTS} texts are allowed.", reason=Reason.RANGE
        )
    if not all(text.strip() for text in inputs):
        raise BadUserInput("`inputs` has an empty text. Remove the empty text.", reason=Reason.EMPTY)
    if sum(map(len, inputs)) > MAX_INPUT:
        raise BadUserInput(
            f"`inputs` has more than {MAX_INPUT:,} characters in total. Send less text.", reason=Reason.TOO_LONG
        )
    if dimensions is not None and not 1 <= dimensions <= MAX_DIMENSIONS:
        message = f"`dimensions` is {dimensions}: values from 1 to {MAX_DIMENSIONS} are allowed."
        raise BadUserInput(message, reason=Reason.RANGE)
