"""Texts of very many words, for which the embedded services make vectors, and among which they search."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from resolvers.completing import MAX_INPUT
from resolvers.passages import MAX_TEXT
from tests.support.attack import Target, attacked

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

INSERT = "mutation($i: InsertPassageInput!) { insertPassage(input: $i) { passageEdges { cursor } } }"
EMBED = "mutation($i: EmbedInput!) { embed(input: $i) { usage { totalTokens } } }"
PAGE = "query($id: ID!) { agent(id: $id) { passages(first: 20) { nodes { id } } } }"
SEARCH = "query($id: ID!, $q: String!) { agent(id: $id) { searchMemory(query: $q) { __typename } } }"


def words(chars: int) -> str:
    """Different words, as many as fit."""
    return " ".join(f"{number:x}" for number in range(chars // 3))[:chars]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with attacked(tmp_path_factory.mktemp("words")) as running:
        yield running


async def asked(target: Target, query: str, **variables: Any) -> Any:
    async with target.client() as client:
        whole = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in whole, whole["errors"]
    return whole["data"]


async def test_passages_of_tens_of_thousands_of_words_are_kept_listed_and_found(target: Target) -> None:
    agents = (await asked(target, "{ viewer { agents(first: 1) { nodes { id } } } }"))["viewer"]["agents"]["nodes"]
    agent_id = agents[0]["id"]
    async with target.bystander(), target.measured() as cost:
        for _ in range(10):
            await asked(target, INSERT, i={"agentId": agent_id, "text": words(MAX_TEXT)})
        assert len((await asked(target, PAGE, id=agent_id))["agent"]["passages"]["nodes"]) >= 10
        await asked(target, SEARCH, id=agent_id, q=words(2000))
    assert cost.cpu_seconds < 5


async def test_inputs_of_tens_of_thousands_of_words_are_embedded(target: Target) -> None:
    async with target.bystander(), target.measured() as cost:
        for count in (1, 100):
            inputs = [words(MAX_INPUT // count)] * count
            await asked(target, EMBED, i={"model": "text-embedding-3-small", "inputs": inputs})
    assert cost.cpu_seconds < 5
