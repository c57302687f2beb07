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
from clients.litellm.templates import DeltaTemplate, Run
from clients.litellm.tokens import updated, with_counts
from clients.litellm.toolcalls import CallNumbers, CallPiece
from clients.sse import SseEvent, SseSplitter
from clients.upstream import StreamedAnswer
from clients.usage import Usage


class Piece(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one SSE event adds to a completion.

    ``raw`` is the event's bytes for an OpenAI client; empty if the client must not get the event. In ``calls``, an
    ``index`` is the number of the tool call in this answer. ``deltas`` is the number of joined events. ``is_silent`` is
    true if the event is blank, or has only usage that the client did not request.
    """

    raw: bytes = b""
    text: str = ""
    reasoning: str = ""
    calls: list[CallPiece] = []
    deltas: int = 1
    is_silent: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """An SSE event that is not a JSON object. OpenAI clients get the event, and the stream continues."""

    raw: bytes


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a completion. ``finish`` is the finish reason, translated to OpenAI's values if possible."""

    finish: str | None
    raw: bytes = b"data: [DONE]\n\n"


_NOTHING = Piece(is_silent=True)
_MOST_SEARCHES = 16


class CompletionStream:
    """Reads a streamed completion. Each item is the list of pieces that have arrived together.

    The object is a context manager and an async iterator. The iterator raises UpstreamError if the body ends before the
    answer is complete (``CUT``), or has no readable event (``DECODE``). If an event reports a failure of the model, the
    iterator raises the model's error. ``headers`` are the response headers for the client. To save memory, the iterator
    is not a generator. If ``joins`` is true, the text of events that arrive together is joined in one piece.
    """

    __slots__ = (
        "_call",
        "_calls",
        "_choices",
        "_chunks",
        "_failure",
        "_finish",
        "_has_ended",
        "_is_over",
        "_joins",
        "_key",
        "_readable",
        "_splitter",
        "_template",
        "_wants_usage",
        "headers",
        "usage",
    )

    headers: dict[str, str]
    _chunks: AsyncIterator[bytes]

    def __init__(
        self, call: AbstractAsyncContextManager[StreamedAnswer], key: str, *, wants_usage: bool, joins: bool = False
    ) -> None:
        self._call = call
        self._joins = joins
        self._key = key
        self._wants_usage = wants_usage
        self._calls: CallNumbers | None = None
        self._choices: dict[int, bool] = {}
        self._failure: WireError | None = None
        self._finish: str | None = None
        self._has_ended = self._is_over = False
        self._splitter = SseSplitter(Service.LITELLM)
        self._template = DeltaTemplate()
        self._readable: bool | None = None
        self.usage: Usage | None = None

    async def __aenter__(self) -> Self:
        answer = await self._call.__aenter__()
        self.headers = passed_headers(answer.headers, self._key)
        self._chunks = answer.chunks
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Piece | Unreadable | Done]:
        """Return the pieces of the next bytes that have arrived. The list is never empty."""
        pieces: list[Piece | Unreadable | Done] = []
        while not pieces:
            if self._failure is not None:
                raise failure_in_stream(self._failure)
            if self._is_over:
                raise StopAsyncIteration
            if self._splitter.error is not None:
                raise self._splitter.error
            if self._has_ended:
                self._check_complete()
                return [self._done()]
            chunk = await anext(self._chunks, None)
            self._has_ended = chunk is None
            if chunk is None:
                self._add(self._splitter.end(), pieces)
            elif (body := self._splitter.take(chunk)) is None:
                self._add(self._splitter.feed(chunk), pieces)
            else:
                self._add_body(body, pieces)
        return pieces

    def _add_body(self, body: bytes, pieces: list[Piece | Unreadable | Done]) -> None:
        """Add the pieces of complete events. Few runs are searched for, because each search takes linear time."""
        template, at, searches = self._template, 0, 0
        while at < len(body) and searches < _MOST_SEARCHES:
            if template.begins(body, at):
                searches += 1
                if (run := template.run(body, at)) is not None:
                    self._add_run(body[at : run.end], run, pieces)
                    at = run.end
                    continue
            end = body.find(b"\n\n", at) + 2
            if not self._add(self._splitter.events(body[at:end]), pieces):
                return
            at = end
        self._add(self._splitter.events(body[at:]), pieces)

    def _add_run(self, raw: bytes, run: Run, pieces: list[Piece | Unreadable | Done]) -> None:
        self._choices.setdefault(0, False)
        if self._joins or len(run.texts) == 1:
            pieces.append(self._text_piece(raw, "".join(run.texts), len(run.texts)))
        else:
            found = zip(run.parts, run.texts, strict=True)
            pieces += [self._text_piece(self._template.raw(part), text) for part, text in found]

    def _text_piece(self, raw: bytes, text: str, deltas: int = 1) -> Piece:
        if self._template.is_reasoning:
            return Piece(raw=raw, reasoning=text, deltas=deltas)
        return Piece(raw=raw, text=text, deltas=deltas)

    def _add(self, events: list[SseEvent], pieces: list[Piece | Unreadable | Done]) -> bool:
        """Add the pieces of events. Return False after the last event of the answer."""
        for event in events:
            pieces.append(self._next(event))
            if self._failure is not None or self._is_over:
                return False
        return self._splitter.error is None

    def _next(self, event: SseEvent) -> Piece | Unreadable | Done:
        if is_done(event):
            return self._done()
        chunk = decode_chunk(event)
        if chunk is not None:
            self._readable = True
            self._template.learn(event, chunk, decode_chunk)
            return self._piece(chunk, event.raw)
        if not event.data.strip():
            return _NOTHING
        self._readable = self._readable or False
        return Unreadable(without_key(event.raw, self._key))

    def _done(self) -> Done:
        self._is_over = True
        return Done(finish=self._finish)

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
