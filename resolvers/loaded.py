"""Declares fields that load one record by a key from the parent, and derive the value from the record.

A plan reads such a declaration, joins the loads of a whole list, and derives the values without a task for each value.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from strawberry.parent import StrawberryParent

from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loaders import Loaders
from resolvers.loading import Loader

A = ParamSpec("A")
K = TypeVar("K", bound=Hashable)
P = TypeVar("P")
R = TypeVar("R")
V = TypeVar("V")
P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)

_PARENT: Any = Annotated[Any, StrawberryParent()]


@dataclass(frozen=True, slots=True)
class Loaded(Generic[P, K, R, V]):
    """Describes how a field's value is loaded and derived.

    Attributes:
        loader: returns the operation's loader of the records.
        key: returns the record's key from the parent and the field's arguments, which are keyword arguments. If the key
            is ``None``, the value is null, and nothing is loaded. May raise the field's errors.
        value: derives the value from the record, the parent, the context and the field's arguments, which are keyword
            arguments. May raise the field's errors.
    """

    loader: Callable[[RequestContext], Loader[K, R]]
    key: Callable[..., K | None]
    value: Callable[..., V]


class LoadedResolver(Protocol[P_contra, V_co]):
    """An asynchronous resolver with the description of the record that it loads."""

    @property
    def loaded(self) -> Loaded[Any, Any, Any, Any]:
        """How the value is loaded and derived."""

    def __call__(self, parent: P_contra, info: Info, **arguments: Any) -> Awaitable[V_co | None]:
        """Load the record, and return the value."""


class _Derived(Protocol[P, R_co]):
    """Returns a resolver for a function that derives the value from the record, or from the record and the parent."""

    @overload
    def __call__(self, value: Callable[[R_co], V], /) -> LoadedResolver[P, V]: ...
    @overload
    def __call__(self, value: Callable[[R_co, P], V], /) -> LoadedResolver[P, V]: ...


def loaded(pick: Callable[[Loaders], Loader[K, R]], *, key: Callable[Concatenate[P, A], K | None]) -> _Derived[P, R]:
    """Declare a resolver that loads one record, and derives the value from the record.

    The decorated function takes the record, and optionally the parent. Its keyword-only parameters, and all parameters
    of ``key`` except the first, are the field's arguments.

    Args:
        pick: returns the loader from the operation's loaders.
        key: returns the record's key from the parent; ``None`` if the value is null.

    Returns:
        A decorator. The decorated resolver has the attribute ``loaded``.
    """

    def declare(value: Callable[..., V]) -> Any:
        of_key, of_value = _arguments(key), _arguments(value, skipped=_positional(value))
        arguments = {**of_key, **of_value}
        plan: Loaded[P, K, R, V] = Loaded(
            loader=lambda context: pick(context.loaders),
            key=_given_only(key, of_key, arguments),
            value=_given_only(_with_context(value), of_value, arguments),
        )
        return _resolver(plan, value, arguments)

    return declare


def _positional(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind in kinds]


def _arguments(function: Callable[..., Any], skipped: Iterable[str] | None = None) -> dict[str, inspect.Parameter]:
    """Return a function's parameters that are arguments of the field: all except ``skipped``, or except the first."""
    parameters = inspect.signature(function).parameters
    without = list(parameters)[:1] if skipped is None else skipped
    return {
        name: one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in parameters.items()
        if name not in without
    }


def _with_context(value: Callable[..., V]) -> Callable[..., V]:
    """Return a function with the parameters of ``Loaded.value``."""
    if len(_positional(value)) == 1:
        return lambda record, _parent, _context, **given: value(record, **given)
    return lambda record, parent, _context, **given: value(record, parent, **given)


def _given_only(function: Callable[..., V], own: Iterable[str], every: Iterable[str]) -> Callable[..., V]:
    """Return a function that ignores the field's arguments that ``function`` does not take."""
    names = frozenset(own)
    if names == frozenset(every):
        return function
    if not names:
        return lambda *values, **_: function(*values)
    return lambda *values, **given: function(*values, **{name: given[name] for name in names & given.keys()})


def _resolver(
    plan: Loaded[P, K, R, V], value: Callable[..., V], arguments: dict[str, inspect.Parameter]
) -> Callable[..., Awaitable[V | None]]:
    """Return an asynchronous resolver with the signature that Strawberry inspects."""

    async def resolver(parent: P, info: Info, **given: Any) -> V | None:
        key = plan.key(parent, **given)
        if key is None:
            return None
        record = await plan.loader(info.context).load(key)
        return plan.value(record, parent, info.context, **given)

    taken = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [
        inspect.Parameter("parent", taken, annotation=_PARENT),
        inspect.Parameter("info", taken, annotation=Info),
        *arguments.values(),
    ]
    returns = inspect.signature(value).return_annotation
    resolver.__signature__ = inspect.Signature(own, return_annotation=returns)  # type: ignore[attr-defined]
    resolver.__annotations__ = {one.name: one.annotation for one in own} | {"return": returns}
    resolver.loaded = plan  # type: ignore[attr-defined]
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(resolver, name, getattr(value, name))
    return resolver
