"""Translates LiteLLM's chunks into events. The ``/v1`` endpoint sends the chunks' bytes to the client."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any

import msgspec

from clients.errors import Service, UpstreamFailure
from clients.litellm import Done, ModelStream, Piece, Unreadable
from clients.state.cache import Tag
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.sources.billing import bill
from resolvers.sources.cost_bounds import CostBound, cost_bound
from resolvers.sources.recipes import COMPLETION
from resolvers.starts import Reserved, reserve
from resolvers.streams.events import (
    Batch,
    Ended,
    Event,
    Raw,
    ReasoningDelta,
    Started,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
    batch_of,
    finish_reason,
)
from resolvers.streams.log import StreamLog
from resolvers.streams.timeouts import StreamTimeouts
from resolvers.tokens import Need, Tally, used_tokens

MAY_BE_PAID = "The completion may have been executed and charged. To execute the completion again, use a new key."

_KEY_SPEND = "x-litellm-key-spend"


def headers_for_user(context: RequestContext, key: str, headers: dict[str, str]) -> dict[str, str]:
    """Return LiteLLM's response headers. If the platform's key paid, omit the key's spend, which all users share."""
    if key != context.resources.platform_key:
        return headers
    return {name: value for name, value in headers.items() if name != _KEY_SPEND}


class CompletionSource:
    """The source of one streamed completion. ``key`` is the LiteLLM key that pays for the completion.

    ``body`` always requests usage. The chunk with usage is omitted unless ``wants_usage`` is set. ``need`` is the
    estimated number of tokens, which are reserved before the call. ``max_cost`` is the maximum cost in US dollars.
    If ``joins`` is true, text that arrives together is one event. Otherwise, each chunk is an event.
    """

    __slots__ = (
        "_body",
        "_context",
        "_is_charged",
        "_joins",
        "_key",
        "_max_cost",
        "_need",
        "_reservation",
        "_tally",
        "_wants_usage",
        "headers",
        "mark",
        "run_id",
        "usage",
    )

    def __init__(
        self,
        context: RequestContext,
        key: str,
        body: bytes,
        need: Need,
        *,
        wants_usage: bool,
        max_cost: Decimal | None = None,
        joins: bool = False,
    ) -> None:
        self._context = context
        self._joins = joins and max_cost is None
        self._key = key
        self._body = body
        self._need = need
        self._wants_usage = wants_usage
        self._max_cost = max_cost
        self._tally: Tally | None = None
        self._is_charged = False
        self._reservation: Reserved | None = None
        self.mark = 0
        self.run_id: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    def recipe(self) -> bytes:
        """Return the data with which another process ends the stream, if this process stops."""
        return COMPLETION

    async def events(self) -> AsyncGenerator[Batch]:
        """Request the completion. Yield the events and bytes of the chunks that have arrived together."""
        resources = self._context.resources
        self._reservation = await reserve(self._context, self._need)
        bound = await self._bound()
        tally = self._tally = None if bound is None and self._reservation is None else Tally()
        timeouts, within = StreamTimeouts(resources.timeouts, Service.LITELLM), resources.timeouts.first_token
        try:
            async with self._opening(within) as stream:
                self.headers = headers_for_user(self._context, self._key, stream.headers)
                self._is_charged = True
                yield batch_of(Started())
                with timeouts.timed(stream, is_token=_is_token) as timed:
                    async for pieces in timed:
                        self.usage = stream.usage
                        # the cost is checked after each piece, otherwise after all pieces that have arrived together
                        for some in [pieces] if bound is None else [[piece] for piece in pieces]:
                            if (batch := self._batch(some, tally)).events:
                                yield batch
                            if bound is not None and tally is not None:
                                bound.check(tally.tokens)
                        if isinstance(done := pieces[-1], Done):
                            await self._context.changed(Tag.SPEND)
                            yield Batch([(_completed(done.finish, self.usage), done.raw)])
                            return
                        del pieces, some, batch, done  # the next pieces can take minutes
        except UpstreamFailure as error:
            if self._is_charged and error.unconfirmed:
                raise _broken_off(error) from error
            raise

    def _batch(self, pieces: list[Piece | Unreadable | Done], tally: Tally | None) -> Batch:
        """Return the events of several pieces. The first event of a piece has the piece's bytes."""
        found: list[tuple[Event, bytes]] = []
        joined = 0
        for piece in pieces:
            if type(piece) is Piece:
                joined += piece.deltas - 1
                if piece.text and not piece.reasoning and not piece.calls:
                    events: list[Event] = [TextDelta(text=piece.text)]
                else:
                    events = _events(piece)
                if tally is not None:
                    tally.add(events, joined=piece.deltas)
                raw = piece.raw
                for event in events:
                    found.append((event, raw))
                    raw = b""
            elif isinstance(piece, Unreadable):
                self._context.resources.metrics.event_unreadable("completion")
                found.append((Raw(), piece.raw))
        return Batch(found, joined)

    async def settle(self, log: StreamLog) -> None:
        """Set the usage of an answer that broke off or was cut off, and correct the reservation."""
        body, self._body = self._body, b""
        try:
            if self._is_charged and not log.is_closed and self.usage is None:
                request = msgspec.json.decode(body)
                messages = self._messages(request)
                events = await log.joined_events()
                self.usage = await bill(self._context, self._key, request["model"], messages, events)
        finally:
            if self._reservation is not None:
                await self._reservation.settle(self._used())
            await self._context.changed(Tag.SPEND)

    async def abandoned(self) -> None:
        """Do nothing, because closing the call stops the model."""

    def _used(self) -> int:
        """Return the tokens that the answer has used. If LiteLLM has not reported the tokens, estimate them."""
        used = used_tokens(self.usage)
        if used is not None:
            return used
        output = 0 if self._tally is None else self._tally.tokens
        has_begun = self._is_charged or output > 0
        return self._need.prompt + output * self._need.choices if has_begun else 0

    async def _bound(self) -> CostBound | None:
        """Return the limit on the cost, if the request has one. Limit the request's output tokens accordingly."""
        if self._max_cost is None:
            return None
        request = msgspec.json.decode(self._body)
        bound = await cost_bound(self._context, self._key, request, self._need, self._max_cost)
        self._body = msgspec.json.encode(bound.capped(request))
        return bound

    def _messages(self, request: dict[str, Any]) -> list[Any]:
        """Return the request's messages, for which LiteLLM charges."""
        messages: list[Any] = request["messages"]
        return messages

    def _opening(self, within: float) -> AbstractAsyncContextManager[ModelStream]:
        return self._context.resources.litellm.stream(
            self._context.model_scope(),
            self._key,
            self._body,
            opens_within=within,
            wants_usage=self._wants_usage,
            joins=self._joins,
        )


def _broken_off(error: UpstreamFailure) -> UpstreamFailure:
    """Return the error for an answer that broke off. A retry with the same key only gets the error again."""
    first = error.message.partition(". ")[0].removesuffix(".")
    return type(error)(
        f"{first}. {MAY_BE_PAID}", reason=error.reason, service=error.service, can_retry=False, unconfirmed=True
    )


def _is_token(_: object) -> bool:
    return True


def _completed(finish: str | None, usage: Usage | None) -> Ended:
    return Ended(outcome=StreamOutcome.COMPLETED, finish_reason=finish_reason(finish), usage=usage)


def _events(piece: Piece) -> list[Event]:
    """Return a chunk's events, or ``Raw`` if GraphQL clients receive nothing of the chunk."""
    events: list[Event] = []
    if piece.reasoning:
        events.append(ReasoningDelta(text=piece.reasoning))
    if piece.text:
        events.append(TextDelta(text=piece.text))
    events += [
        ToolCallDelta(index=call.index or 0, tool_call_id=call.id, name=call.name, arguments_delta=call.arguments)
        for call in piece.calls
    ]
    return events or ([] if piece.is_silent else [Raw()])
