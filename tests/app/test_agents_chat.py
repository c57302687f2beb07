"""An agent's answer as a chat completion."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.rest.agents.chat import BETWEEN, ChatStream, usage_json, whole_chat
from app.rest.agents.pieces import Pieces
from clients.usage import Usage
from resolvers.sources.turn_events import TurnStarted
from resolvers.streams.events import TextDelta
from tests.support.agent_events import AGENT, COMPLETED, assistant, deltas, reasoning


def stream(*, wants_usage: bool = False) -> ChatStream:
    return ChatStream(AGENT, "chatcmpl-1", 7, wants_usage=wants_usage)


def chunks(data: bytes) -> list[dict[str, Any]]:
    events = data.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events if event]


def text_in(data: bytes, name: str = "content") -> str:
    return "".join(one["choices"][0]["delta"].get(name, "") for one in chunks(data) if one["choices"])


def test_messages_of_one_turn_are_separated() -> None:
    events = [
        TurnStarted(),
        *deltas(reasoning(1, "ab"), "a", "b"),
        *deltas(assistant(1, "one"), "on", "e"),
        *deltas(reasoning(2, "c"), "c"),
        *deltas(assistant(2, "two"), "two"),
    ]
    writer = stream()
    data = b"".join(map(writer.of, events)) + writer.completed(COMPLETED)
    assert text_in(data) == f"one{BETWEEN}two"
    assert text_in(data, "reasoning_content") == f"ab{BETWEEN}c"
    assert data.endswith(b"data: [DONE]\n\n")
    whole = orjson.loads(whole_chat(AGENT, "chatcmpl-1", 7, Pieces().all(events), None))
    message = whole["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (f"one{BETWEEN}two", f"ab{BETWEEN}c")
    assert whole["usage"] is None


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_valid_json(text: str) -> None:
    """A model can produce half of a surrogate pair."""
    data = stream().of(TextDelta(message_id="m", text=text))
    assert json.loads(data.removeprefix(b"data: "))["choices"][0]["delta"]["content"] == text


def test_usage_is_the_last_chunk_if_it_is_requested() -> None:
    used = Usage(prompt_tokens=5, completion_tokens=2, reasoning_tokens=1, cached_prompt_tokens=3)
    ended = msgspec.structs.replace(COMPLETED, usage=used)
    last = chunks(stream(wants_usage=True).completed(ended))
    assert [one["usage"] for one in last] == [None, usage_json(used)]
    assert last[-1]["choices"] == []
    assert last[-1]["usage"]["total_tokens"] == 7
    assert "usage" not in chunks(stream().completed(ended))[0]
    assert len(chunks(stream(wants_usage=True).completed(COMPLETED))) == 1
