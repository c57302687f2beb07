"""The source of a completion: translates LiteLLM's chunks into events, with their bytes for the OpenAI endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from clients.codes import Reason
from clients.decode import undecodable
from clients.errors import Service, UpstreamError
from clients.litellm import CompletionStream
from clients.litellm.chunks import ChoiceDelta, Chunk, decode_chunk, is_done
from clients.litellm.errors import failure_in_stream
from clients.litellm.tokens import updated, with_counts
from clients.litellm.toolcalls import CallNumbers
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.streams.clocks import StreamClocks
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

DONE = b"data: [DONE]\n\n"


class CompletionSource:
    """One streamed completion.

    Args:
        context: the operation.
        key: the LiteLLM key that pays.
        body: the OpenAI request, which always includes usage.
        wants_usage: whether the client requested usage, too. If not, a chunk with nothing else is not passed on.
    """

    __slots__ = (
        "_body",
        "_calls",
        "_choices",
        "_context",
        "_finish",
        "_key",
        "_wants_usage",
        "headers",
        "run_id",
        "usage",
    )

    def __init__(self, context: RequestContext, key: str, body: bytes, *, wants_usage: bool) -> None:
        self._context = context
        self._key = key
        self._body = body
        self._wants_usage = wants_usage
        self._finish: str | None = None
        self._choices: dict[int, bool] = {}
        self._calls: CallNumbers | None = None
        self.run_id: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    async def events(self) -> AsyncGenerator[tuple[Event, bytes]]:
        """Request the completion and read its chunks. See ``Source.events``.

        An answer is complete at ``[DONE]``, or if the body ends after its finish reason. An event that is not a JSON
        object is counted and passed on at the OpenAI endpoint, which never changes bytes: it does not end an answer
        that is paid for.
        """
        resources, readable, unreadable = self._context.resources, False, False
        clocks, within = StreamClocks(resources.clocks, Service.LITELLM), resources.clocks.first_token
        async with self._opening(within) as stream:
            self.headers = stream.headers
            yield Started(), b""
            async for event in clocks.timed(stream.events, is_token=lambda _: True):
                if is_done(event):
                    yield self._completed(), DONE
                    return
                chunk = decode_chunk(event)
                if chunk is None:
                    if event.data.strip():
                        unreadable = True
                        resources.metrics.event_unreadable("completion")
                        yield Raw(), event.raw
                    continue
                readable = True
                for pair in self._from(chunk, event.raw):
                    yield pair
                if chunk.error is not None:
                    raise failure_in_stream(chunk.error)
            self._check_whole(readable=readable, unreadable=unreadable)
            yield self._completed(), DONE

    def _opening(self, within: float) -> CompletionStream:
        """Return the call, to be opened. Nothing else keeps the body once it is sent."""
        body, self._body = self._body, b""
        return self._context.resources.litellm.stream(self._context.model_scope(), self._key, body, opens_within=within)

    def _check_whole(self, *, readable: bool, unreadable: bool) -> None:
        """Raises UpstreamError if the body has ended and the answer is incomplete."""
        if unreadable and not readable:
            raise undecodable(Service.LITELLM)
        if not self._choices or not all(self._choices.values()):
            raise UpstreamError(
                "The connection broke before the model's answer was complete.",
                reason=Reason.CUT,
                service=Service.LITELLM,
            )

    def _completed(self) -> Ended:
        return Ended(outcome=StreamOutcome.COMPLETED, finish_reason=finish_reason(self._finish), usage=self.usage)

    def _from(self, chunk: Chunk, raw: bytes) -> list[tuple[Event, bytes]]:
        """Return the chunk's events, the first with its bytes. The bytes of an error are not passed on."""
        events: list[Event] = []
        for choice in chunk.choices:
            self._note(choice)
            if choice.index == 0:  # the graph shows the first of several choices
                self._finish = choice.finish_reason or self._finish
                events += self._deltas(choice)
        self.usage = updated(self.usage, chunk.usage)
        if chunk.error is not None:
            raw = b""
        elif chunk.is_only_usage and not self._wants_usage:
            return []
        elif chunk.has_usage:
            raw = with_counts(raw)
        first, *rest = events or [Raw()]
        return [(first, raw), *((event, b"") for event in rest)]

    def _note(self, choice: ChoiceDelta) -> None:
        """Note which choices have begun, and which have finished."""
        if choice.finish_reason is not None:
            self._choices[choice.index] = True
        elif choice.text or choice.reasoning or choice.calls:
            self._choices.setdefault(choice.index, False)

    def _deltas(self, choice: ChoiceDelta) -> list[Event]:
        events: list[Event] = []
        if choice.reasoning:
            events.append(ReasoningDelta(text=choice.reasoning))
        if choice.text:
            events.append(TextDelta(text=choice.text))
        if choice.calls and self._calls is None:
            self._calls = CallNumbers()
        events += [
            ToolCallDelta(
                index=piece.index or 0, tool_call_id=piece.id, name=piece.name, arguments_delta=piece.arguments
            )
            for piece in (self._calls.numbered(choice.calls) if self._calls is not None else ())
        ]
        return events
