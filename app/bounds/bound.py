"""A bound and its row in ``docs/limits.md``."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings import Settings
from clients.codes import ErrorCode, Reason


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on requests, resources or answers of a client.

    Attributes:
        key: the name in tests: a test at the bound and one beyond it are marked ``bound(key)``.
        what: the bounded quantity.
        past: the effect beyond the bound.
        amount: the bound as text; empty if ``setting`` has it.
        setting: the field of ``Settings`` that sets the bound.
    """

    key: str
    what: str
    past: str
    amount: str = ""
    setting: str | None = None

    def row(self) -> str:
        """Return the row of the table."""
        amount = self.amount or f"{Settings.model_fields[self.setting or ''].default:,}"
        setting = f"`{self.setting.upper()}`" if self.setting else ""
        return f"| {self.what} | {amount} | {setting} | {self.past} |\n"


def refused(code: ErrorCode, reason: Reason | None = None) -> str:
    """Format a refusal with code and reason."""
    return f"`{code.value}`" if reason is None else f"`{code.value}`, `{reason}`"


def bad(reason: Reason) -> str:
    """Format a refusal of bad input with its reason."""
    return refused(ErrorCode.BAD_USER_INPUT, reason)


def too_complex(reason: Reason) -> str:
    """Format a refusal of a document or operation with its reason."""
    return refused(ErrorCode.QUERY_TOO_COMPLEX, reason)


def size(count: int) -> str:
    """Format a number of bytes."""
    for unit, bytes_ in (("MiB", 2**20), ("KiB", 2**10)):
        if count % bytes_ == 0:
            return f"{count // bytes_:,} {unit}"
    return f"{count:,} bytes"
