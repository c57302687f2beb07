from __future__ import annotations

import uuid

from tests.support.upstreams import Upstreams

NOBODY = str(uuid.uuid4())


async def test_blocks_are_read_and_changed_by_label_and_by_id(up: Upstreams) -> None:
    core = f"/v1/agents/{(await up.agent())['id']}/core-memory/blocks"
    assert {block["label"] for block in await up.get(core)} == {"persona", "human"}
    changed = (await up.letta.patch(f"{core}/human", json={"value": "Name: Grace"})).json()
    assert (changed["value"], changed["label"], changed["limit"]) == ("Name: Grace", "human", 2000)
    path = f"/v1/blocks/{changed['id']}"
    assert await up.get(path) == changed
    again = (await up.letta.patch(path, json={"value": "v" * 3000})).json()
    assert (len(again["value"]), again["limit"]) == (3000, 2000), "longer than its limit, and taken all the same"
    assert (await up.get(f"{core}/human"))["value"] == again["value"]
    missing = await up.letta.get(f"{core}/nope")
    assert (missing.status_code, list(missing.json())) == (404, ["detail"])
    assert (await up.letta.get(f"/v1/blocks/block-{NOBODY}")).status_code == 404
    assert (await up.letta.patch(f"/v1/blocks/block-{NOBODY}", json={"value": "v"})).status_code == 404


async def test_a_shared_block_names_its_agents(up: Upstreams) -> None:
    block = await up.block(limit=2000)
    own = [(await up.agent())["id"] for _ in range(2)]
    for agent_id in own:
        core = f"/v1/agents/{agent_id}/core-memory/blocks"
        attached = (await up.letta.patch(f"{core}/attach/{block['id']}")).json()
        assert block["id"] in [one["id"] for one in attached["blocks"]]
    assert {agent["id"] for agent in await up.get(f"/v1/blocks/{block['id']}/agents")} == set(own)
    await up.letta.patch(f"/v1/blocks/{block['id']}", json={"value": "new"})
    for agent_id in own:
        assert (await up.get(f"/v1/agents/{agent_id}/core-memory/blocks/shared"))["value"] == "new"
    await up.letta.patch(f"/v1/agents/{own[0]}/core-memory/blocks/detach/{block['id']}")
    assert [agent["id"] for agent in await up.get(f"/v1/blocks/{block['id']}/agents")] == own[1:]
    assert (await up.letta.post("/v1/blocks/", json={"value": "v"})).status_code == 422
    assert await up.get(f"/v1/blocks/block-{NOBODY}/agents") == []


async def test_passages_are_listed_oldest_first_and_by_page(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}/archival-memory"
    assert await up.get(path) == []
    for text in ("the sky is blue", "the sea is blue and wide", "Red wine"):
        [made] = (await up.letta.post(path, json={"text": text, "tags": [text.split()[-1]]})).json()
        assert (made["text"], made["tags"], len(made["embedding"])) == (text, [text.split()[-1]], 4096)

    async def listed(query: str = "") -> list[str]:
        return [one["text"][:7] for one in await up.get(f"{path}?{query}")]

    sky, sea, wine = (one["id"] for one in await up.get(path))
    assert await listed() == ["the sky", "the sea", "Red win"]
    assert await listed("limit=1") == ["the sky"]
    assert await listed("ascending=false") == ["Red win", "the sea", "the sky"]
    assert await listed("ascending=false&limit=1") == ["Red win"]
    assert await listed("search=SKY") == ["the sky"]
    assert await listed(f"after={sky}") == ["the sea", "Red win"]
    assert await listed(f"before={sea}") == ["the sky"]
    assert await listed(f"after={sky}&ascending=false") == ["Red win", "the sea"], "after is newer in both orders"
    assert await listed(f"before={wine}&ascending=false") == ["the sea", "the sky"]
    assert await listed(f"after=passage-{NOBODY}") == []
    other = f"/v1/agents/{(await up.agent())['id']}/archival-memory"
    [foreign] = (await up.letta.post(other, json={"text": "elsewhere"})).json()
    [_] = (await up.letta.post(path, json={"text": "latest"})).json()
    assert await listed(f"after={foreign['id']}") == ["latest"], "any passage is a place, whoever's it is"
    assert await listed(f"before={foreign['id']}&ascending=false") == ["Red win", "the sea", "the sky"]
    assert (await up.letta.get(f"{path}?limit=-1")).status_code == 500
    assert await up.get(f"/v1/agents/agent-{NOBODY}/archival-memory") == []


async def test_passages_are_searched(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}/archival-memory"
    for text in ("the sky is blue", "red wine"):
        await up.letta.post(path, json={"text": text, "tags": [text.split()[-1]]})

    async def found(query: str) -> list[str]:
        answer = await up.get(f"{path}/search?{query}")
        assert answer["count"] == len(answer["results"])
        assert all(set(one) == {"id", "timestamp", "content", "tags"} for one in answer["results"])
        return [one["content"] for one in answer["results"]]

    assert sorted(await found("query=blue sky")) == ["red wine", "the sky is blue"], "the nearest, however far"
    assert len(await found("query=blue&top_k=1")) == 1
    assert await found("query=blue&tags=wine") == ["red wine"]
    assert await found("query=blue&tags=wine&tags=blue&tag_match_mode=all") == []
    assert await found("query=") == []
    for wrong in ("", "?query=x&top_k=many"):
        assert (await up.letta.get(f"{path}/search{wrong}")).status_code == 422
    assert (await up.letta.get(f"/v1/agents/agent-{NOBODY}/archival-memory/search?query=x")).status_code == 404


async def test_passages_are_deleted_once(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}/archival-memory"
    [made] = (await up.letta.post(path, json={"text": "the sky is blue"})).json()
    assert made["tags"] is None
    gone = await up.letta.delete(f"{path}/{made['id']}")
    assert (gone.status_code, list(gone.json())) == (200, ["message"])
    again = await up.letta.delete(f"{path}/{made['id']}")
    assert (again.status_code, list(again.json())) == (404, ["detail"])
    assert await up.get(path) == []
    assert (await up.letta.post(path, json={"tags": []})).status_code == 422


async def test_letta_does_not_check_the_owner_of_a_deleted_passage(up: Upstreams) -> None:
    """The gateway checks it."""
    own, other = [(await up.agent())["id"] for _ in range(2)]
    [made] = (await up.letta.post(f"/v1/agents/{own}/archival-memory", json={"text": "x"})).json()
    assert (await up.letta.delete(f"/v1/agents/{other}/archival-memory/{made['id']}")).status_code == 200
    assert await up.get(f"/v1/agents/{own}/archival-memory") == []
