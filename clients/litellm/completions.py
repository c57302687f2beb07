"""Reads a streamed completion from LiteLLM.

If the client requested several choices, a piece has the text of the first choice, and the bytes of all choices.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import msgspec

from clients.codes import Reason
from clients.decode import undecodable
from clients.errors import Service, UpstreamError
from clients.litellm.answers import passed_headers
from clients.litellm.chunks import Chunk, decode_chunk, is_done
from clients.litellm.redaction import without_key
from clients.litellm.refusals import WireError, failure_in_stream
from clients.litellm.tokens import updated, with_counts
from clients.litellm.toolcalls import CallNumbers, CallPiece
from clients.sse import SseEvent, sse_events
from clients.upstream import StreamedAnswer
from clients.usage import Usage


class Piece(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one SSE event adds to a completion.

    ``raw`` is the event's bytes for an OpenAI client; empty if the client must not get the event. In ``calls``, an
    ``index`` is the number of the tool call in this answer. ``is_silent`` is true if the event is blank, or has only
    usage that the client did not request.
    """

    raw: bytes = b""
    text: str = ""
    reasoning: str = ""
    calls: list[CallPiece] = []
    is_silent: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """An SSE event that is not a JSON object. OpenAI clients get the event, and the stream continues."""

    raw: bytes


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a completion. ``finish`` is the finish reason, translated to OpenAI's values if possible."""

    finish: str | None
    raw: bytes = b"data: [DONE]\n\n"


_NOTHING = Piece(is_silent=True)


class CompletionStream:
    """Reads a streamed completion piece by piece.

    The object is a context manager and an async iterator. The iterator raises UpstreamError if the body ends before the
    answer is complete (``CUT``), or has no readable event (``DECODE``). If an event reports a failure of the model, the
    iterator raises the model's error. ``headers`` are the response headers for the client. To save memory, the iterator
    is not a generator.
    """

    __slots__ = (
        "_call",
        "_calls",
        "_choices",
        "_events",
        "_failure",
        "_finish",
        "_is_over",
        "_key",
        "_readable",
        "_wants_usage",
        "headers",
        "usage",
    )

    headers: dict[str, str]
    _events: AsyncIterator[SseEvent]

    def __init__(self, call: AbstractAsyncContextManager[StreamedAnswer], key: str, *, wants_usage: bool) -> None:
        self._call = call
        self._key = key
        self._wants_usage = wants_usage
        self._calls: CallNumbers | None = None
        self._choices: dict[int, bool] = {}
        self._failure: WireError | None = None
        self._finish: str | None = None
        self._is_over = False
        self._readable: bool | None = None
        self.usage: Usage | None = None

    async def __aenter__(self) -> Self:
        answer = await self._call.__aenter__()
        self.headers = passed_headers(answer.headers, self._key)
        self._events = sse_events(answer.chunks, Service.LITELLM)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece | Unreadable | Done:
        if self._failure is not None:
            raise failure_in_stream(self._failure)
        if self._is_over:
            raise StopAsyncIteration
        event = await anext(self._events, None)
        if event is None or is_done(event):
            if event is None:
                self._check_complete()
            self._is_over = True
            return Done(finish=self._finish)
        chunk = decode_chunk(event)
        if chunk is not None:
            self._readable = True
            return self._piece(chunk, event.raw)
        if not event.data.strip():
            return _NOTHING
        self._readable = self._readable or False
        return Unreadable(without_key(event.raw, self._key))

    def _piece(self, chunk: Chunk, raw: bytes) -> Piece:
        text = reasoning = ""
        calls: list[CallPiece] = []
        for choice in chunk.choices:
            if choice.finish_reason is not None:
                self._choices[choice.index] = True
            elif choice.text or choice.reasoning or choice.calls:
                self._choices.setdefault(choice.index, False)
            if choice.index == 0:
                self._finish = choice.finish_reason or self._finish
                text, reasoning = text + choice.text, reasoning + choice.reasoning
                calls = calls + self._numbered(choice.calls) if choice.calls else calls
        if chunk.has_usage:
            self.usage = updated(self.usage, chunk.usage)
            if chunk.is_only_usage and not self._wants_usage:
                return _NOTHING
            raw = with_counts(raw)
        if chunk.error is not None:
            self._failure, raw = chunk.error, b""
        elif not text and not reasoning and not calls:  # a search in each event of an answer would be slow
            raw = without_key(raw, self._key)
        return Piece(raw=raw, text=text, reasoning=reasoning, calls=calls)

    def _numbered(self, calls: list[CallPiece]) -> list[CallPiece]:
        if self._calls is None:
            self._calls = CallNumbers()
        return self._calls.numbered(calls)

    def _check_complete(self) -> None:
        if self._readable is False:
            raise undecodable(Service.LITELLM)
        if not self._choices or not all(self._choices.values()):
            message = "The connection to LiteLLM broke before the model's answer was complete. Retry the request."
            raise UpstreamError(message, reason=Reason.CUT, service=Service.LITELLM)
