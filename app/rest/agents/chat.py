"""Writes an agent's answer as a chat completion in OpenAI's format, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from app.rest.agents.pieces import Piece, Pieces, joined_pieces
from app.rest.agents.written import json_bytes
from app.rest.envelope import error_event
from clients.errors import GatewayError
from clients.usage import Usage
from resolvers.streams.events import Ended, Event, Started

BETWEEN = "\n\n"
"""Separates the texts of several messages, because OpenAI's format has one message for each answer."""

_DONE = b"data: [DONE]\n\n"


class ChatStream:
    """Writes one answer as chunks of a chat completion.

    Args:
        model: the agent's id.
        answer_id: the id of the completion.
        created: the time at which the turn began, in seconds since 1970.
        wants_usage: whether the client has requested a chunk with the usage.
    """

    def __init__(self, model: str, answer_id: str, created: int, *, wants_usage: bool) -> None:
        head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = orjson.dumps(head).removesuffix(b"}")
        self._usage = b',"usage":null}\n\n' if wants_usage else b"}\n\n"
        self._wants_usage = wants_usage
        self._last: dict[bool, str] = {}
        self.pieces = Pieces()

    def of(self, event: Event) -> bytes:
        """Return the chunk of an event, which is empty if the event has no text."""
        if isinstance(event, Started):
            return self._chunk(b'{"role":"assistant","content":""}')
        piece = self.pieces.of(event)
        if piece is None:
            return b""
        name = b"reasoning_content" if piece.is_reasoning else b"content"
        last, self._last[piece.is_reasoning] = self._last.get(piece.is_reasoning), piece.message_id
        text = piece.text if last in {None, piece.message_id} else BETWEEN + piece.text
        return self._chunk(b'{"%b":%b}' % (name, json_bytes(text)))

    def completed(self, ended: Ended) -> bytes:
        """Return the last chunks of a complete answer."""
        last = self._chunk(b"{}", b'"stop"')
        if self._wants_usage and (usage := usage_json(ended.usage)) is not None:
            last += b'data: %b,"choices":[],"usage":%b}\n\n' % (self._head, orjson.dumps(usage))
        return last + _DONE

    def failed(self, error: GatewayError) -> bytes:
        """Return the event that ends a failed answer."""
        return error_event(error)

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (delta, finish)
        return b'data: %b,"choices":[%b]%b' % (self._head, choice, self._usage)


def whole_chat(model: str, answer_id: str, created: int, pieces: Iterable[Piece], usage: Usage | None) -> bytes:
    """Return a complete answer as a chat completion. The arguments are those of ``ChatStream``."""
    joined = joined_pieces(pieces)
    texts, thoughts = (BETWEEN.join(one.text for one in joined if one.is_reasoning is kind) for kind in (False, True))
    reasoning = b',"reasoning_content":%b' % json_bytes(thoughts) if thoughts else b""
    head = {"id": answer_id, "object": "chat.completion", "created": created, "model": model}
    message = b'{"role":"assistant","content":%b,"refusal":null%b}' % (json_bytes(texts), reasoning)
    choice = b'{"index":0,"message":%b,"logprobs":null,"finish_reason":"stop"}' % message
    counted = orjson.dumps(usage_json(usage))
    return b'%b,"choices":[%b],"usage":%b}' % (orjson.dumps(head).removesuffix(b"}"), choice, counted)


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """Return the token counts of a turn in OpenAI's format, or ``None`` if Letta has reported none."""
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    total = usage.prompt_tokens + usage.completion_tokens if usage.total_tokens is None else usage.total_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }
