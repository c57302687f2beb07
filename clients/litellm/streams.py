"""Reads a streamed answer of a model from LiteLLM. ``ModelStream`` is the base class for both of OpenAI's APIs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeAlias

import msgspec

from clients.codes import Reason
from clients.decode import undecodable
from clients.errors import Service, UpstreamError
from clients.litellm.answers import passed_headers
from clients.litellm.refusals import WireError, failure_in_stream
from clients.litellm.toolcalls import CallPiece
from clients.sse import SseEvent, SseSplitter
from clients.upstream import StreamedAnswer
from clients.usage import Usage


class Piece(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one SSE event adds to a model's answer.

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
    """The end of an answer. ``finish`` is the finish reason, translated to OpenAI's values if possible."""

    finish: str | None
    raw: bytes


NOTHING = Piece(is_silent=True)
"""The piece of an event that clients do not get."""

Pieces: TypeAlias = list[Piece | Unreadable | Done]


class ModelStream(ABC):
    """Reads a streamed answer of a model. Each item is the list of pieces that have arrived together.

    The object is a context manager and an async iterator. The iterator raises UpstreamError if the body ends before the
    answer is complete (``CUT``), or has no readable event (``DECODE``). If an event reports a failure of the model, the
    iterator raises the model's error. ``headers`` are the response headers for the client. To save memory, the iterator
    is not a generator. If ``joins`` is true, the text of events that arrive together is joined in one piece.
    """

    __slots__ = (
        "_call",
        "_chunks",
        "_failure",
        "_has_ended",
        "_is_over",
        "_joins",
        "_key",
        "_readable",
        "_splitter",
        "headers",
        "usage",
    )

    headers: dict[str, str]
    _chunks: AsyncIterator[bytes]

    def __init__(self, call: AbstractAsyncContextManager[StreamedAnswer], key: str, *, joins: bool) -> None:
        self._call = call
        self._joins = joins
        self._key = key
        self._failure: WireError | None = None
        self._has_ended = self._is_over = False
        self._splitter = SseSplitter(Service.LITELLM)
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

    async def __anext__(self) -> Pieces:
        """Return the pieces of the next bytes that have arrived. The list is never empty."""
        pieces: Pieces = []
        while not pieces:
            if self._failure is not None:
                raise failure_in_stream(self._failure)
            if self._is_over:
                raise StopAsyncIteration
            if self._splitter.error is not None:
                raise self._splitter.error
            if self._has_ended:
                if self._readable is False:
                    raise undecodable(Service.LITELLM)
                return [self._end()]
            chunk = await anext(self._chunks, None)
            self._has_ended = chunk is None
            if chunk is None:
                self._add(self._splitter.end(), pieces)
            elif (body := self._splitter.take(chunk)) is None:
                self._add(self._splitter.feed(chunk), pieces)
            else:
                self._add_body(body, pieces)
        return pieces

    def _add_body(self, body: bytes, pieces: Pieces) -> None:
        """Add the pieces of complete events."""
        self._add(self._splitter.events(body), pieces)

    @abstractmethod
    def _add(self, events: list[SseEvent], pieces: Pieces) -> bool:
        """Add the pieces of events. Return False after the last event of the answer.

        Set ``_failure`` if an event reports a failure, and ``_is_over`` if an event ends the answer.
        """

    @abstractmethod
    def _end(self) -> Done:
        """Return the end of an answer whose body has ended. Raise ``cut`` if the answer is incomplete."""


def cut() -> UpstreamError:
    """Return the error for a body that ends before the answer is complete."""
    message = "The connection to LiteLLM broke before the model's answer was complete. Retry the request."
    return UpstreamError(message, reason=Reason.CUT, service=Service.LITELLM)
