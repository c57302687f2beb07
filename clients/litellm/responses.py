"""Reads a streamed response of OpenAI's Responses API from LiteLLM.

LiteLLM 1.106 sends the events without names and numbers, and ``[DONE]`` after the last event. The bytes of the pieces
have the form of LiteLLM 1.110: names, numbers from 0, and no ``[DONE]``.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from clients.decode import UNREADABLE
from clients.litellm.chunks import error_of, is_done
from clients.litellm.fields import Object, as_json, as_object, clean, joined_text, json_object, word
from clients.litellm.redaction import without_key
from clients.litellm.refusals import WireError, wire_error
from clients.litellm.response_objects import (
    FAILED,
    ResponseLabels,
    fields_of,
    finish_of,
    is_call,
    items_of,
    relabelled,
    response_usage,
)
from clients.litellm.streams import NOTHING, Done, ModelStream, Piece, Pieces, Unreadable, cut
from clients.litellm.toolcalls import CallPiece
from clients.sse import SseEvent
from clients.upstream import StreamedAnswer


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    delta: Any = None
    output_index: Any = None
    content_index: Any = None
    summary_index: Any = None
    item: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    sequence_number: Any = None
    response: msgspec.Raw = msgspec.Raw()


_EVENT = msgspec.json.Decoder(_Event)
_PARTS_OF = {
    **dict.fromkeys(("response.output_text", "response.refusal"), "text"),
    **dict.fromkeys(("response.reasoning_summary_text", "response.reasoning_text", "response.reasoning"), "reasoning"),
    **dict.fromkeys(("response.function_call_arguments", "response.custom_tool_call_input"), "call"),
}
"""The content to which an event adds, by the event's type without its last word."""
_STEPS = ("delta", "done")
_ENDS = ("response.completed", "response.incomplete")
_FAILURES = ("response.failed", "response.cancelled")
_PARTS = ("content", "text", "refusal")
_SUMMARIES = ("summary", "content", "text")


class ResponseStream(ModelStream):
    """Reads a streamed response. The last piece has the bytes of ``response.completed`` or ``response.incomplete``.

    In the events, ``labels`` replace LiteLLM's ids. Events of unknown types are passed on.
    """

    __slots__ = ("_calls", "_events_read", "_labels", "_seen")

    def __init__(
        self,
        call: AbstractAsyncContextManager[StreamedAnswer],
        key: str,
        labels: ResponseLabels,
        *,
        joins: bool = False,
    ) -> None:
        super().__init__(call, key, joins=joins)
        self._labels = labels
        self._calls: dict[int, int] = {}
        self._events_read = 0
        self._seen: set[tuple[str, int]] = set()

    def _add(self, events: list[SseEvent], pieces: Pieces) -> bool:
        for event in events:
            pieces += self._next(event)
            if self._failure is not None or self._is_over:
                break
        if self._joins and len(pieces) > 1:
            pieces[:] = _joined(pieces)
        return not self._is_over and self._failure is None and self._splitter.error is None

    def _next(self, event: SseEvent) -> Pieces:
        wire = _decoded(event)
        if wire is None:
            return [self._without_object(event)]
        self._readable = True
        kind = wire.type if isinstance(wire.type, str) else event.event
        number, self._events_read = self._events_read, self._events_read + 1
        raw = event.raw if event.event == kind and wire.sequence_number == number else _rewritten(kind, event, number)
        if kind == "response.output_text.delta" and type(wire.delta) is str:  # most events
            self._seen.add(("text", _index(wire)))
            return [Piece(raw=raw, text=clean(wire.delta))]
        if kind in _ENDS:
            return self._ended(kind, wire, event, number)
        if (error := _error(kind, wire, event)) is not None:
            self._failure = error
            return [Piece()]
        if wire.response:
            raw = self._with_labels(kind, event, number)
        text, reasoning, calls = self._content(kind, wire)
        return [Piece(raw=without_key(raw, self._key), text=text, reasoning=reasoning, calls=calls)]

    def _without_object(self, event: SseEvent) -> Piece | Unreadable:
        if event.event == "error":
            self._failure = wire_error(event.data.decode("utf-8", "replace"))
            return Piece()
        if not event.data.strip() or is_done(event):
            return NOTHING
        self._readable = self._readable or False
        return Unreadable(without_key(event.raw, self._key))

    def _content(self, kind: str, wire: _Event) -> tuple[str, str, list[CallPiece]]:
        """Return an event's text, reasoning and tool calls.

        Some providers send a part only when the part is complete.
        """
        if kind.startswith("response.output_item."):
            return "", "", self._call_in(_index(wire), as_object(wire.item))
        base, _, step = kind.rpartition(".")
        part = _PARTS_OF.get(base)
        if part is None or step not in _STEPS:
            return "", "", []
        key = (part, _index(wire))
        if step == "delta":
            self._seen.add(key)
        elif key in self._seen:
            return "", "", []
        value = (
            wire.delta
            if step == "delta"
            else next(filter(None, (wire.text, wire.refusal, wire.arguments, wire.input)), "")
        )
        text = clean(value) if isinstance(value, str) else ""
        if part == "call":
            return "", "", [CallPiece(index=self._number(key[1]), arguments=text)]
        return ("", text, []) if part == "reasoning" else (text, "", [])

    def _call_in(self, index: int, item: Object) -> list[CallPiece]:
        """Return the beginning of a tool call, or the whole call if it arrives at once."""
        if not is_call(item) or index in self._calls:
            return []
        arguments = item.get("arguments") or item.get("input")
        text = clean(arguments) if isinstance(arguments, str) else ""
        if text:
            self._seen.add(("call", index))
        name, call_id = word(item.get("name")), word(item.get("call_id")) or word(item.get("id"))
        return [CallPiece(index=self._number(index), id=call_id, name=name, arguments=text)]

    def _number(self, index: int) -> int:
        return self._calls.setdefault(index, len(self._calls))

    def _ended(self, kind: str, wire: _Event, event: SseEvent, number: int) -> Pieces:
        response = as_object(json_object(bytes(wire.response)))
        if response.get("error") or response.get("status") in FAILED:
            self._failure = wire_error(response.get("error"))
            return [Piece()]
        self.usage = response_usage(response.get("usage"))
        self._is_over = True
        missed = (
            []
            if self._seen or self._calls
            else [_whole(number, item) for number, item in enumerate(items_of(response))]
        )
        if kind == "response.incomplete":
            response["status"] = "incomplete"
        return [*missed, Done(finish=finish_of(response), raw=self._with_labels(kind, event, number))]

    def _with_labels(self, kind: str, event: SseEvent, number: int) -> bytes:
        """Return an event's bytes with the client's ids in the response object."""
        fields = fields_of(event.data)
        if bytes(fields.get("response", b"null")).startswith(b"{"):
            fields["response"] = msgspec.Raw(relabelled(bytes(fields["response"]), self._labels, self._key))
        return _encoded(kind, fields, number)

    def _end(self) -> Done:
        raise cut()


def _rewritten(kind: str, event: SseEvent, number: int) -> bytes:
    return _encoded(kind, fields_of(event.data), number)


def _encoded(kind: str, fields: dict[str, msgspec.Raw], number: int) -> bytes:
    fields["sequence_number"] = msgspec.Raw(b"%d" % number)
    return b"event: " + clean(kind).encode() + b"\ndata: " + msgspec.json.encode(fields) + b"\n\n"


def _decoded(event: SseEvent) -> _Event | None:
    try:
        return _EVENT.decode(event.data)
    except UNREADABLE:
        wire = json_object(event.data)
    if wire is None:
        return None
    response = wire.get("response")
    known = {name: wire[name] for name in _Event.__struct_fields__ if name in wire and name != "response"}
    return _Event(**known, response=msgspec.Raw(as_json(response).encode()) if response else msgspec.Raw())


def _error(kind: str, wire: _Event, event: SseEvent) -> WireError | None:
    if kind in _FAILURES:
        return wire_error(as_object(json_object(bytes(wire.response))).get("error"))
    if kind.startswith("response."):
        return None
    return error_of(as_object(json_object(event.data)), [], event.event)


def _index(wire: _Event) -> int:
    return wire.output_index if type(wire.output_index) is int else 0


def _whole(number: int, item: Object) -> Piece:
    """Return the content of an output item that no event has announced. The client gets the item in the last event."""
    if is_call(item):
        arguments = item.get("arguments") or item.get("input")
        call = CallPiece(
            index=number,
            id=word(item.get("call_id")),
            name=word(item.get("name")),
            arguments=clean(arguments) if isinstance(arguments, str) else "",
        )
        return Piece(calls=[call])
    if item.get("type") == "reasoning":
        return Piece(reasoning=joined_text(item, _SUMMARIES))
    return Piece(text=joined_text(item, _PARTS))


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
