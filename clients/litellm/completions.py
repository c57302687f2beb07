"""Reads a streamed completion from LiteLLM.

If the client requested several choices, a piece has the text of the first choice, and the bytes of all choices.
"""

from contextlib import AbstractAsyncContextManager

from clients.litellm.chunks import Chunk, decode_chunk, is_done
from clients.litellm.redaction import without_key
from clients.litellm.streams import NOTHING, Done, ModelStream, Piece, Pieces, Unreadable, cut
from clients.litellm.templates import DeltaTemplate, Run
from clients.litellm.tokens import updated, with_counts
from clients.litellm.toolcalls import CallNumbers, CallPiece
from clients.sse import SseEvent
from clients.upstream import StreamedAnswer

_DONE = b"data: [DONE]\n\n"
_MOST_SEARCHES = 16


class CompletionStream(ModelStream):
    """Reads a streamed completion. The last piece's bytes are ``[DONE]``."""

    __slots__ = ("_calls", "_choices", "_finish", "_template", "_wants_usage")

    def __init__(
        self, call: AbstractAsyncContextManager[StreamedAnswer], key: str, *, wants_usage: bool, joins: bool = False
    ) -> None:
        super().__init__(call, key, joins=joins)
        self._wants_usage = wants_usage
        self._calls: CallNumbers | None = None
        self._choices: dict[int, bool] = {}
        self._finish: str | None = None
        self._template = DeltaTemplate()

    def _add_body(self, body: bytes, pieces: Pieces) -> None:
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

    def _add_run(self, raw: bytes, run: Run, pieces: Pieces) -> None:
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

    def _add(self, events: list[SseEvent], pieces: Pieces) -> bool:
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
            return NOTHING
        self._readable = self._readable or False
        return Unreadable(without_key(event.raw, self._key))

    def _done(self) -> Done:
        self._is_over = True
        return Done(finish=self._finish, raw=_DONE)

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
                return NOTHING
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

    def _end(self) -> Done:
        if not self._choices or not all(self._choices.values()):
            raise cut()
        return self._done()
