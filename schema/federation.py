"""The schema as an Apollo Federation 2.9 subgraph: the fields ``_entities`` and ``_service``, and the SDL.

``_entities`` reads all representations in one batch and checks the owners, like ``nodes``. A failed representation does
not affect the others.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import strawberry
from graphql import (
    IDLE,
    SKIP,
    DirectiveNode,
    FieldDefinitionNode,
    SchemaDefinitionNode,
    StringValueNode,
    TypeDefinitionNode,
    Visitor,
    parse,
    visit,
)
from graphql import Node as AstNode
from strawberry.annotation import StrawberryAnnotation
from strawberry.federation.schema import FederationAny
from strawberry.federation.schema_directives import Key
from strawberry.tools import create_type
from strawberry.types.union import StrawberryUnion

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.owned import not_found
from schema import costs
from schema.access import DEFINITIONS, SIGNED_IN
from schema.base import SemanticNonNull, described, shows
from schema.node import MAX_NODES, Node, at_most, resolve_each

VERSION: Literal["2.9"] = "2.9"
"""The Federation version. A composer refuses a subgraph whose version is newer than the composer's."""

_DIRECTIVES = frozenset({"key", "shareable"})
_RULES = frozenset({"authenticated", "requiresScopes"})
_MACHINERY = frozenset({"_Any", "_Entity", "_Service"})
_FIELDS = frozenset({"_entities", "_service"})


def entities() -> dict[str, Any]:
    """Return all entity types by GraphQL name."""
    definitions = [kind.__strawberry_definition__ for kind in _below(Node)]
    return {one.name: one.origin for one in definitions if any(isinstance(d, Key) for d in one.directives or ())}


def _below(kind: Any) -> Iterator[Any]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


class _Representation(NamedTuple):
    """A parsed representation of an entity."""

    kind: str
    node_id: str


def _represented(value: Any, kinds: dict[str, Any]) -> _Representation | BadUserInput:
    """Parse an entity's representation. If the representation is invalid, return an error."""
    if not isinstance(value, dict):
        return BadUserInput(
            "A representation must be an object with `__typename` and `id`.",
            reason=Reason.REPRESENTATION,
        )
    kind, node_id = value.get("__typename"), value.get("id")
    if not isinstance(kind, str) or kind not in kinds:
        return BadUserInput(
            "`__typename` does not name an entity of this subgraph. Correct the name.",
            reason=Reason.REPRESENTATION,
        )
    if not isinstance(node_id, str):
        return BadUserInput("`id` is not a string. Send the entity's global id.", reason=Reason.REPRESENTATION)
    return _Representation(kind, node_id)


async def _resolved(context: RequestContext, values: Sequence[Any], kinds: dict[str, Any]) -> list[object]:
    """Return the record of each representation, in order. For a failed representation, return the exception."""
    at_most(values)
    parsed = [_represented(value, kinds) for value in values]
    valid = [one for one in parsed if isinstance(one, _Representation)]
    found = dict(zip(valid, await resolve_each(context, [one.node_id for one in valid]), strict=True))
    return [_of_its_kind(found[one], kinds[one.kind]) if isinstance(one, _Representation) else one for one in parsed]


def _of_its_kind(record: object, kind: Any) -> object:
    """Return the record, or ``NotFound`` if the record's type is not the representation's type."""
    if isinstance(record, Exception) or type(record) in kind.records:
        return record
    return not_found("entity")


class _Sdl(NamedTuple):
    sdl: str


@shows("The description of this API as an Apollo Federation subgraph.", _Sdl, name="_Service")
class _Service:
    sdl: str = described("The subgraph's schema in SDL, for composition into a supergraph.")


def _service(info: Info) -> _Sdl:
    return _Sdl(subgraph_sdl(info.schema))


def federated(query: type) -> type:
    """Add the fields ``_entities`` and ``_service`` to the type ``query``.

    Strawberry's own ``_entities`` takes any number of representations, and fails if one ``__typename`` is unknown.
    """
    kinds = entities()
    union = StrawberryUnion(
        "_Entity",
        type_annotations=tuple(StrawberryAnnotation(kinds[name]) for name in sorted(kinds)),
        description="An object of this subgraph that other subgraphs can refer to.",
    )

    async def resolver(
        info: Info,
        representations: Annotated[
            list[FederationAny],
            strawberry.argument(
                description="At most 100 references to entities. Each reference is an object with `__typename` and "
                "`id`.",
                directives=[costs.calls()],
            ),
        ],
    ) -> list[object]:
        return await _resolved(info.context, representations, kinds)

    entities_field: Any = strawberry.field(
        name="_entities",
        graphql_type=list[union | None],  # type: ignore[valid-type]
        resolver=resolver,
        description="Apollo Federation: returns entities by their keys. A failed item is null with an error at its "
        "path, as in `nodes`.",
        directives=[SIGNED_IN, SemanticNonNull(levels=[1]), costs.assumed(MAX_NODES)],
        metadata={costs.SIZED_BY: "representations"},
    )
    service_field: Any = strawberry.field(
        name="_service",
        graphql_type=_Service,
        resolver=_service,
        description="Apollo Federation: returns the subgraph's schema.",
    )
    ours = create_type(query.__name__, [entities_field, service_field])
    description = query.__strawberry_definition__.description  # type: ignore[attr-defined]
    return strawberry.type(type(query.__name__, (query, ours), {}), description=description)


@cache
def subgraph_sdl(schema: strawberry.Schema) -> str:
    """Return the SDL for composition. The SDL omits the definitions that every subgraph has."""
    return _without(schema.as_str(), _is_machinery)


@cache
def unruled_subgraph_sdl(schema: strawberry.Schema) -> str:
    """Return the SDL for composition without rules: some routers refuse a supergraph that has the rules' directives."""
    return _without(subgraph_sdl(schema), _is_rule)


@cache
def graph_sdl(schema: strawberry.Schema) -> str:
    """Return the SDL for clients: without federation, and with the definitions of costs and rules."""
    text = _without(schema.as_str(), lambda node: _is_machinery(node) or _is_for_composers(node))
    return costs.with_text_weights(text) + costs.DEFINITIONS + DEFINITIONS


def _is_machinery(node: AstNode) -> bool:
    if isinstance(node, TypeDefinitionNode):
        return node.name.value in _MACHINERY
    return isinstance(node, FieldDefinitionNode) and node.name.value in _FIELDS


def _is_for_composers(node: AstNode) -> bool:
    if isinstance(node, DirectiveNode):
        return node.name.value in _DIRECTIVES
    return isinstance(node, SchemaDefinitionNode)


def _is_rule(node: AstNode) -> bool:
    if isinstance(node, DirectiveNode):
        return node.name.value in _RULES
    return isinstance(node, StringValueNode) and node.value in {f"@{name}" for name in _RULES}


def _without(text: str, dropped: Callable[[AstNode], bool]) -> str:
    """Remove syntax nodes from SDL, and leave the other text unchanged."""
    found: list[AstNode] = []

    class Find(Visitor):
        def enter(self, node: AstNode, *_: Any) -> Any:
            if dropped(node):
                found.append(node)
                return SKIP
            return IDLE

    visit(parse(text), Find())
    for node in reversed(found):
        start, end = (node.loc.start, node.loc.end) if node.loc else (0, 0)
        text = text[:start].rstrip() + text[end:]
    return text.strip() + "\n"
