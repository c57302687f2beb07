"""Tracebacks for the log, without the values in exceptions' messages.

The message of an exception such as ``KeyError`` can repeat a token or a prompt. A traceback shows a message only if the
exception's class never has a value in the message.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from typing import Any

from clients.errors import GatewayError

HIDDEN = "(message hidden)"

MAX_CHAIN = 10
"""Maximum number of exceptions in one traceback."""

_SHOWN = (GatewayError, ArithmeticError, AttributeError, ImportError, MemoryError, NameError, RecursionError, TypeError)
"""The classes whose messages name only types and names in the code, or that are written for clients."""


def with_traceback(entry: dict[str, Any]) -> None:
    """Replace an entry's ``exc_info`` by its traceback."""
    error = entry.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        error = sys.exception()
    if isinstance(error, BaseException):
        entry["exception"] = formatted(error)


def formatted(error: BaseException) -> str:
    """Return an exception's traceback with the exceptions that caused it, oldest first."""
    chain: list[BaseException] = []
    for one in _chain(error):
        if one in chain or len(chain) == MAX_CHAIN:
            break
        chain.append(one)
    return "\n".join("".join([*_frames(one), summary(one)]) for one in reversed(chain))


def summary(error: BaseException) -> str:
    """Return an exception's class, and its message if the message can be logged."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, OSError):
        text = error.strerror if isinstance(error.strerror, str) else ""
    else:
        text = str(error) if isinstance(error, _SHOWN) else HIDDEN
    inner = [f"\n[{formatted(one)}]" for one in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return "".join([kind, f": {text}" if text else "", *inner[:MAX_CHAIN]])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _frames(error: BaseException) -> list[str]:
    if error.__traceback__ is None:
        return []
    return ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
