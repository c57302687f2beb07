"""Describes the gateway's limits for ``docs/limits.md``."""

from dataclasses import dataclass

from app.settings import Settings
from clients.codes import ErrorCode, Reason


@dataclass(frozen=True, slots=True)
class Bound:
    """Describes one limit for ``docs/limits.md``, such as a request body's maximum size.

    Attributes:
        key: identifies the limit in tests. The tests of a limit are marked ``bound(key)``.
        what: the limited quantity.
        past: what happens if the limit is exceeded.
        amount: the limit with its unit. ``{}`` stands for the default of ``setting``.
        setting: the field of ``Settings`` that sets the limit.
    """

    key: str
    what: str
    past: str
    amount: str = "{}"
    setting: str | None = None

    def most(self) -> str:
        """Return the limit as text. If a setting changes the limit, the text contains the setting's name."""
        if self.setting is None:
            return self.amount
        default = f"{Settings.model_fields[self.setting].default:,}".removesuffix(".0")
        return f"{self.amount.format(default)} (`{self.setting.upper()}`)"


def shared(what: str, past: str, **amounts: str) -> tuple[Bound, ...]:
    """Return one ``Bound`` for each keyword argument. The argument's name is the key, and its value is the amount.

    The bounds have the same ``what`` and ``past``.
    """
    return tuple(Bound(key.replace("_", "-"), what, past, amount) for key, amount in amounts.items())


def refused(code: ErrorCode, reason: Reason | None = None) -> str:
    """Format an error code and an optional reason as Markdown."""
    return f"`{code.value}`" if reason is None else f"`{code.value}`, `{reason}`"


def bad(reason: Reason) -> str:
    """Format the error code ``BAD_USER_INPUT`` and a reason as Markdown."""
    return refused(ErrorCode.BAD_USER_INPUT, reason)


def too_complex(reason: Reason) -> str:
    """Format the error code ``QUERY_TOO_COMPLEX`` and a reason as Markdown."""
    return refused(ErrorCode.QUERY_TOO_COMPLEX, reason)


def size(count: int) -> str:
    """Format a number of bytes in MiB, KiB or bytes."""
    for unit, bytes_ in (("MiB", 2**20), ("KiB", 2**10)):
        if count % bytes_ == 0:
            return f"{count // bytes_:,} {unit}"
    return f"{count:,} bytes"
