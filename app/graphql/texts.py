"""The one character that no text may have: NUL.

The platform's databases refuse it, some by failing as a whole (tried on Letta 0.16.8), others drop it unsaid. So it is
refused here, wherever a text can be given, now and in fields to come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from graphql import DocumentNode, GraphQLError, Token, TokenKind

NUL = "\0"
MESSAGE = "A string contains the character NUL (U+0000), which is not allowed."
_MAX_PLACE = 200


def nul_in_variables(variables: dict[str, Any] | None) -> str | None:
    """Find a text with NUL.

    Returns:
        Its place, such as ``input.tags[0]``, cut after 200 characters; of a name with NUL, the place of the object that
        has the name, which is empty for ``variables`` itself. ``None`` where there is none.
    """
    if not variables or not _may_have_nul(variables):
        return None
    if any(NUL in name for name in variables):
        return ""
    # a place is written only when it is asked for: to write each value's own would cost their product
    steps, waiting = [""], [_parts(variables)]
    while waiting:
        for steps[-1], value in waiting[-1]:
            if _has_nul(value):
                return _place(steps)
            if isinstance(value, dict | list):
                waiting.append(_parts(value))
                steps.append("")
                break
        else:
            waiting.pop()
            steps.pop()
    return None


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """What an object or a list has, each with the step to it."""
    if isinstance(value, dict):
        return ((f".{name}", one) for name, one in value.items())
    return ((f"[{index}]", one) for index, one in enumerate(value))


def _has_nul(value: object) -> bool:
    """Whether a text, or a name of an object, has NUL."""
    if isinstance(value, dict):
        return any(NUL in name for name in value)
    return isinstance(value, str) and NUL in value


def _place(steps: list[str]) -> str:
    place = "".join(steps)[1:]
    return place if len(place) <= _MAX_PLACE else f"{place[:_MAX_PLACE]}…"


def _may_have_nul(value: dict[str, Any]) -> bool:
    """Whether it is worth looking where: as JSON that is told at once, but for what is nested too deeply to write."""
    try:
        return b"\\u0000" in orjson.dumps(value)
    except TypeError:
        return True


def nul_in_document(document: DocumentNode) -> GraphQLError | None:
    """What is wrong with a document in which a text is written with an escaped NUL; nothing may have a bare one."""
    if document.loc is None or "\\u" not in document.loc.source.body:
        return None
    token: Token | None = document.loc.start_token
    while token is not None:
        if token.kind in {TokenKind.STRING, TokenKind.BLOCK_STRING} and NUL in (token.value or ""):
            return GraphQLError(MESSAGE, source=document.loc.source, positions=[token.start])
        token = token.next
    return None
