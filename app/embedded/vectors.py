"""Embeddings without a model: the same words give the same vector, and shared words bring two vectors closer."""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_left

_WORD = re.compile(r"\w+")

MAX_WORDS = 5_000
"""The most different words of a text that its vector is made of: a real model reads about as much of one."""

PLACES = 16
"""How many places of a vector a word adds to. Adding to all of them would take 14 s for a text of 60,000 words."""


def words(text: str) -> list[str]:
    """A text's words, lower case."""
    return _WORD.findall(text.lower())


def embed(text: str, dimensions: int) -> list[float]:
    """A vector of length 1: the sum of the vectors of the words, of the first ``MAX_WORDS`` different ones."""
    total = [0.0] * dimensions
    for word, count in _counted(text).items():
        digest = hashlib.shake_128(word.encode()).digest(3 * PLACES)
        for at in range(0, len(digest), 3):
            place = (digest[at] << 8 | digest[at + 1]) % dimensions
            total[place] += count * (digest[at + 2] - 127.5)
    size = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / size for value in total]


def likeness(query: str, text: str) -> float:
    """How much of a query's words a text has, from 0 to 1; a word counts half when it is only the beginning of one."""
    wanted, there = words(query), sorted(set(words(text)))
    if not wanted:
        return 0.0
    return sum(_found(word, there) for word in wanted) / len(wanted)


def _counted(text: str) -> dict[str, int]:
    """How often a text has each of its first words."""
    counts: dict[str, int] = {}
    for word in words(text) or [""]:
        if word in counts or len(counts) < MAX_WORDS:
            counts[word] = counts.get(word, 0) + 1
    return counts


def _found(word: str, there: list[str]) -> float:
    at = bisect_left(there, word)
    if at == len(there) or not there[at].startswith(word):
        return 0.0
    return 1.0 if there[at] == word else 0.5
