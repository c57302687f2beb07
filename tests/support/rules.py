"""The rules of a schema's fields, read from the SDL alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graphql import DirectiveNode, FieldDefinitionNode, ListValueNode, ObjectTypeDefinitionNode, StringValueNode, parse

FOLDER = Path(__file__).parents[2] / "schema"
ROOTS = ("Query", "Mutation", "Subscription")

Rule = frozenset[str]
"""The scopes that a user needs. ``SIGNED_IN`` is empty."""

SIGNED_IN: Rule = frozenset()
ADMIN: Rule = frozenset({"admin"})


def rules_of(sdl: str) -> dict[str, Rule | None]:
    """Return the rule of each field of an object type, by ``Type.field``; ``None`` if the SDL has no rule for it."""
    return dict(_rules(sdl))


def rules_of_root_fields() -> dict[str, Rule]:
    """Return the rule of each root field, from the schema for clients."""
    found = rules_of((FOLDER / "schema.graphql").read_text())
    rules = {place: rule for place, rule in found.items() if place.split(".")[0] in ROOTS and rule is not None}
    assert rules.keys() == {place for place in found if place.split(".")[0] in ROOTS}
    return rules


def _rules(sdl: str) -> Iterator[tuple[str, Rule | None]]:
    for kind in parse(sdl).definitions:
        if isinstance(kind, ObjectTypeDefinitionNode):
            for field in kind.fields or ():
                yield f"{kind.name.value}.{field.name.value}", _stricter(_rule(kind), _rule(field))


def _stricter(one: Rule | None, other: Rule | None) -> Rule | None:
    return one if other is None else other if one is None else one | other


def _rule(node: ObjectTypeDefinitionNode | FieldDefinitionNode) -> Rule | None:
    found = [rule for directive in node.directives or () for rule in _declared(directive)]
    return frozenset[str]().union(*found) if found else None


def _declared(directive: DirectiveNode) -> Iterator[Rule]:
    if directive.name.value == "authenticated":
        yield SIGNED_IN
    if directive.name.value == "requiresScopes":
        [argument] = directive.arguments or ()
        assert isinstance(argument.value, ListValueNode)
        [every] = argument.value.values  # this schema has no alternatives
        assert isinstance(every, ListValueNode)
        yield frozenset(scope.value for scope in every.values if isinstance(scope, StringValueNode))
