"""The embedded model, whose answers continue only as far as a test allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol

import pytest

from app.embedded.model import Answer, generate
from app.embedded.state import ModelStats
from tests.support.stack import until


class Hearer(Protocol):
    """A reader of an answer. ``tokens`` counts the answer's words that the reader knows."""

    what: str
    tokens: int
    task: asyncio.Task[None]


class HeldModel:
    """Holds back the words of all answers of the embedded platforms in this process, until the test allows the words.

    Attributes:
        words: each answer has at most this number of words.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words = 0
        self._allowed = asyncio.Event()
        for user in ("litellm.chat", "letta.model_calls"):
            monkeypatch.setattr(f"app.embedded.{user}.generate", self._generate)

    def allow(self, words: int) -> None:
        """Let each answer continue up to this number of words."""
        self.words = words
        self._allowed.set()
        self._allowed = asyncio.Event()

    async def say(self, words: int, readers: Sequence[Hearer], seconds: float) -> None:
        """Let each answer continue, and wait until all readers have the words."""
        self.allow(words)

        def have_heard() -> bool:
            for reader in readers:
                if reader.task.done():
                    reader.task.result()
            return all(reader.tokens >= words for reader in readers)

        try:
            await until(have_heard, seconds)
        except AssertionError as error:
            late = [f"{reader.what}: {reader.tokens}" for reader in readers if reader.tokens < words]
            raise AssertionError(f"less than {words} words:\n" + "\n".join(late)) from error

    async def _generate(self, answer: Answer, stats: ModelStats) -> AsyncIterator[str]:
        async with aclosing(generate(answer, stats)) as words:  # type: ignore[type-var]
            said = 0
            async for word in words:
                while said >= self.words:
                    await self._allowed.wait()
                said += 1
                yield word
