"""Searches a document and its variables for the character NUL.

Some services' databases fail on NUL, such as Letta 0.16.8's. Others drop NUL silently.
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
    """Return the path of a string that contains NUL, such as ``input.tags[0]``, or ``None`` if no string does.

    If a name contains NUL, return its object's path. The path of ``variables`` itself is empty.
    """
    if not variables or not _may_have_nul(variables):
        return None
    if any(NUL in name for name in variables):
        return ""
    # only the found value's path is joined: joining the path of each value would take quadratic time
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
    if isinstance(value, dict):
        return ((f".{name}", one) for name, one in value.items())
    return ((f"[{index}]", one) for index, one in enumerate(value))


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(NUL in name for name in value)
    return isinstance(value, str) and NUL in value


def _path(steps: list[str]) -> str:
    path = "".join(steps)[1:]
    return path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"


def _may_have_nul(value: dict[str, Any]) -> bool:
    """Return whether a value may contain NUL. If the value is nested too deeply for JSON encoding, return ``True``."""
    try:
        return b"\\u0000" in orjson.dumps(value)
    except TypeError:
        return True


def nul_in_document(document: DocumentNode) -> GraphQLError | None:
    """Return an error if a string in the document contains an escaped NUL. The lexer refuses an unescaped NUL."""
    if document.loc is None or "\\u" not in document.loc.source.body:
        return None
    token: Token | None = document.loc.start_token
    while token is not None:
        if token.kind in {TokenKind.STRING, TokenKind.BLOCK_STRING} and NUL in (token.value or ""):
            return GraphQLError(MESSAGE, source=document.loc.source, positions=[token.start])
        token = token.next
    return None
