"""Every field of the schema has a rule, as the SDL alone shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import strawberry
from graphql import build_ast_schema, parse

from schema.build import build_schema
from schema.federation import graph_sdl, subgraph_sdl
from tests.support.rules import ADMIN, SIGNED_IN, rules_of

SCHEMA = build_schema()
SHARED = {f"PageInfo.{name}" for name in ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")}
"""The fields of the only type that other subgraphs define too. A rule here would apply to those subgraphs."""


@pytest.mark.parametrize("printed", [graph_sdl, subgraph_sdl])
def test_every_field_has_a_rule(printed: Callable[[strawberry.Schema], str]) -> None:
    rules = rules_of(printed(SCHEMA))
    assert {place for place, rule in rules.items() if rule is None} == SHARED
    assert {place for place, rule in rules.items() if rule == ADMIN} == {
        "Mutation.publishTemplate",
        "Mutation.revokeSession",
    }
    assert {rule for rule in rules.values() if rule is not None} == {SIGNED_IN, ADMIN}
    assert len(rules) > 300


def test_a_field_without_a_rule_is_found() -> None:
    rules = rules_of(
        """type Query { open: Int ruled: Int @authenticated page: PageInfo @requiresScopes(scopes: [["admin"]]) }
        type Agent @authenticated { id: ID! secret: ID @requiresScopes(scopes: [["admin", "owner"]]) }
        type New { id: ID! }"""
    )
    assert rules == {
        "Query.open": None,
        "Query.ruled": SIGNED_IN,
        "Query.page": ADMIN,
        "Agent.id": SIGNED_IN,
        "Agent.secret": ADMIN | {"owner"},
        "New.id": None,
    }


def test_the_directives_are_those_of_apollo_federation() -> None:
    """Apollo Federation's reference of directives, but client generators do not know the scalar of its scopes."""
    given = build_ast_schema(parse(graph_sdl(SCHEMA)))
    shown = {
        one.name: ({name: str(argument.type) for name, argument in one.args.items()}, {at.name for at in one.locations})
        for one in given.directives
        if one.name in {"authenticated", "requiresScopes"}
    }
    places = {"ENUM", "FIELD_DEFINITION", "INTERFACE", "OBJECT", "SCALAR"}
    assert shown == {
        "authenticated": ({}, places),
        "requiresScopes": ({"scopes": "[[String!]!]!"}, places),
    }
