"""Bounds on an answer while it is built: bytes, errors, and how long it blocks the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import orjson
from graphql import (
    GraphQLBoolean,
    GraphQLFloat,
    GraphQLID,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    is_leaf_type,
)
from graphql.execution.collect_fields import GroupedFieldSet

from clients.codes import Reason
from clients.errors import QueryTooComplex

MAX_ERRORS = 1_000
"""How many fields may fail before the whole answer is given up."""

HELD_FIELDS = 1_000
"""How many fields are completed in one turn of the loop, which takes about 7 ms."""

_WOKEN = 16
"""How many of those who wait for a turn have it at a time."""

_VALUE_BYTES = 8
"""What a value that is no text is counted as."""

_PUNCTUATION_BYTES = 4
"""Of a field: the quotes of its name, the colon, the comma."""

_BRACES_BYTES = 3
"""Of an object: its braces, and the comma in a list."""

_PLAIN = {GraphQLString.name: str, GraphQLID.name: str, GraphQLBoolean.name: bool}
"""Scalars of which a value of one class is sent as it is."""


class AnswerGivenUp(Exception):
    """The whole answer is given up; ``error`` says why. No field keeps it: see ``Executor.handle_field_error``."""

    def __init__(self, error: QueryTooComplex) -> None:
        super().__init__(error.message)
        self.error = error


class Kind(NamedTuple):
    """A type, whether or not it may be null: for a value that is not, the two are the same.

    Attributes:
        kept: the type that is meant, whose ``id`` finds this.
        named: the type without its non-null.
        plain: of a leaf, the class of values that are sent as they are.
        coerce: of a leaf, makes others fit to send.
        complete: of what is no leaf, the executor's method that completes a value.
        is_float: whether it is a float that is never null.
    """

    kept: Any
    named: Any
    plain: type | None = None
    coerce: Callable[[Any], Any] | None = None
    complete: str = ""
    is_float: bool = False


class Turns:
    """Shares the turns of the loop among answers: how much of the present one is taken, and which wait."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_due = False

    def take(self, fields: int) -> None:
        """Count fields that are completed in this turn."""
        self._taken += fields
        self._call()

    async def wait(self) -> None:
        """Wait until there is room in a turn: at once, where the present one has it."""
        while self._taken > HELD_FIELDS:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._call()
            await turn

    @property
    def is_over(self) -> bool:
        """Whether as much of the present turn is taken as may be."""
        return self._taken > HELD_FIELDS

    def _call(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._taken, self._is_due = 0, False
        for _ in range(min(_WOKEN, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            self._call()


class AnswerLimits:
    """The bound on answers of one schema, and what is computed once for it. ``max_bytes`` are those of its JSON."""

    def __init__(self, schema: GraphQLSchema, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.turns = Turns()
        self.kinds = _kinds_of(schema)


@cache
def _kinds_of(schema: GraphQLSchema) -> dict[int, Kind]:
    """The type of every field, and of every item of a list, by the type's ``id``."""
    kinds: dict[int, Kind] = {}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for field in kind.fields.values():
                _note(field.type, kinds)
    return kinds


def _note(kind: Any, kinds: dict[int, Kind]) -> None:
    named = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if is_leaf_type(named):
        is_float = named is not kind and named.name == GraphQLFloat.name
        known = Kind(kind, named, _PLAIN.get(named.name), named.coerce_output_value, is_float=is_float)
    elif isinstance(named, GraphQLList):
        _note(named.of_type, kinds)
        known = Kind(kind, named, complete="complete_list_value")
    elif isinstance(named, GraphQLObjectType):
        known = Kind(kind, named, complete="complete_object_value")
    else:
        known = Kind(kind, named, complete="complete_abstract_value")
    kinds[id(kind)] = known


class Answer:
    """One answer that is being built. ``left`` is how many bytes it may still have."""

    __slots__ = ("_names", "kinds", "left", "limits", "paced", "turns")

    def __init__(self, limits: AnswerLimits, *, paced: bool) -> None:
        self.limits = limits
        self.kinds = limits.kinds
        self.turns = limits.turns
        self.paced = paced
        self.left = limits.max_bytes
        self._names: dict[int, tuple[GroupedFieldSet, int]] = {}

    @property
    def is_held(self) -> bool:
        """Whether it must wait for a turn before it goes on."""
        return self.paced and self.turns.is_over

    async def turn(self) -> None:
        """Wait for a turn."""
        await self.turns.wait()

    def count(self, size: int) -> None:
        """Count bytes. Raises AnswerGivenUp."""
        self.left -= size
        if self.left < 0:
            raise self.too_large()

    def count_fields(self, fields: GroupedFieldSet) -> None:
        """Count the names of an object's fields; those of the root are in the document. Raises AnswerGivenUp."""
        known = self._names.get(id(fields))
        if known is None:
            known = fields, _BRACES_BYTES + sum(map(len, fields)) + _PUNCTUATION_BYTES * len(fields)
            self._names[id(fields)] = known
        if self.paced:
            self.turns.take(len(fields))
        self.count(known[1])

    def too_large(self) -> AnswerGivenUp:
        """What says that the answer is too large."""
        message = (
            f"The response has more than {self.limits.max_bytes:,} bytes. Request smaller pages (`first`, `last`) or "
            "fewer fields with long texts, or use several operations."
        )
        return AnswerGivenUp(QueryTooComplex(message, reason=Reason.ANSWER_SIZE))


def json_size(value: object) -> int:
    """How many bytes a leaf's value has as JSON, about."""
    if not isinstance(value, str | dict | list):
        return _VALUE_BYTES
    try:
        return len(orjson.dumps(value))
    except TypeError:  # too deep, or a number that is too long: whoever writes it says so
        return _VALUE_BYTES
