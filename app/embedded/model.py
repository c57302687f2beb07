"""A deterministic model that streams words at a human pace.

A directive in the last user message steers it, for tests and demonstrations:
``[[tokens=5 delay=0.01 first=0 error=429|400|500|503|ctx|hang|cut reasoning=1 tool=NAME]]``. With ``tokens`` it says
``tok0 tok1 …``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

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

    @property
    def words(self) -> list[str]:
        """The text, word by word."""
        return _WORDS.findall(self.text)


def text_of(message: Json) -> str:
    """The words of an OpenAI message."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def answer_to(messages: list[Json], *, words_per_second: float) -> Answer:
    """What the model says to a conversation: the same to the same."""
    asked = next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")
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
    )


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
