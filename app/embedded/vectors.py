"""Embeddings without a model: the same words give the same vector, and shared words bring two vectors closer."""

from __future__ import annotations

import hashlib
import math
import re

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """A text's words, lower case."""
    return _WORD.findall(text.lower())


def embed(text: str, dimensions: int) -> list[float]:
    """A vector of length 1: the sum of the vectors of the words."""
    total = [0.0] * dimensions
    for word in words(text) or [""]:
        for place, value in enumerate(_of_word(word, dimensions)):
            total[place] += value
    size = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / size for value in total]


def likeness(query: str, text: str) -> float:
    """How much of a query's words a text has, from 0 to 1; a word counts half when it is only the beginning of one."""
    wanted, there = words(query), set(words(text))
    if not wanted:
        return 0.0
    found = sum(1.0 if word in there else 0.5 * any(other.startswith(word) for other in there) for word in wanted)
    return found / len(wanted)


def _of_word(word: str, dimensions: int) -> list[float]:
    digest = hashlib.shake_128(word.encode()).digest(dimensions)
    return [(byte - 127.5) / 127.5 for byte in digest]
