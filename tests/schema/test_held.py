from __future__ import annotations

from typing import Any

import pytest
from graphql import FieldNode, FragmentDefinitionNode, GraphQLObjectType, OperationDefinitionNode, get_named_type, parse
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_subfields
from graphql.execution.values import VariableValues
from hypothesis import given
from hypothesis import strategies as st

from clients.ams import AgentRow
from clients.errors import NotFound
from resolvers import references
from resolvers.owned import OwnedAgent
from schema.held import Held, held_of, is_held, look_ahead
from tests.support.schema import SCHEMA

RUN = SCHEMA.type_map["Run"]
assert isinstance(RUN, GraphQLObjectType)
HELD: Held[Any, Any] = Held({"id", "agent"}, lambda _: None)
FRAGMENTS = ("A", "B", "C")
VARIABLES = ("p", "q")


def conditions() -> st.SearchStrategy[str]:
    value = st.sampled_from(["true", "false", *(f"${name}" for name in VARIABLES)])
    one = st.builds("@{}(if: {})".format, st.sampled_from(["skip", "include"]), value)
    return st.lists(one, max_size=2, unique_by=lambda text: text.split("(")[0]).map(" ".join)


FIELDS = st.sampled_from(
    ["id {}", "other: id {}", "__typename {}", "agent {} {{ name }}", "status {}", "steps {} {{ id }}"]
)
TYPES = st.sampled_from(["", "on Run", "on Node", "on Message", "on Agent"])
LEAVES = st.one_of(
    st.builds(str.format, FIELDS, conditions()),
    st.builds("...{} {}".format, st.sampled_from(FRAGMENTS), conditions()),
)
SELECTIONS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        "... {} {} {{ {} }}".format, TYPES, conditions(), st.lists(inner, min_size=1, max_size=3).map(" ".join)
    ),
    max_leaves=6,
)
SETS = st.lists(SELECTIONS, min_size=1, max_size=4).map(" ".join)
"""Selections on a run, with fragments that can contain each other and themselves."""


def written(nodes: list[str], fragments: dict[str, str]) -> tuple[list[FieldNode], dict[str, FragmentDefinitionNode]]:
    """Return the nodes of a field ``run`` with the given selections, and the fragments."""
    text = "{ " + " ".join(f"run {{ {one} }}" for one in nodes) + " }"
    text += "".join(f" fragment {name} {body}" for name, body in fragments.items())
    operation, *definitions = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    fields = [one for one in operation.selection_set.selections if isinstance(one, FieldNode)]
    return fields, {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)}


@given(
    st.lists(SETS, min_size=1, max_size=3),
    st.tuples(*[st.builds("{} {{ {} }}".format, TYPES.filter(bool), SETS) for _ in FRAGMENTS]),
    st.tuples(*[st.booleans() for _ in VARIABLES]),
)
def test_a_selection_is_held_exactly_if_the_executor_collects_only_held_fields(
    nodes: list[str], bodies: tuple[str, ...], values: tuple[bool, ...]
) -> None:
    fields, fragments = written(nodes, dict(zip(FRAGMENTS, bodies, strict=True)))
    variables = dict(zip(VARIABLES, values, strict=True))
    collected = collect_subfields(
        SCHEMA,
        {name: FragmentDetails(one) for name, one in fragments.items()},
        VariableValues({}, variables),
        parse("{ a }").definitions[0],  # type: ignore[arg-type]
        RUN,  # type: ignore[arg-type]
        [FieldDetails(node, None) for node in fields],
    )
    names = {details[0].node.name.value for details in collected.grouped_field_set.values()}
    assert is_held(HELD, SCHEMA, RUN, fields, fragments, variables) is (names <= HELD.fields)  # type: ignore[arg-type]


def test_a_fragment_that_contains_itself_is_read_once() -> None:
    fields, fragments = written(["...A"], {"A": "on Run { id ...B }", "B": "on Run { ...A }"})
    assert is_held(HELD, SCHEMA, RUN, fields, fragments, {})  # type: ignore[arg-type]


def test_every_held_field_exists_and_the_record_is_one_of_the_type() -> None:
    declared = [
        (f"{kind.name}.{name}", held, get_named_type(field.type))
        for kind in SCHEMA.type_map.values()
        if isinstance(kind, GraphQLObjectType)
        for name, field in kind.fields.items()
        if (held := held_of(field)) is not None
    ]
    assert len(declared) > 40
    for place, held, named in declared:
        assert held.fields - {"__typename"} <= named.fields.keys(), place


@pytest.mark.parametrize(("kind", "field"), [("AssistantMessage", "role"), ("Query", "node"), ("Run", "status")])
def test_only_fields_with_an_object_can_be_held(kind: str, field: str) -> None:
    from schema.build import build_schema

    schema = build_schema.__wrapped__()._schema
    parent = schema.type_map[kind]
    assert isinstance(parent, GraphQLObjectType)
    definition = parent.fields[field]
    given_ = definition.extensions["strawberry-definition"]
    definition.extensions["strawberry-definition"] = type(
        "Declared", (), {"metadata": {"held": HELD}, "base_resolver": given_.base_resolver}
    )()
    with pytest.raises(TypeError, match=f"{kind}.{field} cannot hold"):
        look_ahead(schema)


def test_malformed_references_are_refused_like_the_resolvers_do() -> None:
    owner: OwnedAgent = AgentRow(agent_id="agent-1")  # type: ignore[assignment]
    with pytest.raises(NotFound):
        references.run("../../admin")
    with pytest.raises(NotFound):
        references.conversation("run-1", owner.agent_id)
    assert references.step("step-../x") is None
    assert [references.run(None), references.step(None), references.agent(None), references.template("")] == [None] * 4
    assert references.conversation(None, owner.agent_id).id == "conversation:agent-1"
