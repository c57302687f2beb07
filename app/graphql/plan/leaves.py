"""Complete the values of scalars and enums, and lists of them (GraphQL, 6.4.3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from graphql import GraphQLEnumType, Undefined, is_non_null_type

from app.graphql.answers import json_size
from app.graphql.plan.fields import Field, is_absent, listed
from app.graphql.plan.places import Place

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution

_TEXTS = {"DateTime": datetime, "Date": date, "Decimal": Decimal}
"""Custom scalars whose values are written as text, and the class of their values."""

_PLAIN: dict[str, tuple[type, str]] = {
    "String": (str, ""),
    "ID": (str, ""),
    "Boolean": (bool, ""),
    "Float": (float, "{v} - {v} == 0.0"),  # infinities and NaN are invalid
    "Int": (int, "-2147483648 <= {v} <= 2147483647"),
}
"""Built-in scalars, the class of the values that need no coercion, and the source of a further condition on ``{v}``."""


class Quick(NamedTuple):
    """The values of a leaf type for which a check of the class is sufficient. Other values get all checks.

    Attributes:
        expected: the class of the values. Values of a class derived from it get all checks.
        condition: the source of a further condition on the value ``{v}``, or the empty string.
        convert: converts a value to a text: a function, or a dict by value. If ``None``, the value is not converted.
    """

    expected: type
    condition: str = ""
    convert: Callable[[Any], str] | dict[Any, str] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the completed value is a text, whose length counts."""
        return self.convert is not None or self.expected is str


def quick_of(kind: Any) -> Quick | None:
    """Return the values of a leaf type that need only a check of their class, or ``None`` if no values do."""
    if isinstance(kind, GraphQLEnumType):
        members = getattr(kind, "wrapped_cls", None)
        return None if members is None else Quick(members, convert=_names_of(kind))
    if (text := _TEXTS.get(kind.name)) is not None:
        return Quick(text, convert=kind.coerce_output_value)
    plain = _PLAIN.get(kind.name)
    return None if plain is None else Quick(*plain)


@cache
def _names_of(kind: Any) -> dict[Any, str]:
    """Return the names of an enum's values, by value."""
    return {one: kind.coerce_output_value(one) for one in kind.wrapped_cls}


class Leaf:
    """Completes the values of a scalar or enum.

    Attributes:
        kind: the type, without non-null.
    """

    __slots__ = ("_coerce", "_convert", "_text", "kind")
    is_pure = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._coerce = kind.coerce_output_value
        quick = quick_of(kind)
        self._text = quick.expected if quick is not None and quick.is_text else None
        convert = None if quick is None else quick.convert
        self._convert: Callable[[Any], str] | None = convert.__getitem__ if isinstance(convert, dict) else convert

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one value."""
        if value.__class__ is self._text:
            text: Any = value if self._convert is None else self._convert(value)
            x.left -= len(text)
            return text
        if is_absent(value, place):
            return None
        coerced = self._coerce(value)
        if coerced is None or coerced is Undefined:
            return x.executor.complete_leaf_value(self.kind, value)  # raises the error
        if isinstance(coerced, str):
            x.left -= len(coerced)
        elif isinstance(coerced, dict | list):
            x.left -= json_size(coerced)
        return coerced


class Leaves:
    """Completes a list of scalars or enums."""

    __slots__ = ("_complete", "_field", "_nullable", "_plain")
    is_pure = True

    def __init__(self, field: Field, kind: Any) -> None:
        self._field = field
        self._nullable = not is_non_null_type(kind)
        named = kind if self._nullable else kind.of_type
        self._complete = Leaf(named).complete
        self._plain = {"String": str, "ID": str, "Boolean": bool, "Float": float}.get(named.name)

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one list. A list whose items need no coercion is not copied."""
        if value.__class__ is list and self._plain is not None and {*map(type, value)} <= {self._plain}:
            if self._plain is str:
                x.left -= sum(map(len, value)) + 2 * len(value)
                return value
            if self._plain is bool or sum(value) - sum(value) == 0:  # infinities and NaN are invalid
                x.left -= 20 * len(value)
                return value
        if is_absent(value, place):
            return None
        nullable, complete, out = self._nullable, self._complete, list[Any]()
        for index, item in enumerate(listed(self._field, value)):
            at = (place, index, nullable)
            try:
                out.append(complete(item, x, at))
            except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
                x.failed(self._field.described(error), self._field.nodes, at)
                out.append(None)
        return out
