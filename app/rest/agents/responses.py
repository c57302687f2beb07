"""Writes an agent's answer as a response of OpenAI's Responses API, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.rest.agents.pieces import Piece, Pieces, joined_pieces
from app.rest.agents.written import json_bytes
from app.rest.ends import response_error
from clients.errors import GatewayError
from clients.usage import Usage
from resolvers.streams.events import Ended, Event, Started

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """The fields of a response that are known when the turn begins. ``created_at`` is in seconds since 1970."""

    id: str
    model: str
    created_at: int
    previous: str | None

    def response(self, status: str, output: list[Json], usage: Usage | None = None, **more: Any) -> Json:
        """Return the response object."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": self.previous,
            "tool_choice": "auto",
            "tools": [],
            "usage": response_usage(usage),
            **more,
        }

    def item_id(self, piece: Piece, index: int) -> str:
        """Return the id of an output item, which is the same for every reader of the turn."""
        return f"{'rs' if piece.is_reasoning else 'msg'}_{self.id.rpartition('_')[2]}_{index}"


class ResponseStream:
    """Writes one answer as events of a response. Each of the agent's messages, and its reasoning, is an output item."""

    def __init__(self, head: ResponseHead) -> None:
        self._head = head
        self._number = 0
        self._output: list[Json] = []
        self._open: _Item | None = None
        self.pieces = Pieces()

    def of(self, event: Event) -> bytes:
        """Return the events of the Responses API for an event of the turn."""
        if isinstance(event, Started):
            created = {"response": self._head.response("in_progress", [])}
            return self._written("response.created", created) + self._written("response.in_progress", created)
        piece = self.pieces.of(event)
        if piece is None:
            return b""
        item, before = self._open, b""
        if item is None or not item.continues(piece):
            before = self._closed()
            index = len(self._output)
            item = self._open = _Item(piece, index, self._head.item_id(piece, index))
            before += b"".join(self._written(*one) for one in item.opening())
        item.texts.append(piece.text)
        return before + self._written(*item.delta(piece.text))

    def completed(self, ended: Ended) -> bytes:
        """Return the events that end a complete answer."""
        closed = self._closed()
        response = self._head.response("completed", self._output, ended.usage)
        return closed + self._written("response.completed", {"response": response})

    def failed(self, error: GatewayError) -> bytes:
        """Return the event that ends a failed answer. Its response has the output so far."""
        output = self._output if self._open is None else [*self._output, self._open.whole("incomplete")]
        response = self._head.response("failed", output, error=response_error(error))
        return self._written("response.failed", {"response": response})

    def _closed(self) -> bytes:
        item, self._open = self._open, None
        if item is None:
            return b""
        self._output.append(item.whole("completed"))
        return b"".join(self._written(*one) for one in item.closing())

    def _written(self, kind: str, fields: Json) -> bytes:
        event = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), json_bytes(event))


class _Item:
    """An output item that is being written: a message, or reasoning, which is a summary in this API."""

    __slots__ = ("_at", "_id", "_index", "_piece", "texts")

    def __init__(self, piece: Piece, index: int, item_id: str) -> None:
        self._piece = piece
        self._index = index
        self._id = item_id
        place = "summary_index" if piece.is_reasoning else "content_index"
        self._at: Json = {"item_id": item_id, "output_index": index, place: 0}
        self.texts: list[str] = []

    def continues(self, piece: Piece) -> bool:
        """Return whether a piece belongs to this item."""
        return (piece.message_id, piece.is_reasoning) == (self._piece.message_id, self._piece.is_reasoning)

    def opening(self) -> list[tuple[str, Json]]:
        """Return the events before the text."""
        part = "response.reasoning_summary_part.added" if self._piece.is_reasoning else "response.content_part.added"
        return [
            ("response.output_item.added", {"output_index": self._index, "item": self._item("in_progress", [])}),
            (part, {**self._at, "part": self._part("")}),
        ]

    def delta(self, text: str) -> tuple[str, Json]:
        """Return the event of a piece of text."""
        if self._piece.is_reasoning:
            return "response.reasoning_summary_text.delta", {**self._at, "delta": text}
        return "response.output_text.delta", {**self._at, "delta": text, "logprobs": []}

    def closing(self) -> list[tuple[str, Json]]:
        """Return the events after the text."""
        text = "".join(self.texts)
        done = {"output_index": self._index, "item": self.whole("completed")}
        if self._piece.is_reasoning:
            names = "response.reasoning_summary_text.done", "response.reasoning_summary_part.done"
        else:
            names = "response.output_text.done", "response.content_part.done"
        logprobs: Json = {} if self._piece.is_reasoning else {"logprobs": []}
        return [
            (names[0], {**self._at, "text": text, **logprobs}),
            (names[1], {**self._at, "part": self._part(text)}),
            ("response.output_item.done", done),
        ]

    def whole(self, status: str) -> Json:
        """Return the item with its text so far."""
        return self._item(status, [self._part("".join(self.texts))])

    def _item(self, status: str, parts: list[Json]) -> Json:
        if self._piece.is_reasoning:
            return {"id": self._id, "type": "reasoning", "summary": parts}
        return {"id": self._id, "type": "message", "status": status, "role": "assistant", "content": parts}

    def _part(self, text: str) -> Json:
        if self._piece.is_reasoning:
            return {"type": "summary_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def whole_response(head: ResponseHead, pieces: Iterable[Piece], ended: Ended) -> bytes:
    """Return a complete answer as a response."""
    return json_bytes(head.response("completed", _output(head, pieces), ended.usage))


def stored_response(
    head: ResponseHead, pieces: Iterable[Piece], ended: Ended | None, error: GatewayError | None
) -> bytes:
    """Return a turn as a response: complete, failed with ``error``, or in progress if ``ended`` is ``None``."""
    if ended is None:
        return json_bytes(head.response("in_progress", _output(head, pieces, "in_progress")))
    if error is None:
        return whole_response(head, pieces, ended)
    output = _output(head, pieces, "incomplete")
    return json_bytes(head.response("failed", output, ended.usage, error=response_error(error)))


def _output(head: ResponseHead, pieces: Iterable[Piece], last: str = "completed") -> list[Json]:
    """Return the output items. All items are complete, except that the last item has the status ``last``."""
    output, joined = [], joined_pieces(pieces)
    for index, piece in enumerate(joined):
        item = _Item(piece, index, head.item_id(piece, index))
        item.texts.append(piece.text)
        output.append(item.whole(last if index == len(joined) - 1 else "completed"))
    return output


def response_usage(usage: Usage | None) -> Json | None:
    """Return the token counts of a turn as in the Responses API, or ``None`` if Letta has reported none."""
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    total = usage.prompt_tokens + usage.completion_tokens if usage.total_tokens is None else usage.total_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_prompt_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": total,
    }
