from __future__ import annotations

import uuid

from app.embedded.vectors import embed, likeness
from tests.support.embedded import embedded


async def test_blocks_are_read_and_changed_by_label_and_by_id() -> None:
    async with embedded() as services:
        core = f"/v1/agents/{services.agent_ids()[0]}/core-memory/blocks"
        listed = (await services.letta.get(core)).json()
        assert {block["label"] for block in listed} == {"persona", "human"}
        changed = (await services.letta.patch(f"{core}/human", json={"value": "Name: Grace", "id": "x"})).json()
        assert (changed["value"], changed["label"]) == ("Name: Grace", "human")
        path = f"/v1/blocks/{changed['id']}"
        assert (await services.letta.get(path)).json() == changed
        again = (await services.letta.patch(path, json={"value": "v" * 200000})).json()
        assert (len(again["value"]), again["limit"]) == (200000, 100000)
        assert (await services.letta.get(f"{core}/human")).json() == again
        missing = await services.letta.get(f"{core}/nope")
        assert missing.status_code == 404
        assert missing.json()["detail"].startswith("No block with label 'nope' found for agent")
        assert (await services.letta.get(f"/v1/blocks/block-{uuid.uuid4()}")).status_code == 404


async def test_a_shared_block_names_its_agents() -> None:
    async with embedded() as services:
        block = (await services.letta.post("/v1/blocks/", json={"label": "shared", "value": "v", "limit": 2000})).json()
        mine = services.agent_ids()[:2]
        for agent_id in mine:
            core = f"/v1/agents/{agent_id}/core-memory/blocks"
            attached = (await services.letta.patch(f"{core}/attach/{block['id']}")).json()
            assert attached["blocks"][-1] == block
        agents = (await services.letta.get(f"/v1/blocks/{block['id']}/agents")).json()
        assert {agent["id"] for agent in agents} == set(mine)
        await services.letta.patch(f"/v1/blocks/{block['id']}", json={"value": "new"})
        for agent_id in mine:
            seen = (await services.letta.get(f"/v1/agents/{agent_id}/core-memory/blocks/shared")).json()
            assert seen["value"] == "new"
        core = f"/v1/agents/{mine[0]}/core-memory/blocks"
        await services.letta.patch(f"{core}/detach/{block['id']}")
        agents = (await services.letta.get(f"/v1/blocks/{block['id']}/agents")).json()
        assert [agent["id"] for agent in agents] == mine[1:]
        assert (await services.letta.post("/v1/blocks/", json={"value": "v"})).status_code == 422


async def test_passages_are_kept_searched_and_deleted() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/archival-memory"
        before = len((await services.letta.get(path)).json())
        made = (await services.letta.post(path, json={"text": "the sky is blue", "tags": ["sky"]})).json()
        (passage,) = made
        assert (passage["text"], passage["tags"], len(passage["embedding"])) == ("the sky is blue", ["sky"], 1536)
        await services.letta.post(path, json={"text": "the sea is blue and wide"})
        assert len((await services.letta.get(path)).json()) == before + 2
        newest = (await services.letta.get(f"{path}?limit=1&ascending=false")).json()
        assert newest[0]["text"] == "the sea is blue and wide"
        assert [one["text"] for one in (await services.letta.get(f"{path}?search=SKY")).json()] == ["the sky is blue"]

        async def found(query: str) -> list[str]:
            answer = (await services.letta.get(f"{path}/search?{query}")).json()
            assert answer["count"] == len(answer["results"])
            assert all(set(one) == {"id", "timestamp", "content", "tags"} for one in answer["results"])
            return [one["content"] for one in answer["results"]]

        assert (await found("query=blue sky"))[0] == "the sky is blue"
        assert await found("query=blue&top_k=1") == ["the sea is blue and wide"]
        assert await found("query=blue&tags=sky") == ["the sky is blue"]
        assert await found("query=zebra") == []
        for wrong in ("", "?query=x&top_k=many"):
            assert (await services.letta.get(f"{path}/search{wrong}")).status_code == 422
        assert (await services.letta.delete(f"{path}/{passage['id']}")).status_code == 200
        assert (await services.letta.delete(f"{path}/{passage['id']}")).status_code == 404
        others = f"/v1/agents/{services.agent_ids()[1]}/archival-memory/{newest[0]['id']}"
        assert (await services.letta.delete(others)).status_code == 200  # measured: it asks nobody whose it is
        assert (await services.letta.post(path, json={"tags": []})).status_code == 422


def test_vectors_are_the_same_for_the_same_words_and_closer_for_shared_ones() -> None:
    def product(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embed(one, 256), embed(other, 256), strict=True))

    assert abs(product("the blue sky", "Blue, the sky!") - 1) < 1e-9
    assert product("a blue sky", "a blue sea") > product("a blue sky", "red wine")
    assert likeness("sky", "a skyline") == 0.5
    assert likeness("", "x") == 0.0
