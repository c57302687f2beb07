"""Generates the functions for objects of which a plan has completed many (decision 0077).

A generated function does what the steps of an object do, in the same order and with the same errors. The text of a
client never gets into the source: the response names, and everything else that is specific to a plan, are global
variables of the function.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from keyword import iskeyword
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from app.graphql.plan.leaves import Leaf, Quick, quick_of
from app.graphql.plan.objects import ObjectPlan
from app.graphql.plan.steps import Calling, Later, Named, Reading, Step

if TYPE_CHECKING:
    from app.graphql.plan.values import Complete

_COMPILED_SOURCES = 256
"""Maximum number of compiled sources that are kept. Plans with the same fields have the same source."""

_MOST_KEPT = 8_000
"""Maximum length of such a source, in characters: about 40 fields. So the sources and their code take at most 6 MB."""

_MOST_FIELDS = 60
"""Maximum number of fields of a function. To generate it takes 6 ms, in one iteration of the event loop."""

_MOST_NESTED = 3
"""Maximum depth of nested objects that the function of their parent completes. CPython allows 20 nested blocks."""

_GLOBALS = {
    name: getattr(builtins, name) for name in ("Exception", "bool", "float", "int", "len", "str")
}  # a global variable is found faster than a builtin


class Generated(NamedTuple):
    """A generated function.

    Attributes:
        complete: completes one object.
        fields: the number of fields, with those of nested objects.
    """

    complete: Complete
    fields: int


def generated(plan: ObjectPlan) -> Generated | None:
    """Return a function that completes objects like their plan's steps, or ``None`` if there are too many fields."""
    if len(plan.steps) > _MOST_FIELDS:
        return None
    source = _Source()
    source.complete(plan)
    names: dict[str, Any] = {"__builtins__": builtins, **_GLOBALS, **source.names}
    # a copy of the code has its own inline caches, which know the function's global variables
    complete: Any = FunctionType(compiled("\n".join(source.lines)).replace(), names)
    return Generated(complete, source.fields)


def compiled(source: str) -> CodeType:
    """Return the code of the source's only function. Short sources are compiled once."""
    return _compiled(source) if len(source) <= _MOST_KEPT else _compiled.__wrapped__(source)


@lru_cache(_COMPILED_SOURCES)
def _compiled(source: str) -> CodeType:
    module = compile(source, "<plan>", "exec")
    return next(one for one in module.co_consts if isinstance(one, CodeType))


class _Object(NamedTuple):
    """An object that a function completes.

    Attributes:
        plan: the object's steps.
        depth: the indentation of its lines.
        record: the variable of the record.
        place: the expression for the object's position.
        out: the variable of the object in the answer.
        parents: the number of parents that the function completes too.
    """

    plan: ObjectPlan
    depth: int
    record: str
    place: str
    out: str
    parents: int


class _Source:
    """The source of one function.

    The local variables are the record ``r``, the execution ``x``, the object's position ``p``, the size ``n`` that
    the answer's limit does not have yet, and ``v1``, ``v2`` and so on for values.

    Attributes:
        lines: the lines.
        names: the function's global variables.
        fields: the number of fields that the function completes.
    """

    def __init__(self) -> None:
        self.lines = ["def run(r, x, p):"]
        self.names: dict[str, Any] = {}
        self.fields = 0
        self._values = 0

    def complete(self, plan: ObjectPlan) -> None:
        """Add the whole function of a plan."""
        test = plan.test
        one = "r" if test.attribute is None else f"r.{safe_path(test.attribute)}"
        self._add(1, f"if {one}.__class__ not in {self._bound(test.known)} and {self._bound(test.is_null)}(r, x, p):")
        self._add(2, "return None")
        self._add(1, "n = 0")
        out = self._value()
        self._object(_Object(plan, 1, "r", "p", out, 0))
        self._add(1, "x.left -= n")
        self._add(1, f"return {out}")

    def _object(self, one: _Object) -> None:
        """Add the steps of an object. An object with deferred fields exists before its fields have values."""
        steps, depth, out = one.plan.steps, one.depth, one.out
        self.fields += len(steps)
        size = one.plan.size + sum(len(step.name) for step in steps if isinstance(step, Named))
        self._add(depth, f"x.done += {len(steps)}")
        self._add(depth, f"n += {self._bound(size)}")
        has_later = any(isinstance(step, Later) for step in steps)
        self._add(depth, f"{out} = {'{}' if has_later else 'None'}")
        pairs = list[str]()
        for step in steps:
            key = self._bound(step.key)
            value = self._step(one, step, key)
            if has_later:
                self._add(depth, f"{out}[{key}] = {value}")
            pairs.append(f"{key}: {value}")
        if not has_later:
            made = f"{{{', '.join(pairs)}}}"
            self._add(depth, f"if {out} is None: {out} = {made}")
            self._add(depth, f"else: {out}.update({made})")

    def _step(self, one: _Object, step: Step, key: str) -> str:
        """Add one step. Return its value: a variable or a constant."""
        if isinstance(step, Named):
            return self._bound(step.name)
        if isinstance(step, Later):
            self._add(
                one.depth, f"x.pending.append(({self._bound(step.deferred)}, {one.record}, {one.out}, {one.place}))"
            )
            return "None"
        value, field = self._value(), step.field
        self._add(one.depth, "try:")
        self._add(one.depth + 1, f"{value} = {self._read(one, step)}")
        self._checks(one, step, value, f"({one.place}, {key}, {field.nullable})")
        self._add(one.depth, "except Exception as e:")
        if not field.nullable and not one.parents:  # the error leaves the function
            self._add(one.depth + 1, "x.left -= n; n = 0")
        self._add(one.depth + 1, f"{value} = {self._bound(field.failed)}(e, x, {one.place})")
        return value

    def _read(self, one: _Object, step: Reading | Calling) -> str:
        """Return the expression that reads a field's value."""
        if isinstance(step, Calling):
            if step.resolve is None:
                return f"{self._bound(step.call)}({one.record}, x)"
            return f"{self._bound(_for_class(step.resolve, one.plan.test.only))}({one.record})"
        if step.path is None:
            return f"{self._bound(step.read)}({one.record})"
        return f"{one.record}.{safe_path(step.path)}"

    def _checks(self, one: _Object, step: Reading | Calling, value: str, place: str) -> None:
        """Add a branch for values that a check of the class is sufficient for, and a branch for all others."""
        depth, completer = one.depth + 1, step.completer
        quick = quick_of(completer.kind) if isinstance(completer, Leaf) else None
        if quick is not None:
            self._quick(depth, quick, value)
        elif isinstance(completer, ObjectPlan) and isinstance(step, Reading) and self._can_nest(one, completer):
            self._add(depth, f"if {value}.__class__ in {self._bound(completer.test.known)}:")
            inner = _Object(completer, depth + 1, value, place, self._value(), one.parents + 1)
            self._object(inner)
            self._add(depth + 1, f"{value} = {inner.out}")
        else:
            self._add(depth, "if False: pass")  # CPython generates no code for it
        self._add(depth, f"elif {value} is not None:" if step.field.nullable else "else:")
        if isinstance(step, Reading):
            self._add(depth + 1, f"{value} = {self._bound(completer)}.complete({value}, x, {place})")
        else:
            self._add(depth + 1, f"if {one.out} is None: {one.out} = {{}}")
            self._add(depth + 1, f"{value} = {self._bound(step.complete)}({value}, x, {one.place}, {one.out})")

    def _quick(self, depth: int, quick: Quick, value: str) -> None:
        """Add the branch for values of the expected class."""
        expected = quick.expected.__name__ if quick.convert is None else self._bound(quick.expected)
        condition = f" and {quick.condition.format(v=value)}" if quick.condition else ""
        self._add(depth, f"if {value}.__class__ is {expected}{condition}:")
        if isinstance(quick.convert, dict):
            self._add(depth + 1, f"{value} = {self._bound(quick.convert)}[{value}]")
        elif quick.convert is not None:
            self._add(depth + 1, f"{value} = {self._bound(quick.convert)}({value})")
        self._add(depth + 1, f"n += len({value})" if quick.is_text else "pass")

    def _can_nest(self, one: _Object, plan: ObjectPlan) -> bool:
        """Return whether the function of the parent completes a nested object. If not, the object has its own."""
        is_small = self.fields + len(plan.steps) <= _MOST_FIELDS and one.parents < _MOST_NESTED
        return is_small and plan.test.attribute is None

    def _bound(self, value: object) -> str:
        """Return the name of a global variable with a value."""
        name = f"g{len(self.names)}"
        self.names[name] = value
        return name

    def _value(self) -> str:
        """Return the name of a local variable that is not used yet."""
        self._values += 1
        return f"v{self._values}"

    def _add(self, depth: int, line: str) -> None:
        self.lines.append(" " * depth + line)


def safe_path(path: str) -> str:
    """Return the path of an attribute. Raise ValueError if it is no Python name with dots."""
    if not all(one.isidentifier() and not iskeyword(one) for one in path.split(".")):
        raise ValueError(f"{path!r} is not the name of an attribute.")
    return path


def _for_class(resolve: Callable[[Any], Any], kind: type | None) -> Callable[[Any], Any]:
    """Return a resolver's function for records of one class, if the resolver has functions for each class."""
    of_class = getattr(resolve, "of_class", None)
    if kind is not None and of_class is not None:
        with suppress(TypeError):  # the class has no function
            found: Callable[[Any], Any] = of_class(kind)
            return found
    return resolve
