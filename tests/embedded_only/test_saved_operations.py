"""GraphiQL's saved operations, without the browser: each operation is valid and runs."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema, OperationType, build_schema, get_operation_ast, parse, validate

from app.pages.graphiql import OPERATIONS, operations
from tests.support.doors import events
from tests.support.stack import Stack

SAVED = operations()
NAMES = ["Dashboard", "Chat", "SendMessage", "FollowStream", "Memory", "UpdateMemory", "Completion", "Templates"]
NAMES += ["Budget", "CreateAgent", "Upgrades", "Runs", "Complete"]
ROOT = Path(__file__).parents[2]
FILL = (ROOT / "app/pages/graphiql/src/fill.js").read_text()
LOOK_UP = FILL.split("`")[1]


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((ROOT / "schema/schema.graphql").read_text())


def test_the_saved_operations_are_listed_in_order() -> None:
    found = [get_operation_ast(parse(one["query"])) for one in SAVED]
    assert [one.name.value for one in found if one and one.name] == NAMES
    stems = {path.stem for path in OPERATIONS.glob("*.graphql")}
    assert {path.stem for path in OPERATIONS.iterdir()} == stems


@pytest.mark.parametrize("one", SAVED, ids=NAMES)
def test_each_saved_operation_is_valid_and_its_placeholders_are_known(
    schema: GraphQLSchema, one: dict[str, str]
) -> None:
    document = parse(one["query"])
    assert validate(schema, document) == []
    operation = get_operation_ast(document)
    assert operation
    declared = {variable.variable.name.value for variable in operation.variable_definitions or ()}
    assert set(json.loads(one["variables"] or "{}")) == declared
    for word in re.findall("<[^>]*>", one["variables"]):
        assert f"'{word}'" in FILL
    assert validate(schema, parse(LOOK_UP)) == []


def put(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: put(item, words) for name, item in value.items()}
    if isinstance(value, list):
        return [put(item, words) for item in value]
    return words.get(value, value) if isinstance(value, str) else value


async def meanings(stack: Stack) -> dict[str, str]:
    data = (await stack.graphql(LOOK_UP))["data"]
    agent = data["viewer"]["agents"]["nodes"][0]
    streams = [stream["id"] for stream in data["viewer"]["streams"]]
    return {
        "<first agent>": agent["id"],
        "<first memory block>": agent["memoryBlocks"][0]["id"],
        "<current value>": agent["memoryBlocks"][0]["value"],
        "<first chat model>": data["models"][0]["name"],
        "<last stream>": streams[-1] if streams else "",
        "<today>": datetime.now(UTC).date().isoformat(),
        "<a month ago>": (datetime.now(UTC).date() - timedelta(days=30)).isoformat(),
        "<new key>": str(uuid.uuid4()),
    }


async def test_each_saved_operation_runs(stack: Stack) -> None:
    for one in SAVED:
        operation = get_operation_ast(parse(one["query"]))
        assert operation
        variables = put(json.loads(one["variables"] or "{}"), await meanings(stack))
        if operation.operation is OperationType.SUBSCRIPTION:
            seen = [event async for event in events(stack, "event stream", one["query"], variables)]
            assert "".join(event.get("text", "") for event in seen)
            assert seen[-1]["outcome"] == "COMPLETED"
        else:
            answer = await stack.graphql(one["query"], variables)
            assert "errors" not in answer
            payloads = [value for value in answer["data"].values() if isinstance(value, dict)]
            assert not any(payload.get("errors") for payload in payloads)
