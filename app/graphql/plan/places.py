"""Positions in an answer, and the errors of an answer."""

from __future__ import annotations

from typing import Any, TypeAlias

from graphql import GraphQLError, located_error

from app.graphql.answers import MAX_ERRORS, AnswerAborted, too_many_errors

Place: TypeAlias = "tuple[Place | None, str | int, bool]"
"""A position in the answer: the parent's position, the response name or index, and whether the value can be null."""


class FieldPlace:
    """A position as a ``FieldPath``. Builds the path only if a stale record is reported."""

    __slots__ = ("_place",)

    def __init__(self, place: Place) -> None:
        self._place = place

    def as_list(self) -> list[str | int]:
        """Return the names and indexes from the answer's root to the position."""
        return keys_of(self._place)


def keys_of(place: Place | None) -> list[str | int]:
    """Return the names and indexes from the answer's root to a position."""
    keys: list[str | int] = []
    while place is not None:
        place, key, _ = place
        keys.append(key)
    keys.reverse()
    return keys


def nulled_by(place: Place | None) -> Place | None:
    """Return the position that becomes null if the value at ``place`` fails (GraphQL, 6.4.4); ``None`` for the root."""
    while place is not None and not place[2]:
        place = place[0]
    return place


def is_below(place: Place | None, ancestor: Place | None) -> bool:
    """Return whether a position is ``ancestor``, or is below ``ancestor``."""
    while place is not None:
        if place == ancestor:
            return True
        place = place[0]
    return ancestor is None


class Errors:
    """The errors of an answer. Errors below a position that is already null are dropped (GraphQL, 6.4.4)."""

    __slots__ = ("_nulled", "errors")

    def __init__(self) -> None:
        self.errors: list[GraphQLError] = []
        self._nulled: set[tuple[str | int, ...]] = set()

    def has_nulled(self, place: Place | None) -> bool:
        """Return whether the position or one of its ancestors is null because of an error."""
        if not self._nulled:
            return False
        keys = tuple(keys_of(place))
        return any(keys[:size] in self._nulled for size in range(len(keys) + 1))

    def add(self, error: GraphQLError, place: Place | None) -> None:
        """Record an error, and that ``place`` is null. Raise AnswerAborted if there are too many errors."""
        if self.has_nulled(place):
            return
        self._nulled.add(tuple(keys_of(place)))
        self.errors.append(error)
        if len(self.errors) > MAX_ERRORS:
            raise too_many_errors()


def located(error: Exception, nodes: list[Any], place: Place | None) -> GraphQLError:
    """Return an error with the position at which it occurred. Raise AnswerAborted unchanged."""
    if isinstance(error, AnswerAborted):
        raise error
    return located_error(error, nodes, keys_of(place))
