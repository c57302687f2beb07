"""Operations, subgraphs, configurations and commands that pages name without an example."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from graphql import (
    GraphQLInputObjectType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_composite_type,
    parse,
)
from graphql.language import FieldNode, ObjectValueNode, OperationDefinitionNode, SelectionSetNode
from graphql.type import GraphQLField, GraphQLNamedType
from websockets.frames import CloseCode

from app.connections.frames import Breach
from app.graphql.subprotocol import Close
from app.settings import Settings
from clients.letta.app_server import CURE
from tests.docs.markdown import ROOT, snippets
from tests.support.node import run_node

FROM_REST = ROOT / "docs" / "from-rest.md"
FEDERATION = ROOT / "docs" / "federation.md"
LETTA = ROOT / "docs" / "letta.md"
CHAT = ROOT / "examples" / "chat"


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((ROOT / "schema/schema.graphql").read_text())


def operations() -> list[str]:
    """Return the GraphQL operations in the tables of ``from-rest.md``."""
    rows = re.findall(r"^\| .+ \| (.+) \|$", FROM_REST.read_text(), re.MULTILINE)
    named = [code for row in rows for code in re.findall(r"`([^`]+)`", row)]
    return [code for code in named if re.match(r"[a-z]\w+(\(| \{|$)", code) and not code.startswith("make")]


NOT_FIELDS = {"curl", "waitSeconds"}


@pytest.mark.parametrize("code", [one for one in operations() if one not in NOT_FIELDS])
def test_an_operation_that_replaces_a_rest_call_exists(schema: GraphQLSchema, code: str) -> None:
    whole = re.sub(r"(\w+):\s*(?=[,)}]| \}|$)", r"\1: $_", code).replace("…", "__typename")
    document = parse(f"{{ {whole} }}")
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    roots = [schema.query_type, schema.mutation_type, schema.subscription_type]
    assert any(root and not list(unknown(schema, root, operation.selection_set)) for root in roots), code


def unknown(schema: GraphQLSchema, parent: GraphQLNamedType, selected: SelectionSetNode) -> list[str]:
    """Return fields and arguments of a selection that the schema does not have; nested selections may be left out."""
    found = []
    for node in selected.selections:
        assert isinstance(node, FieldNode)
        if node.name.value == "__typename":
            continue
        field: GraphQLField | None = parent.fields.get(node.name.value)  # type: ignore[attr-defined]
        if field is None:
            found.append(node.name.value)
            continue
        for argument in node.arguments or ():
            given = field.args.get(argument.name.value)
            found += [] if given else [argument.name.value]
            if given and isinstance(argument.value, ObjectValueNode):
                kind = get_named_type(given.type)
                assert isinstance(kind, GraphQLInputObjectType)
                found += [one.name.value for one in argument.value.fields or () if one.name.value not in kind.fields]
        inner = get_named_type(field.type)
        if node.selection_set and is_composite_type(inner):
            found += unknown(schema, inner, node.selection_set)
    return found


def test_a_field_that_does_not_exist_is_found(schema: GraphQLSchema) -> None:
    selection = parse("{ viewer { agents(filter: {nope: 1}, never: 1) { nodes { nothing } } } }").definitions[0]
    assert isinstance(selection, OperationDefinitionNode)
    assert schema.query_type
    assert unknown(schema, schema.query_type, selection.selection_set) == ["nope", "never", "nothing"]


@pytest.mark.needs_node
async def test_the_subgraph_that_refers_to_the_graph_composes() -> None:
    [crm] = [one.code for one in snippets(FEDERATION) if one.language == "text"]
    composed = await run_node("compose.mjs", subgraph=str(ROOT / "schema/subgraph.graphql"), crm=crm)
    assert composed == [{"errors": []}, {"errors": []}]


def test_configurations_are_yaml() -> None:
    blocks = [yaml.safe_load(one.code) for one in snippets(FEDERATION) if one.language == "yaml"]
    assert [sorted(one) for one in blocks] == [
        ["federation_version", "subgraphs"],
        ["authorization", "headers", "include_subgraph_errors", "subscription"],
    ]


def test_the_page_about_letta_has_a_network_policy_for_the_default_port_and_the_image_of_the_note() -> None:
    [policy] = [yaml.safe_load(one.code) for one in snippets(LETTA) if one.language == "yaml"]
    spec = policy["spec"]
    assert (policy["kind"], spec["policyTypes"]) == ("NetworkPolicy", ["Ingress", "Egress"])
    egress = {
        to["podSelector"]["matchLabels"].get("app"): rule["ports"] for rule in spec["egress"] for to in rule["to"]
    }
    assert egress["agentgraph"] == [{"port": Settings.model_fields["port"].default}]
    image = re.search(r"letta/letta:[\d.]+\d", CURE)
    assert image
    assert f"`{image[0]}`" in LETTA.read_text()


def test_the_commands_of_the_chat_example_exist() -> None:
    scripts = json.loads((CHAT / "package.json").read_text())["scripts"]
    named = re.findall(r"`npm run (\w+)`", (CHAT / "README.md").read_text())
    assert named
    assert set(named) <= set(scripts)


def test_the_page_of_limits_has_every_close_code() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    table = page.partition("## WebSocket close codes")[2].partition("## ")[0]
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    of_rfc_6455 = {CloseCode.PROTOCOL_ERROR, CloseCode.ABNORMAL_CLOSURE, CloseCode.INVALID_DATA}
    assert named == {*Close, *Breach, *of_rfc_6455}
