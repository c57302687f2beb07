"""Reports the stale records of an answer: ``extensions.stale``."""

from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from clients.errors import Service

REVALIDATING = "REVALIDATING"
"""The reason for a stale record that the gateway reads again in the background."""

SLOW = "SLOW"
"""The reason for a stale record whose service has not answered yet."""

MAX_LISTED = 200
"""The maximum number of fields that an answer lists as stale."""


class FieldPath(Protocol):
    """A field's path in an answer."""

    def as_list(self) -> list[str | int]:
        """Return the names and indexes from the answer's root to the field."""


FIELD: ContextVar[FieldPath | None] = ContextVar("FIELD", default=None)
"""The path of the field that a resolver runs for. The engine sets the path."""


class Stale(NamedTuple):
    """Why a record is older than usual. ``age`` is in seconds, and ``reason`` is the reason of a failed call."""

    service: Service
    age: float
    reason: str


class StaleReads:
    """The fields of one answer that have read stale records. For each field, the oldest record counts."""

    def __init__(self) -> None:
        self._found: dict[tuple[str | int, ...], Stale] = {}
        self._oldest: Stale | None = None

    def note(self, stale: Stale) -> None:
        """Record that the current field has read a stale record."""
        path = FIELD.get()
        place = () if path is None else tuple(path.as_list())
        if self._oldest is None or stale.age > self._oldest.age:
            self._oldest = stale
        if place in self._found or len(self._found) <= MAX_LISTED:
            known = self._found.get(place)
            self._found[place] = stale if known is None or stale.age > known.age else known

    def report(self) -> list[dict[str, Any]] | None:
        """Return the value of ``extensions.stale``, or ``None`` if no record is stale.

        If more than ``MAX_LISTED`` fields are stale, the only item stands for the whole answer.
        """
        if self._oldest is None:
            return None
        if len(self._found) > MAX_LISTED:
            return [_item((), self._oldest)]
        return [_item(place, stale) for place, stale in self._found.items()]


def _item(place: tuple[str | int, ...], stale: Stale) -> dict[str, Any]:
    return {
        "path": list(place),
        "ageSeconds": round(stale.age, 1),
        "service": stale.service.value,
        "reason": str(stale.reason),
    }
