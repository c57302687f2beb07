"""Translates LiteLLM's chunks into events. The ``/v1`` endpoint sends the chunks' bytes to the client."""

from collections.abc import AsyncGenerator

from clients.errors import Service
from clients.litellm import CompletionStream, Done, Piece, Unreadable
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.streams.events import (
    Ended,
    Event,
    Raw,
    ReasoningDelta,
    Started,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
    finish_reason,
)
from resolvers.streams.timeouts import StreamTimeouts


class CompletionSource:
    """The source of one streamed completion. ``key`` is the LiteLLM key that pays for the completion.

    ``body`` always requests usage. The chunk with usage is omitted unless ``wants_usage`` is set.
    """

    __slots__ = ("_body", "_context", "_key", "_wants_usage", "headers", "run_id", "usage")

    def __init__(self, context: RequestContext, key: str, body: bytes, *, wants_usage: bool) -> None:
        self._context = context
        self._key = key
        self._body = body
        self._wants_usage = wants_usage
        self.run_id: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    async def events(self) -> AsyncGenerator[tuple[Event, bytes]]:
        """Request the completion. For each chunk, yield events and the chunk's bytes."""
        resources = self._context.resources
        timeouts, within = StreamTimeouts(resources.timeouts, Service.LITELLM), resources.timeouts.first_token
        async with self._opening(within) as stream:
            self.headers = stream.headers
            yield Started(), b""
            async for piece in timeouts.timed(stream, is_token=lambda _: True):
                self.usage = stream.usage
                match piece:
                    case Unreadable():
                        resources.metrics.event_unreadable("completion")
                        yield Raw(), piece.raw
                    case Done(finish=finish):
                        outcome = StreamOutcome.COMPLETED
                        yield Ended(outcome=outcome, finish_reason=finish_reason(finish), usage=self.usage), piece.raw
                        return
                    case _:
                        raw = piece.raw
                        for event in _events(piece):
                            yield event, raw
                            raw = b""

    def _opening(self, within: float) -> CompletionStream:
        body, self._body = self._body, b""
        return self._context.resources.litellm.stream(
            self._context.model_scope(), self._key, body, opens_within=within, wants_usage=self._wants_usage
        )


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
