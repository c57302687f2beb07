"""The model's reply to a completion: text or tool calls, and the deltas in which a reply is streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import orjson

from app.embedded.litellm.calling import Calls, calls_of
from app.embedded.model import Answer, counted, instance_of
from app.embedded.state import Json
from app.embedded.vectors import words


@dataclass(frozen=True)
class Reply:
    """An answer as text or tool calls. ``finish`` is the finish reason."""

    answer: Answer
    finish: str
    calls: Calls | None = None

    @property
    def tokens(self) -> int:
        """The number of completion tokens in the reply."""
        if self.calls is None:
            return len(self.answer.words)
        return sum(len(words(call.arguments)) for call in self.calls.calls)


class Sent:
    """The deltas that a client has received before it disconnects. The client pays for their tokens."""

    def __init__(self) -> None:
        self._text = self._reasoning = ""
        self._calls: dict[int, Json] = {}

    def add(self, delta: Json) -> Json:
        """Add a delta, and return the delta."""
        self._text += delta.get("content") or ""
        self._reasoning += delta.get("reasoning_content") or ""
        for piece in delta.get("tool_calls") or []:
            call = self._calls.setdefault(piece["index"], {"function": {"arguments": "", "name": None}, "id": None})
            call["id"] = call["id"] or piece.get("id")
            call["function"]["name"] = call["function"]["name"] or piece["function"].get("name")
            call["function"]["arguments"] += piece["function"]["arguments"]
        return delta

    @property
    def tokens(self) -> int:
        """The number of tokens."""
        calls = [orjson.dumps({**call, "type": "function"}).decode() for call in self._calls.values()]
        return counted(self._text + "".join(calls)) + counted(self._reasoning)


def reply_to(body: Json, answer: Answer) -> Reply:
    """Return the reply in the requested form: tool calls, JSON or text, within the token limit.

    Raises:
        Refused: the tool choice names a tool that the request does not offer.
    """
    if (calls := calls_of(body, answer)) is not None:
        return Reply(replace(answer, text=""), calls.finish, calls)
    form = body.get("response_format") or {}
    if form.get("type") == "json_object":
        answer = replace(answer, text=orjson.dumps({"answer": answer.text}).decode())
    elif form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema")
        answer = replace(answer, text=orjson.dumps(instance_of(schema, answer.text)).decode())
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and 0 < limit < len(answer.words):
        return Reply(replace(answer, text="".join(answer.words[:limit])), "length")
    return Reply(answer, "stop")


async def deltas(reply: Reply, first: str, generated: AsyncIterator[str]) -> AsyncIterator[Json]:
    """Yield the deltas of a streamed reply. ``first`` is the text's first word.

    The role, the reasoning and the calls come before the text. Raises ModelFailure for a failing model.
    """
    if reply.calls is not None:
        yield {"role": "assistant"}
        for delta in reply.calls.deltas():
            yield delta
    else:
        yield {"content": "", "role": "assistant"}
        if reply.answer.reasoning:
            yield {"reasoning_content": reply.answer.reasoning}
        yield {"content": first}
    async for word in generated:
        if reply.calls is None:
            yield {"content": word}
