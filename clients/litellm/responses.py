"""Reads a streamed response of OpenAI's Responses API from LiteLLM.

LiteLLM 1.106 sends the events without names and numbers, and ``[DONE]`` after the last event. The bytes of the pieces
have the form of LiteLLM 1.110: names, numbers from 0, and no ``[DONE]``.
"""

import re
from contextlib import AbstractAsyncContextManager

import msgspec

from clients.decode import UNREADABLE
from clients.litellm.chunks import error_of, is_done, is_error
from clients.litellm.fields import as_json, as_object, clean, json_object
from clients.litellm.reasoning_items import complete_item, may_have_reasoning
from clients.litellm.redaction import without_key
from clients.litellm.refusals import WireError, wire_error
from clients.litellm.response_content import Content, ResponseContent, ResponseEvent, part_of
from clients.litellm.response_objects import (
    FAILED,
    ResponseLabels,
    fields_of,
    finish_of,
    relabelled,
    response_usage,
)
from clients.litellm.streams import NOTHING, Done, ModelStream, Piece, Pieces, Unreadable, cut
from clients.sse import SseEvent
from clients.upstream import StreamedAnswer


class _TextDelta(msgspec.Struct, gc=False):
    type: str
    delta: str
    output_index: int
    content_index: int
    item_id: str
    sequence_number: int


_TEXT = "response.output_text.delta"
_DELTA = b"event: response.output_text.delta\ndata: "
_EVENT = msgspec.json.Decoder(ResponseEvent)
_TEXT_DELTA = msgspec.json.Decoder(_TextDelta)
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)
_ENDS = ("response.completed", "response.incomplete")
_ITEMS = ("response.output_item.added", "response.output_item.done")
_FAILURES = ("response.failed", "response.cancelled")


class ResponseStream(ModelStream):
    """Reads a streamed response. The last piece has the bytes of ``response.completed`` or ``response.incomplete``.

    In the events, ``labels`` replace LiteLLM's ids. Events of unknown types are passed on.
    """

    __slots__ = ("_content", "_events_read", "_labels", "_text_at")

    def __init__(
        self,
        call: AbstractAsyncContextManager[StreamedAnswer],
        key: str,
        labels: ResponseLabels,
        *,
        joins: bool = False,
    ) -> None:
        super().__init__(call, key, joins=joins)
        self._content = ResponseContent()
        self._events_read = 0
        self._labels = labels
        self._text_at = (-1, -1)

    def _add(self, events: list[SseEvent], pieces: Pieces) -> bool:
        for event in events:
            pieces += self._next(event)
            if self._failure is not None or self._is_over:
                break
        if self._joins and len(pieces) > 1:
            pieces[:] = _joined(pieces)
        return not self._is_over and self._failure is None and self._splitter.error is None

    def _add_body(self, body: bytes, pieces: Pieces) -> None:
        """Add the pieces of complete events. Runs of text are read in a quarter of the time."""
        at = 0
        while at < len(body):
            if self._joins and body.startswith(_DELTA, at) and (end := self._add_run(body, at, pieces)) > at:
                at = end
                continue
            end = body.find(b"\n\n", at) + 2
            if not self._add(self._splitter.events(body[at:end]), pieces):
                return
            at = end

    def _add_run(self, body: bytes, at: int, pieces: Pieces) -> int:
        """Add one piece for successive pieces of text, and return the end of their bytes.

        The run ends before an event that has an unusual form.
        """
        start, texts = at, []
        while body.startswith(_DELTA, at):
            end = body.find(b"\n\n", at) + 2
            try:
                delta = _TEXT_DELTA.decode(memoryview(body)[at + len(_DELTA) : end - 2])
            except UNREADABLE:
                break
            if delta.sequence_number != self._events_read or delta.type != _TEXT:
                break
            if (delta.output_index, delta.content_index) != self._text_at:
                self._text_at = delta.output_index, delta.content_index
                self._content.add_text(delta.output_index, delta.item_id, delta.content_index)
            self._events_read += 1
            texts.append(delta.delta)
            at = end
        if texts:
            self._readable = True
            pieces.append(Piece(raw=body[start:at], text="".join(texts), deltas=len(texts)))
        return at

    def _next(self, event: SseEvent) -> Pieces:
        wire = _decoded(event)
        if wire is None:
            return [self._without_object(event)]
        self._readable = True
        number, self._events_read = self._events_read, self._events_read + 1
        kind = wire.type if isinstance(wire.type, str) and _NAME.fullmatch(wire.type) else event.event
        is_usual = event.event == kind and wire.sequence_number == number
        if kind == _TEXT and type(wire.delta) is str:
            self._content.add_text(wire.output_index, wire.item_id, part_of(wire))
            return [Piece(raw=event.raw if is_usual else _rewritten(kind, event, number), text=clean(wire.delta))]
        if kind in _ENDS:
            return self._ended(kind, wire, event, number)
        if (error := _error(kind, wire, event)) is not None:
            self._failure = error
            return [Piece()]
        if wire.response:
            raw = self._with_labels(kind, event, number)
        elif kind in _ITEMS and may_have_reasoning(event.data):
            raw = self._with_whole_item(kind, event, number)
        else:
            raw = event.raw if is_usual else _rewritten(kind, event, number)
        return [_piece(self._content.of(kind, wire), without_key(raw, self._key))]

    def _without_object(self, event: SseEvent) -> Piece | Unreadable:
        if event.event == "error":
            self._failure = wire_error(event.data.decode("utf-8", "replace"))
            return Piece()
        if not event.data.strip() or is_done(event):
            return NOTHING
        self._readable = self._readable or False
        return Unreadable(without_key(event.raw, self._key))

    def _ended(self, kind: str, wire: ResponseEvent, event: SseEvent, number: int) -> Pieces:
        response = as_object(json_object(bytes(wire.response)))
        if is_error(response.get("error")) or response.get("status") in FAILED:
            self._failure = wire_error(response.get("error"))
            return [Piece()]
        self.usage = response_usage(response.get("usage"))
        self._is_over = True
        if kind == "response.incomplete":
            response["status"] = "incomplete"
        missed = [_piece(content, b"") for content in self._content.rest(response)]
        return [*missed, Done(finish=finish_of(response), raw=self._with_labels(kind, event, number))]

    def _with_labels(self, kind: str, event: SseEvent, number: int) -> bytes:
        """Return an event's bytes with the client's ids in the response object."""
        fields = fields_of(event.data)
        if bytes(fields.get("response", b"null")).startswith(b"{"):
            fields["response"] = msgspec.Raw(relabelled(bytes(fields["response"]), self._labels, self._key))
        return _encoded(kind, fields, number)

    def _with_whole_item(self, kind: str, event: SseEvent, number: int) -> bytes:
        fields = fields_of(event.data)
        if "item" in fields:
            fields["item"] = complete_item(fields["item"], encrypted=self._labels.encrypted)
        return _encoded(kind, fields, number)

    def _end(self) -> Done:
        raise cut()


def _piece(content: Content, raw: bytes) -> Piece:
    return Piece(raw=raw, text=content.text, reasoning=content.reasoning, calls=list(content.calls))


def _rewritten(kind: str, event: SseEvent, number: int) -> bytes:
    return _encoded(kind, fields_of(event.data), number)


def _encoded(kind: str, fields: dict[str, msgspec.Raw], number: int) -> bytes:
    """Encode an event in one line of data."""
    fields["sequence_number"] = msgspec.Raw(b"%d" % number)
    data = msgspec.json.encode(fields)
    if b"\n" in data or b"\r" in data:  # the values had several lines
        data = msgspec.json.format(data, indent=-1)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _decoded(event: SseEvent) -> ResponseEvent | None:
    try:
        return _EVENT.decode(event.data)
    except UNREADABLE:
        wire = json_object(event.data)
    if wire is None:
        return None
    response = wire.get("response")
    known = {name: wire[name] for name in ResponseEvent.__struct_fields__ if name in wire and name != "response"}
    return ResponseEvent(**known, response=msgspec.Raw(as_json(response).encode()) if response else msgspec.Raw())


def _error(kind: str, wire: ResponseEvent, event: SseEvent) -> WireError | None:
    if kind in _FAILURES:
        return wire_error(as_object(json_object(bytes(wire.response))).get("error"))
    if kind.startswith("response."):
        return None
    return error_of(as_object(json_object(event.data)), [], event.event)


def _joined(pieces: Pieces) -> Pieces:
    """Join the text of successive pieces."""
    found: Pieces = []
    texts: list[Piece] = []
    for piece in pieces:
        if type(piece) is Piece and piece.text:
            texts.append(piece)
            continue
        found += _one_text(texts)
        texts = []
        found.append(piece)
    return found + _one_text(texts)


def _one_text(texts: list[Piece]) -> list[Piece]:
    if len(texts) < 2:
        return texts
    raw, text = b"".join(piece.raw for piece in texts), "".join(piece.text for piece in texts)
    return [Piece(raw=raw, text=text, deltas=sum(piece.deltas for piece in texts))]
