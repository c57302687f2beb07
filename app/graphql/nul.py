"""Search for the character NUL in a document and in variables.

Some databases of the services fail on it (Letta 0.16.8), others drop it silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from graphql import DocumentNode, GraphQLError, Token, TokenKind

NUL = "\0"
MESSAGE = "A string contains the character NUL (U+0000), which is not allowed."
_MAX_PATH = 200


def nul_in_variables(variables: dict[str, Any] | None) -> str | None:
    """Return the path of a string with NUL, such as ``input.tags[0]``, cut after 200 characters.

    If a name has NUL, the path is that of its object: empty for ``variables`` itself. ``None`` if NUL occurs nowhere.
    """
    if not variables or not _may_have_nul(variables):
        return None
    if any(NUL in name for name in variables):
        return ""
    # only the path of the found value is joined: joining one for each value would take quadratic time
    steps, levels = [""], [_parts(variables)]
    while levels:
        for steps[-1], value in levels[-1]:
            if _has_nul(value):
                return _path(steps)
            if isinstance(value, dict | list):
                levels.append(_parts(value))
                steps.append("")
                break
        else:
            levels.pop()
            steps.pop()
    return None


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """Return the values of an object or list, each with its step in a path."""
    if isinstance(value, dict):
        return ((f".{name}", one) for name, one in value.items())
    return ((f"[{index}]", one) for index, one in enumerate(value))


def _has_nul(value: object) -> bool:
    """Whether a string, or a name of an object, has NUL."""
    if isinstance(value, dict):
        return any(NUL in name for name in value)
    return isinstance(value, str) and NUL in value


def _path(steps: list[str]) -> str:
    path = "".join(steps)[1:]
    return path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"


def _may_have_nul(value: dict[str, Any]) -> bool:
    """Whether a search is needed. Its JSON shows it fast, unless it is nested too deeply to encode."""
    try:
        return b"\\u0000" in orjson.dumps(value)
    except TypeError:
        return True


def nul_in_document(document: DocumentNode) -> GraphQLError | None:
    """Return the error of a document with an escaped NUL in a string. The lexer refuses a bare NUL."""
    if document.loc is None or "\\u" not in document.loc.source.body:
        return None
    token: Token | None = document.loc.start_token
    while token is not None:
        if token.kind in {TokenKind.STRING, TokenKind.BLOCK_STRING} and NUL in (token.value or ""):
            return GraphQLError(MESSAGE, source=document.loc.source, positions=[token.start])
        token = token.next
    return None
