"""Builds the schema, once per process."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from itertools import chain

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
)
from strawberry.federation.schema_directives import Cost
from strawberry.schema.config import StrawberryConfig

from clients.codes import ErrorCode
from schema import message, outcomes, stream
from schema.base import LEVELS
from schema.federation import VERSION, federated
from schema.mutation import Mutation
from schema.query import Query
from schema.scalars import DATE, DATE_TIME, DECIMAL
from schema.subscription import Subscription


@cache
def build_schema() -> strawberry.Schema:
    """Build the whole schema. ``schema.federation`` prints it as SDL."""
    schema = strawberry.federation.Schema(
        query=federated(Query),
        mutation=Mutation,
        subscription=Subscription,
        types=[*message.KINDS, *stream.KINDS, *outcomes.KINDS, ErrorCode],
        config=StrawberryConfig(auto_camel_case=True, scalar_map={Decimal: DECIMAL, date: DATE, datetime: DATE_TIME}),
        federation_version=VERSION,
    )
    for one in _arguments(schema._schema):
        _normalize(one)
    for kind in schema._schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            kind.is_one_of = kind.extensions["strawberry-definition"].is_one_of  # Strawberry checks by itself, late
        elif isinstance(kind, GraphQLInterfaceType):
            _leave_costs_to_objects(kind)
    for levels in [directive.args["levels"] for directive in schema._schema.directives if "levels" in directive.args]:
        levels.description = LEVELS  # Strawberry drops it
    return schema


def _leave_costs_to_objects(kind: GraphQLInterfaceType) -> None:
    """Remove ``@cost`` from an interface's fields; composers accept it on objects alone."""
    for field in kind.fields.values():
        shown = copy(field.extensions["strawberry-definition"])
        shown.directives = [one for one in shown.directives if not isinstance(one, Cost)]
        field.extensions["strawberry-definition"] = shown


def _arguments(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    """Yield the arguments of all fields and directives, and the fields of all inputs."""
    yield from chain.from_iterable(directive.args.values() for directive in schema.directives)
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields.values()
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            yield from chain.from_iterable(field.args.values() for field in kind.fields.values())


def _normalize(one: GraphQLArgument | GraphQLInputField) -> None:
    """Remove a default of null, and give an undescribed input argument the description of its type."""
    if one.default_value is None:
        one.default_value = Undefined  # the resolver's own default is None
    if one.description is None and isinstance(kind := get_named_type(one.type), GraphQLInputObjectType):
        one.description = kind.description
