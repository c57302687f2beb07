"""Texts of many words: the embedded services compute vectors for them, and search them."""

from __future__ import annotations

from typing import Any

import pytest

from resolvers.completing import MAX_INPUT
from resolvers.passages import MAX_TEXT
from tests.support.attack import Target

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

INSERT = "mutation($i: InsertPassageInput!) { insertPassage(input: $i) { passageEdges { cursor } } }"
EMBED = "mutation($i: EmbedInput!) { embed(input: $i) { usage { totalTokens } } }"
PAGE = "query($id: ID!) { agent(id: $id) { passages(first: 20) { nodes { id } } } }"
SEARCH = "query($id: ID!, $q: String!) { agent(id: $id) { searchMemory(query: $q) { __typename } } }"


def words(chars: int) -> str:
    return " ".join(f"{number:x}" for number in range(chars // 3))[:chars]


async def asked(target: Target, query: str, **variables: Any) -> Any:
    whole = await target.ask(query, **variables)
    assert "errors" not in whole, whole["errors"]
    return whole["data"]


async def test_passages_of_many_words_are_stored_listed_and_searched(target: Target) -> None:
    agent_id = await target.agent_id()
    async with target.bystander(), target.measured() as cost:
        for _ in range(10):
            await asked(target, INSERT, i={"agentId": agent_id, "text": words(MAX_TEXT)})
        assert len((await asked(target, PAGE, id=agent_id))["agent"]["passages"]["nodes"]) >= 10
        await asked(target, SEARCH, id=agent_id, q=words(2000))
    assert cost.cpu_seconds < 5


async def test_inputs_of_many_words_are_embedded(target: Target) -> None:
    async with target.bystander(), target.measured() as cost:
        for count in (1, 100):
            inputs = [words(MAX_INPUT // count)] * count
            await asked(target, EMBED, i={"model": "text-embedding-3-small", "inputs": inputs})
    assert cost.cpu_seconds < 5
