"""Limits on an answer while it is built: its bytes, its errors, and how long it blocks the event loop."""

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
"""The most fields that can fail before the whole answer is given up."""

PACED_FIELDS = 1_000
"""The most fields that are completed in one iteration of the event loop, in about 7 ms."""

_WOKEN = 16
"""The most answers that continue in one iteration."""

_VALUE_BYTES = 8
"""The assumed size of a value that is not a string."""

_PUNCTUATION_BYTES = 4
"""Of a field: the quotes of its name, the colon, the comma."""

_BRACES_BYTES = 3
"""Of an object: its braces, and the comma in a list."""

_PLAIN = {GraphQLString.name: str, GraphQLID.name: str, GraphQLBoolean.name: bool}
"""Scalars, each with the class whose values need no coercion."""


class AnswerGivenUp(Exception):
    """The whole answer is given up because of ``error``."""

    def __init__(self, error: QueryTooComplex) -> None:
        super().__init__(error.message)
        self.error = error


class Kind(NamedTuple):
    """How values of a type are completed. Nullability does not matter for a value that is not null.

    Attributes:
        kept: the type. The reference keeps its ``id`` valid, by which this is found.
        named: the type without its non-null.
        plain: of a leaf type, the class of values that need no coercion.
        coerce: of a leaf type, coerces other values.
        complete: of other types, the name of the executor's method that completes a value.
        is_float: whether it is a non-null float.
    """

    kept: Any
    named: Any
    plain: type | None = None
    coerce: Callable[[Any], Any] | None = None
    complete: str = ""
    is_float: bool = False


class FieldPacer:
    """Shares the iterations of the event loop among answers, so that none blocks it for long."""

    def __init__(self) -> None:
        self._completed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    def take(self, fields: int) -> None:
        """Count fields that are completed in this iteration."""
        self._completed += fields
        self._schedule()

    async def wait(self) -> None:
        """Return in an iteration that has room for more fields, at once if the current one has."""
        while self._completed > PACED_FIELDS:
            resumed = asyncio.get_running_loop().create_future()
            self._waiting.append(resumed)
            self._schedule()
            await resumed

    @property
    def is_full(self) -> bool:
        """Whether the current iteration has no room for more fields."""
        return self._completed > PACED_FIELDS

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._completed, self._is_scheduled = 0, False
        for _ in range(min(_WOKEN, len(self._waiting))):
            resumed = self._waiting.popleft()
            if not resumed.done():
                resumed.set_result(None)
        if self._waiting:
            self._schedule()


class AnswerLimits:
    """The limits on answers of one schema: ``max_bytes`` of JSON, and the pacer that they share."""

    def __init__(self, schema: GraphQLSchema, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.pacer = FieldPacer()
        self.kinds = _kinds_of(schema)


@cache
def _kinds_of(schema: GraphQLSchema) -> dict[int, Kind]:
    """Return the kind of every type of a field or list item, by the type's ``id``."""
    kinds: dict[int, Kind] = {}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for field in kind.fields.values():
                _add_kind(field.type, kinds)
    return kinds


def _add_kind(kind: Any, kinds: dict[int, Kind]) -> None:
    named = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if is_leaf_type(named):
        is_float = named is not kind and named.name == GraphQLFloat.name
        known = Kind(kind, named, _PLAIN.get(named.name), named.coerce_output_value, is_float=is_float)
    elif isinstance(named, GraphQLList):
        _add_kind(named.of_type, kinds)
        known = Kind(kind, named, complete="complete_list_value")
    elif isinstance(named, GraphQLObjectType):
        known = Kind(kind, named, complete="complete_object_value")
    else:
        known = Kind(kind, named, complete="complete_abstract_value")
    kinds[id(kind)] = known


class Answer:
    """One answer while it is built. ``left`` is how many more bytes it can have."""

    __slots__ = ("_names", "kinds", "left", "limits", "paced", "pacer")

    def __init__(self, limits: AnswerLimits, *, paced: bool) -> None:
        self.limits = limits
        self.kinds = limits.kinds
        self.pacer = limits.pacer
        self.paced = paced
        self.left = limits.max_bytes
        self._names: dict[int, tuple[GroupedFieldSet, int]] = {}

    @property
    def must_wait(self) -> bool:
        """Whether the answer must wait for the next iteration."""
        return self.paced and self.pacer.is_full

    async def wait(self) -> None:
        """Wait for an iteration with room for more fields."""
        await self.pacer.wait()

    def count(self, size: int) -> None:
        """Count bytes. Raises AnswerGivenUp."""
        self.left -= size
        if self.left < 0:
            raise self.too_large()

    def count_fields(self, fields: GroupedFieldSet) -> None:
        """Count the names of an object's fields. Raises AnswerGivenUp."""
        known = self._names.get(id(fields))
        if known is None:
            known = fields, _BRACES_BYTES + sum(map(len, fields)) + _PUNCTUATION_BYTES * len(fields)
            self._names[id(fields)] = known
        if self.paced:
            self.pacer.take(len(fields))
        self.count(known[1])

    def too_large(self) -> AnswerGivenUp:
        """Return the error for an answer that is too large."""
        message = (
            f"The response has more than {self.limits.max_bytes:,} bytes. Request smaller pages (`first`, `last`) or "
            "fewer fields with long texts, or use several operations."
        )
        return AnswerGivenUp(QueryTooComplex(message, reason=Reason.ANSWER_SIZE))


def json_size(value: object) -> int:
    """Estimate the bytes of a leaf value in JSON."""
    if not isinstance(value, str | dict | list):
        return _VALUE_BYTES
    try:
        return len(orjson.dumps(value))
    except TypeError:  # nested too deeply or too large a number: the response cannot be encoded either
        return _VALUE_BYTES
