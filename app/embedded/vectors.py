"""Embeddings without a model: texts with the same words have similar vectors."""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_left

_WORD = re.compile(r"\w+")

MAX_WORDS = 5_000
"""The maximum number of a text's distinct words that affect the text's vector. Embedding models have a similar limit.
"""

COMPONENTS = 16
"""The number of vector components that one word changes.

If a word changed all components, a text of 60,000 words would take 14 seconds.
"""


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return _WORD.findall(text.lower())


def embed(text: str, dimensions: int) -> list[float]:
    """Return a text's vector: the normalized sum of its words' vectors.

    Only the first ``MAX_WORDS`` distinct words count.
    """
    total = [0.0] * dimensions
    for word, count in _counted(text).items():
        digest = hashlib.shake_128(word.encode()).digest(3 * COMPONENTS)
        for at in range(0, len(digest), 3):
            index = (digest[at] << 8 | digest[at + 1]) % dimensions
            total[index] += count * (digest[at + 2] - 127.5)
    size = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / size for value in total]


def similarity(query: str, text: str) -> float:
    """Return the share of a query's words that a text contains, from 0 to 1.

    If only a word's prefix matches, the word counts half.
    """
    query_words, text_words = words(query), sorted(set(words(text)))
    if not query_words:
        return 0.0
    return sum(_score(word, text_words) for word in query_words) / len(query_words)


def _counted(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words(text) or [""]:
        if word in counts or len(counts) < MAX_WORDS:
            counts[word] = counts.get(word, 0) + 1
    return counts


def _score(word: str, text_words: list[str]) -> float:
    at = bisect_left(text_words, word)
    if at == len(text_words) or not text_words[at].startswith(word):
        return 0.0
    return 1.0 if text_words[at] == word else 0.5
