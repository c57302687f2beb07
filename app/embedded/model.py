"""A deterministic model that streams words at a human pace.

A directive in the last user message steers it, for tests and demonstrations:
``[[tokens=5 delay=0.01 first=0 error=429|400|500|503|ctx|hang|cut reasoning=1 tool=NAME approve=1]]``. With ``tokens``
it says ``tok0 tok1 …``; with ``tool`` it calls that tool first, and with ``approve`` the call waits for a person's
leave.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from app.embedded.state import Json, ModelStats

_DIRECTIVE = re.compile(r"\[\[(.*?)\]\]")
_WORDS = re.compile(r"\S+\s*")
_OPENINGS = (
    "Good question.",
    "Let me think that through with you.",
    "Here is how I see it.",
    "Happy to help.",
)
_CLOSINGS = (
    "Tell me where you would like to go deeper.",
    "Shall I take the next step?",
    "That should get you started.",
)


class ModelFailure(Exception):
    """The model refuses; ``kind`` is the directive's ``error``."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """What the model is going to say, and how fast."""

    reasoning: str
    text: str
    tool: str | None
    first: float
    delay: float
    error: str | None
    prompt_tokens: int
    approve: bool = False

    @property
    def words(self) -> list[str]:
        """The text, word by word."""
        return _WORDS.findall(self.text)

    def after(self, tool: str, *, approve: bool) -> Answer:
        """What is said instead once a person has decided about a call; a text that was asked for stays."""
        if self.text.startswith("tok0"):
            return self
        said = f"Thank you. I have called {tool}, and it is done." if approve else f"All right, I leave {tool} alone."
        return replace(self, text=f"{said} {self.text.split('. ', 1)[-1]}", error=None)


def text_of(message: Json) -> str:
    """The words of an OpenAI message."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def answer_to(messages: list[Json], *, words_per_second: float) -> Answer:
    """What the model says to a conversation: the same to the same."""
    asked = words_of(messages)
    match = _DIRECTIVE.search(asked)
    said = dict(part.partition("=")[::2] for part in match[1].split()) if match else {}
    text = "tok" + " tok".join(str(n) for n in range(int(said["tokens"]))) if "tokens" in said else _speech(asked)
    return Answer(
        reasoning="They want something; I will be brief and concrete." if said.get("reasoning") else "",
        text=text,
        tool=said.get("tool"),
        first=float(said.get("first", 0)),
        delay=float(said.get("delay", 1 / words_per_second)),
        error=said.get("error"),
        prompt_tokens=max(1, sum(len(text_of(message)) for message in messages) // 4),
        approve=said.get("approve", "0") != "0",
    )


def words_of(messages: list[Json]) -> str:
    """What the user said last."""
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def instance_of(schema: Any, text: str) -> Any:
    """Something that fits a JSON schema, with ``text`` for a string: a tool's arguments, or an answer in JSON."""
    if not isinstance(schema, dict):
        return text
    if _list(schema.get("enum")):
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            given = schema.get("properties")
            properties = given if isinstance(given, dict) else {}
            names = [name for name in _list(schema.get("required")) if isinstance(name, str)] or list(properties)
            return {name: instance_of(properties.get(name), text) for name in names}
        case "array":
            return [instance_of(schema.get("items"), text)]
        case "integer":
            return 1
        case "number":
            return 1.0
        case "boolean":
            return True
        case "null":
            return None
    return text


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _speech(asked: str) -> str:
    seed = sum(asked.encode())
    subject = re.sub(r"\s+", " ", asked).strip(" ?!.")[:80] or "that"
    return (
        f"{_OPENINGS[seed % len(_OPENINGS)]} You asked about “{subject}”. First, settle what a good result looks like. "
        "Then take the smallest step that shows whether you are right, look at what comes back, and go on from there. "
        f"{_CLOSINGS[seed % len(_CLOSINGS)]}"
    )


async def speak(answer: Answer, stats: ModelStats) -> AsyncIterator[str]:
    """The words as they come, counted. Raises ModelFailure before the first or, for ``cut``, in the middle."""
    stats.total += 1
    stats.inflight += 1
    ended = False
    try:
        if answer.error == "hang":
            await asyncio.Event().wait()
        if answer.error not in {None, "cut"}:
            ended = True
            raise ModelFailure(answer.error or "500")
        await asyncio.sleep(answer.first)
        words = answer.words
        for index, word in enumerate(words):
            if answer.error == "cut" and index == max(1, len(words) // 2):
                ended = True
                raise ModelFailure("cut")
            yield word
            await asyncio.sleep(answer.delay)
        ended = True
    finally:
        stats.inflight -= 1
        stats.disconnected += not ended
