"""Enforces the rules that the schema declares with ``@authenticated`` and ``@requiresScopes``.

By default, access is denied: the gateway does not start if a field has no rule. Whether an operation needs a signed-in
user is decided once per document, by ``public_fields``. A field that needs scopes gets a resolver that checks the
user's scopes first. Other fields stay unchanged, so that their checks take no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    default_field_resolver,
    get_named_type,
)
from strawberry.federation.schema_directives import Authenticated, RequiresScopes, Shareable

from clients.codes import Reason
from clients.errors import Forbidden
from resolvers.info import Info
from resolvers.principal import Role, scopes_of
from schema.access import Access

PUBLIC = frozenset({"Query._service", "_Service.sdl"})
"""The fields that clients may read without a token: Apollo Federation's SDL. Introspection fields have no rules."""

NEEDS_SCOPES = "needs-scopes"
"""The key of the ``extensions`` of types and fields whose rules need scopes."""

_Needed: TypeAlias = tuple[tuple[frozenset[str], ...], ...]
"""For each rule, sets of scopes. The user needs all scopes of at least one set."""


class Unruled(TypeError):
    """A field of the schema has no rule, or a rule cannot be enforced."""


def enforce(schema: GraphQLSchema) -> None:
    """Check that every field has a rule, and guard the fields and types that need scopes.

    Raises:
        Unruled: a field has no rule, or a rule cannot be enforced.
    """
    if problems := list(_problems(schema)):
        raise Unruled(" ".join(problems))
    kinds = [kind for kind in _kinds(schema) if isinstance(kind, GraphQLObjectType)]
    for kind in kinds:
        for name, field in kind.fields.items():
            needed = _needed(kind) + _needed(field) + _needed(get_named_type(field.type))
            if needed:
                field.extensions[NEEDS_SCOPES] = True
                field.resolve = _guarded(field.resolve or default_field_resolver, needed, name)
                if field.subscribe is not None:
                    field.subscribe = _guarded(field.subscribe, needed, name)
    for kind in kinds:
        if needed := _needed(kind):
            kind.is_type_of = kind.is_type_of and _guarded_type(kind.is_type_of, needed, kind.name)
            kind.extensions[NEEDS_SCOPES] = True


def needs_scopes(field: GraphQLField) -> bool:
    """Return whether a field's resolver must check the user's scopes. Other resolvers can be called directly."""
    return NEEDS_SCOPES in field.extensions


def public_fields(schema: GraphQLSchema) -> frozenset[str]:
    """Return the root fields of queries that clients may select without a token."""
    root = schema.query_type
    declared = {} if root is None else root.fields
    public = {name for name, field in declared.items() if f"{root}.{name}" in PUBLIC and not _rules(field)}
    return frozenset(public | {"__schema", "__type", "__typename"})


def _kinds(schema: GraphQLSchema) -> Iterator[GraphQLObjectType | GraphQLInterfaceType]:
    for name, kind in schema.type_map.items():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and not name.startswith("__"):
            yield kind


def _directives(one: Any) -> list[Any]:
    definition = one.extensions.get("strawberry-definition")
    return [] if definition is None else list(definition.directives or ())


def _rules(one: Any) -> list[Access]:
    return [rule for rule in _directives(one) if isinstance(rule, Authenticated | RequiresScopes)]


def _needed(one: Any) -> _Needed:
    rules = (rule for rule in _rules(one) if isinstance(rule, RequiresScopes))
    return tuple(tuple(map(frozenset, rule.scopes)) for rule in rules)


def _problems(schema: GraphQLSchema) -> Iterator[str]:
    roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
    unions = (one for one in schema.type_map.values() if isinstance(one, GraphQLUnionType))
    members = {kind.name for union in unions for kind in union.types}
    for kind in _kinds(schema):
        if kind in roots and _rules(kind):
            yield f"The root type {kind} has a rule, which would apply to all subgraphs. Put the rule on the fields."
        elif isinstance(kind, GraphQLInterfaceType):
            if _rules(kind):
                yield f"The interface {kind} has a rule, which composers refuse. Put the rule on the object types."
            continue
        yield from _unknown_scopes(str(kind), kind)
        shared = kind not in roots and any(isinstance(one, Shareable) for one in _directives(kind))
        if _needed(kind) and kind.is_type_of is None and kind.name in members:
            yield f"{kind} needs scopes and is in a union, but has no records. Declare the records, see schema/base.py."
        for name, field in kind.fields.items():
            place = f"{kind}.{name}"
            yield from _unknown_scopes(place, field)
            if place in PUBLIC:
                yield from _private_fields(place, field)
            elif not (_rules(kind) or shared or _rules(field)):
                yield f"{place} has no rule. Declare `access`, see schema/access.py."


def _private_fields(place: str, field: GraphQLField) -> Iterator[str]:
    """Yield a problem for each field that is not public, but is read through a public field."""
    kind = get_named_type(field.type)
    for name in getattr(kind, "fields", {}):
        if f"{kind}.{name}" not in PUBLIC:
            yield f"{place} is public, but returns {kind}.{name}, which is not public."


def _unknown_scopes(place: str, one: Any) -> Iterator[str]:
    granted = frozenset[str]().union(*map(scopes_of, Role))
    for scope in sorted({scope for rule in _needed(one) for scopes in rule for scope in scopes} - granted):
        yield f"{place} needs the scope {scope}, which no role has. Add the scope to resolvers/principal.py."


def _guarded(resolve: Callable[..., Any], needed: _Needed, name: str) -> Callable[..., Any]:
    """Return a resolver that raises Forbidden before ``resolve`` runs, if the user has not the needed scopes."""

    def guarded(source: Any, info: Info, **arguments: Any) -> Any:
        _check(info, needed, name)
        return resolve(source, info, **arguments)

    return guarded


def _guarded_type(is_type_of: Callable[..., Any], needed: _Needed, name: str) -> Callable[..., Any]:
    """Return an ``is_type_of`` that raises Forbidden for an object that the user may not read.

    The check holds for an object that a query reaches through an interface or union, such as ``node``.
    """

    def guarded(value: Any, info: Info) -> Any:
        is_of = is_type_of(value, info)
        if is_of:
            _check(info, needed, name)
        return is_of

    return guarded


def _check(info: Info, needed: _Needed, name: str) -> None:
    if not _has(info.context.principal.role, needed):
        roles = " or ".join(f"`{role.name}`" for role in Role if _has(role, needed))
        raise Forbidden(
            f"The user's role does not permit `{name}`. Sign in as a user with the role {roles}.", reason=Reason.ROLE
        )


def _has(role: Role, needed: _Needed) -> bool:
    scopes = scopes_of(role)
    return all(any(one <= scopes for one in rule) for rule in needed)
