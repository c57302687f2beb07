"""A LiteLLM completion as a stream's source: chunks in, events out, each chunk's bytes kept for the OpenAI door."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec

from clients.decode import UNREADABLE, decode
from clients.errors import ErrorCode, Service, UpstreamError
from clients.letta.records import Usage
from clients.litellm.money import dollars
from clients.sse import SseEvent
from resolvers.context import RequestContext
from resolvers.streams.clocks import StreamClocks
from resolvers.streams.events import (
    Ended,
    Event,
    Raw,
    ReasoningDelta,
    Started,
    StreamFailure,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
    finish_reason,
)

DONE = b"data: [DONE]\n\n"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cost: Decimal | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_CHUNK = msgspec.json.Decoder(_Chunk)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL_COUNT = re.compile(rb'("\w+_tokens"\s*:\s*)null')


class CompletionSource:
    """One streamed completion. ``body`` is the OpenAI request; usage is always asked for.

    ``wants_usage`` says whether the client asked for it too: if not, the chunk that carries it is not passed on.
    """

    def __init__(self, context: RequestContext, key: str, body: bytes, *, wants_usage: bool) -> None:
        self._context = context
        self._key = key
        self._body = body
        self._wants_usage = wants_usage
        self._finish: str | None = None
        self._usage: Usage | None = None
        self.run_id: str | None = None
        self.headers: dict[str, str] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[tuple[Event, bytes]]]:
        """Ask for the completion. See ``Source.open``."""
        resources = self._context.resources
        clocks = StreamClocks(resources.clocks, Service.LITELLM)
        async with resources.litellm.stream(
            self._context.model_scope(), self._key, self._body, opens_within=resources.clocks.first_token
        ) as stream:
            self.headers = stream.headers
            yield self._events(clocks.timed(stream.events, is_token=lambda _: True))

    async def _events(self, events: AsyncIterator[SseEvent]) -> AsyncIterator[tuple[Event, bytes]]:
        yield Started(stream_id=""), b""
        async for event in events:
            if event.data == b"[DONE]":
                reason = finish_reason(self._finish)
                yield Ended(outcome=StreamOutcome.COMPLETED, finish_reason=reason, usage=self._usage), DONE
                return
            chunk = decode(Service.LITELLM, _CHUNK, event.data)
            if bytes(chunk.error) not in {b"", b"null"}:
                yield Ended(outcome=StreamOutcome.FAILED, usage=self._usage, error=_MODEL_FAILED), b""
                return
            for pair in self._from(chunk, event.raw):
                yield pair
        raise UpstreamError("The model's answer was cut off.", reason="CUT", service=Service.LITELLM)

    def _from(self, chunk: _Chunk, raw: bytes) -> list[tuple[Event, bytes]]:
        """The chunk's events; its bytes go with the first of them."""
        events: list[Event] = []
        choices = chunk.choices or []
        for choice in choices:
            if not choice.index:  # the graph shows the first of several choices
                self._finish = choice.finish_reason or self._finish
                events += _deltas(choice.delta or _Delta())
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
            raw = with_counts(raw)
        bare = not events and not any(choice.finish_reason for choice in choices)
        if chunk.usage is not None and bare and not self._wants_usage:
            return []
        first, *rest = events or [Raw()]
        return [(first, raw), *((event, b"") for event in rest)]


def _deltas(delta: _Delta) -> list[Event]:
    events: list[Event] = []
    if delta.reasoning_content:
        events.append(ReasoningDelta(text=delta.reasoning_content))
    if delta.content:
        events.append(TextDelta(text=delta.content))
    for call in delta.tool_calls or []:
        function = call.function or _Function()
        events.append(
            ToolCallDelta(
                index=call.index or 0,
                tool_call_id=call.id,
                name=function.name,
                arguments_delta=function.arguments or "",
            )
        )
    return events


def _usage(wire: _Usage) -> Usage:
    prompt, completion = wire.prompt_tokens_details, wire.completion_tokens_details
    return Usage(
        prompt_tokens=wire.prompt_tokens,
        completion_tokens=wire.completion_tokens,
        total_tokens=wire.total_tokens,
        cached_prompt_tokens=prompt.cached_tokens if prompt else None,
        reasoning_tokens=completion.reasoning_tokens if completion else None,
        cost_usd=None if wire.cost is None else dollars(wire.cost),
    )


def with_counts(body: bytes) -> bytes:
    """The same JSON with null token counts in ``usage`` made 0, and every other byte as it was.

    Letta and strict clients break on a null count, which Gemini models give (LiteLLM contract). ``body`` is a whole
    answer or one SSE event; only the value of the top-level ``usage`` is looked at.
    """
    if _NULL_COUNT.search(body) is None:
        return body
    start = body.find(b"{")
    try:
        usage = _OBJECT.decode(body[start:].rstrip()).get("usage")
    except UNREADABLE:
        return body
    if usage is None:
        return body
    value = bytes(usage)
    return body.replace(value, _NULL_COUNT.sub(rb"\g<1>0", value))


_MODEL_FAILED = StreamFailure(
    code=ErrorCode.UPSTREAM_ERROR,
    message="The model failed in the middle of its answer.",
    reason="MODEL",
    service=Service.LITELLM,
    retryable=True,
)
