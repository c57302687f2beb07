"""Hides secrets in the output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote

_HIDDEN = "(hidden)"

_SHORTEST = 4
"""Shorter secrets are not searched, because they are parts of many words."""

_SHORTEST_WITHIN_WORDS = 12
"""Shorter secrets that can be words or numbers are searched only as whole words."""


class Secrets:
    """What the output must not contain: each text, also in percent-encoding (RFC 3986, 2.1)."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        forms = {form for text in texts for form in (text, quote(text, safe="", errors="replace"))}
        longest_first = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        """Replace all secrets in a text."""
        return text if self._pattern is None else self._pattern.sub(_HIDDEN, text)


def _pattern(form: str) -> str:
    can_be_word = len(form) < _SHORTEST_WITHIN_WORDS and (form.isalpha() or form.isdecimal())
    return rf"(?<!\w){form}(?!\w)" if can_be_word else re.escape(form)


_CURRENT: ContextVar[Secrets | None] = ContextVar("secrets", default=None)
"""The secrets of the installation that is checked, while it is checked."""


@contextmanager
def hiding(secrets: Secrets) -> Iterator[None]:
    """Let ``hide`` replace these secrets, also in tasks that are created meanwhile."""
    token = _CURRENT.set(secrets)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def hide(text: str) -> str:
    """Replace the secrets of the installation that is checked."""
    secrets = _CURRENT.get()
    return text if secrets is None else secrets.hide(text)
