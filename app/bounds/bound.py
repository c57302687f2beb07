"""A bound, and how ``docs/limits.md`` writes it."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings import Settings
from clients.codes import ErrorCode, Reason


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on what a client can send, hold or receive.

    Attributes:
        key: its name in tests: each bound has a test at it and one past it, marked ``bound(key)``.
        what: what is bounded.
        past: what happens past it.
        amount: how much there may be; empty where ``setting`` has it.
        setting: the field of ``Settings`` that changes it.
    """

    key: str
    what: str
    past: str
    amount: str = ""
    setting: str | None = None

    def row(self) -> str:
        """Return it as a row of the table."""
        amount = self.amount or f"{Settings.model_fields[self.setting or ''].default:,}"
        setting = f"`{self.setting.upper()}`" if self.setting else ""
        return f"| {self.what} | {amount} | {setting} | {self.past} |\n"


def refused(code: ErrorCode, reason: Reason | None = None) -> str:
    """Write a refusal by its code and reason."""
    return f"`{code.value}`" if reason is None else f"`{code.value}`, `{reason}`"


def bad(reason: Reason) -> str:
    """Write a refusal of bad input by its reason."""
    return refused(ErrorCode.BAD_USER_INPUT, reason)


def too_complex(reason: Reason) -> str:
    """Write a refusal of a document or an operation by its reason."""
    return refused(ErrorCode.QUERY_TOO_COMPLEX, reason)


def size(count: int) -> str:
    """Write a number of bytes."""
    for unit, bytes_ in (("MiB", 2**20), ("KiB", 2**10)):
        if count % bytes_ == 0:
            return f"{count // bytes_:,} {unit}"
    return f"{count:,} bytes"
