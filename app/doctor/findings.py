"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from app.doctor.secrecy import hide


class Status(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """The gateway works, but not as well as it could, or not for long."""
    PROBLEM = "problem"
    """A part of the gateway does not work."""
    SKIPPED = "skipped"
    """The check was not made. ``found`` gives the reason."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        found: what the check has found, with the value.
        cure: what the operator must do. Every warning and every problem has a cure.
    """

    status: Status
    found: str
    cure: str | None = None


def ok(found: str) -> Finding:
    """Return the finding of a check that has found nothing wrong."""
    return Finding(Status.OK, found)


def warning(found: str, cure: str) -> Finding:
    """Return the finding of a check that has found a weakness."""
    return Finding(Status.WARNING, found, cure)


def problem(found: str, cure: str) -> Finding:
    """Return the finding of a check that has found an error."""
    return Finding(Status.PROBLEM, found, cure)


def skipped(reason: str) -> Finding:
    """Return the finding of a check that was not made."""
    return Finding(Status.SKIPPED, reason)


class NotChecked(Exception):
    """A check cannot be made. The message gives the reason."""


def listed(names: Iterable[str], most: int = 5) -> str:
    """Join names, of which at most ``most`` are written out."""
    known = [shown(name) for name in names]
    rest = len(known) - most
    return ", ".join(known[:most]) + (f" and {rest} more" if rest > 0 else "")


def shown(text: object, most: int = 100) -> str:
    """Return a server's text for an operator: without secrets, printable, on one line, of at most ``most`` characters.

    Secrets are hidden first, because the output would show a part of a secret that is cut.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in hide(str(text)))
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def bare_url(text: str) -> str:
    """Return a server's URL without what can contain secrets: user name, password, query and fragment."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "another address"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
