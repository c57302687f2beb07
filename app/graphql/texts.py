"""The one character that no text may have: NUL.

The platform's databases refuse it, some by failing as a whole (tried on Letta 0.16.8), others drop it unsaid. So it is
refused here, wherever a text can be given, now and in fields to come.
"""

from __future__ import annotations

from typing import Any

import orjson
from graphql import DocumentNode, GraphQLError, Token, TokenKind

NUL = "\0"
MESSAGE = "A text has the character NUL."


def nul_in_variables(variables: dict[str, Any] | None) -> str | None:
    """The place of a text with NUL, such as ``input.tags[0]``; of a name with it, the place of what has the name."""
    if not variables or not _may_have_nul(variables):
        return None
    waiting: list[tuple[str, Any]] = [("", variables)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str) and NUL in value:
            return place
        if isinstance(value, dict):
            if any(NUL in name for name in value):
                return place
            waiting += ((f"{place}.{name}" if place else name, one) for name, one in value.items())
        elif isinstance(value, list):
            waiting += ((f"{place}[{index}]", one) for index, one in enumerate(value))
    return None


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
