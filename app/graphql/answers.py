"""Limits an answer's size, number of errors, and time on the event loop."""

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
"""Maximum number of failed fields in an answer. If more fields fail, the gateway aborts the answer."""

PACED_FIELDS = 1_000
"""Maximum number of fields that one iteration of the event loop completes. 1,000 fields take about 7 ms."""

_WOKEN = 16
"""Maximum number of waiting answers that one iteration of the event loop resumes."""

VALUE_BYTES = 8
"""The assumed size of a value that is not a string, in bytes of JSON."""

PUNCTUATION_BYTES = 4
"""The size of a field without its name and value: two quotes, a colon, a comma."""

BRACES_BYTES = 3
"""The size of an object without its fields: two braces, and a comma in a list."""

_PLAIN = {GraphQLString.name: str, GraphQLID.name: str, GraphQLBoolean.name: bool}
"""Maps scalar types to Python classes. Values of the type's class need no coercion."""


class AnswerAborted(Exception):
    """The exception that aborts an answer. The client receives ``error`` instead of the data."""

    def __init__(self, error: QueryTooComplex) -> None:
        super().__init__(error.message)
        self.error = error


class Kind(NamedTuple):
    """Describes how the executor completes the values of a GraphQL type.

    Attributes:
        declared: the type. The reference prevents Python from reusing the type's ``id``.
        named: the type without its non-null.
        plain: for a leaf type, the class of values that need no coercion.
        coerce: for a leaf type, the function that coerces other values.
        complete: for an object, interface, union or list, the name of the executor's method.
        is_float: whether the type is a non-null float.
    """

    declared: Any
    named: Any
    plain: type | None = None
    coerce: Callable[[Any], Any] | None = None
    complete: str = ""
    is_float: bool = False


class FieldPacer:
    """Limits how many fields one iteration of the event loop completes."""

    def __init__(self) -> None:
        self._completed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    def take(self, fields: int) -> None:
        """Count ``fields`` as completed in the current event loop iteration."""
        self._completed += fields
        self._schedule()

    async def wait(self) -> None:
        """Wait until another field may be completed. An iteration completes at most ``PACED_FIELDS`` fields."""
        while self._completed > PACED_FIELDS:
            resumed = asyncio.get_running_loop().create_future()
            self._waiting.append(resumed)
            self._schedule()
            await resumed

    @property
    def is_full(self) -> bool:
        """Return whether the current event loop iteration has completed more than ``PACED_FIELDS`` fields."""
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
    """Holds each answer's maximum size in bytes, and the ``FieldPacer`` that all answers share."""

    def __init__(self, schema: GraphQLSchema, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.pacer = FieldPacer()
        self.kinds = _kinds_of(schema)


@cache
def _kinds_of(schema: GraphQLSchema) -> dict[int, Kind]:
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
        entry = Kind(kind, named, _PLAIN.get(named.name), named.coerce_output_value, is_float=is_float)
    elif isinstance(named, GraphQLList):
        _add_kind(named.of_type, kinds)
        entry = Kind(kind, named, complete="complete_list_value")
    elif isinstance(named, GraphQLObjectType):
        entry = Kind(kind, named, complete="complete_object_value")
    else:
        entry = Kind(kind, named, complete="complete_abstract_value")
    kinds[id(kind)] = entry


class Answer:
    """An unfinished answer to an operation. The executor may add ``left`` more bytes to the answer."""

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
        """Return whether the answer's next field must wait for a later event loop iteration."""
        return self.paced and self.pacer.is_full

    async def wait(self) -> None:
        """Wait until another field may be completed. An iteration completes at most ``PACED_FIELDS`` fields."""
        await self.pacer.wait()

    def count(self, size: int) -> None:
        """Add ``size`` bytes to the answer's size. Raise AnswerAborted if the answer is too large."""
        self.left -= size
        if self.left < 0:
            raise self.too_large()

    def count_fields(self, fields: GroupedFieldSet) -> None:
        """Add the bytes of an object's field names to the answer's size.

        Raise AnswerAborted if the answer is too large.
        """
        entry = self._names.get(id(fields))
        if entry is None:
            entry = fields, BRACES_BYTES + sum(map(len, fields)) + PUNCTUATION_BYTES * len(fields)
            self._names[id(fields)] = entry
        if self.paced:
            self.pacer.take(len(fields))
        self.count(entry[1])

    def too_large(self) -> AnswerAborted:
        """Return the error for an answer that is too large."""
        return too_large(self.limits.max_bytes)


def too_large(max_bytes: int) -> AnswerAborted:
    """Return the error for an answer that is too large."""
    message = (
        f"The response has more than {max_bytes:,} bytes. Request smaller pages with `first` or `last`, select fewer "
        "fields with long texts, or use several operations."
    )
    return AnswerAborted(QueryTooComplex(message, reason=Reason.ANSWER_SIZE))


def too_many_errors() -> AnswerAborted:
    """Return the error for an answer of which too many fields failed."""
    message = f"More than {MAX_ERRORS:,} fields failed. The response has only the first errors. Request fewer fields."
    return AnswerAborted(QueryTooComplex(message, reason=Reason.ERRORS))


def json_size(value: object) -> int:
    """Estimate the size of a scalar or enum value in JSON, in bytes."""
    if not isinstance(value, str | dict | list):
        return VALUE_BYTES
    try:
        return len(orjson.dumps(value))
    except TypeError:  # the nesting is too deep, or a number too large: the response cannot be encoded either
        return VALUE_BYTES
