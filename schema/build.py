"""Builds the GraphQL schema."""

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
from strawberry.federation.schema_directives import Authenticated, Cost, RequiresScopes
from strawberry.schema.config import StrawberryConfig

from clients.codes import ErrorCode
from schema.base import LEVELS
from schema.federation import VERSION, federated
from schema.guards import enforce
from schema.held import look_ahead
from schema.message import Message
from schema.mutation import Mutation
from schema.outcomes import UserError
from schema.query import Query
from schema.scalars import DATE, DATE_TIME, DECIMAL
from schema.stream import StreamEvent
from schema.subscription import Subscription

_OF_OBJECTS = (Authenticated, Cost, RequiresScopes)


@cache
def build_schema() -> strawberry.Schema:
    """Build the schema, once per process."""
    schema = strawberry.federation.Schema(
        query=federated(Query),
        mutation=Mutation,
        subscription=Subscription,
        types=[kind for base in (Message, StreamEvent, UserError) for kind in base.__subclasses__()] + [ErrorCode],
        config=StrawberryConfig(auto_camel_case=True, scalar_map={Decimal: DECIMAL, date: DATE, datetime: DATE_TIME}),
        federation_version=VERSION,
    )
    for one in _arguments(schema._schema):
        _normalize(one)
    for kind in schema._schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            kind.is_one_of = kind.extensions["strawberry-definition"].is_one_of  # Strawberry itself checks too late
        elif isinstance(kind, GraphQLInterfaceType):
            _leave_to_objects(kind)
    for levels in [directive.args["levels"] for directive in schema._schema.directives if "levels" in directive.args]:
        levels.description = LEVELS  # Strawberry omits the description
    look_ahead(schema._schema)
    enforce(schema._schema)  # last, so that no other resolver runs before a check
    return schema


def _leave_to_objects(kind: GraphQLInterfaceType) -> None:
    """Remove costs and rules from an interface's fields: composers accept these directives only on objects."""
    for field in kind.fields.values():
        shown = copy(field.extensions["strawberry-definition"])
        shown.directives = [one for one in shown.directives if not isinstance(one, _OF_OBJECTS)]
        field.extensions["strawberry-definition"] = shown


def _arguments(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    """Yield the schema's input fields, and the arguments of the schema's fields and directives."""
    yield from chain.from_iterable(directive.args.values() for directive in schema.directives)
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields.values()
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            yield from chain.from_iterable(field.args.values() for field in kind.fields.values())


def _normalize(one: GraphQLArgument | GraphQLInputField) -> None:
    """Remove an argument's null default. If the argument has no description, use the input type's description."""
    if one.default_value is None:
        one.default_value = Undefined  # the resolver's own default is None
    if one.description is None and isinstance(kind := get_named_type(one.type), GraphQLInputObjectType):
        one.description = kind.description
