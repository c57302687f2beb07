from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.support.upstreams import Upstreams

NOBODY = f"agent-{uuid.uuid4()}"
INCLUDE = "include=agent.blocks&include=agent.tools&include=agent.tags"


async def test_health_needs_no_key_and_all_else_does(up: Upstreams) -> None:
    health = await up.letta.get("/v1/health/", headers={"authorization": ""})
    assert (health.status_code, health.json()) == (200, {"version": "0.16.8", "status": "ok"})
    for wrong in ("", "Bearer nope"):
        refused = await up.letta.get("/v1/agents/", headers={"authorization": wrong})
        assert refused.status_code == 401
        assert isinstance(refused.json()["detail"], str)
    assert (await up.letta.get("/v1/agents")).status_code == 307


async def test_agents_are_listed_by_tag_name_and_page(up: Upstreams) -> None:
    made = [(await up.agent(name=f"contract {number}"))["id"] for number in range(3)]
    newest = made[::-1]

    async def listed(query: str) -> list[str]:
        return [agent["id"] for agent in await up.get(f"/v1/agents/?{query}")]

    tag = f"tags={up.tag}"
    assert await listed(tag) == newest
    assert await listed(f"{tag}&order=asc") == made
    assert await listed(f"{tag}&limit=1&after={newest[0]}") == newest[1:2]
    assert await listed(f"{tag}&limit=1&after={newest[0]}&order=desc") == newest[1:2]
    assert await listed(f"{tag}&order=asc&after={made[0]}") == made[1:]
    assert await listed(f"{tag}&before={newest[2]}") == newest[:2]
    assert await listed(f"{tag}&after={NOBODY}") == newest
    assert await listed(f"{tag}&tags=nope&match_all_tags=true") == []
    assert await listed(f"{tag}&tags=nope") == newest
    assert await listed(f"{tag}&name=contract 1") == [made[1]]
    assert await listed(f"{tag}&query_text=CONTRACT 2") == [made[2]]
    assert (await up.letta.get("/v1/agents/?limit=-1")).status_code == 500
    assert (await up.letta.get("/v1/agents/?limit=x")).status_code == 422


async def test_parts_that_are_not_included_are_empty(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent(include_base_tools=True))['id']}"
    bare = await up.get(f"{path}?include=agent.tags")
    assert (bare["blocks"], bare["tools"], bare["tags"]) == ([], [], [up.tag])
    whole = await up.get(f"{path}?{INCLUDE}")
    assert {block["label"] for block in whole["blocks"]} == {"persona", "human"}
    assert "conversation_search" in {tool["name"] for tool in whole["tools"]}
    assert whole["llm_config"]["handle"] == whole["model"] == up.handle


async def test_an_agent_is_changed_and_deleted(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}"
    changes = {"name": "N", "description": "D", "system": "S", "tags": [up.tag, "t"], "metadata": {"a": 1}}
    changed = (await up.letta.patch(path, json=changes)).json()
    assert {name: changed[name] for name in changes} == changes
    again = await up.get(f"{path}?{INCLUDE}")
    assert (again["name"], sorted(again["tags"]), len(again["blocks"])) == ("N", sorted([up.tag, "t"]), 2)
    assert again["updated_at"] >= again["created_at"]
    gone = await up.letta.delete(path)
    assert (gone.status_code, list(gone.json())) == (200, ["message"])
    calls = (up.letta.get(path), up.letta.patch(path, json={"name": "x"}), up.letta.delete(path))
    for answer in await asyncio.gather(*calls):
        assert (answer.status_code, list(answer.json())) == (404, ["detail"])


async def test_an_agents_model_is_changed(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}"
    other = "openai-proxy/fake-tools" if up.real else "openai-proxy/gpt-4.1"
    changed = (await up.letta.patch(path, json={"model": other})).json()
    assert (changed["model"], changed["llm_config"]["handle"]) == (other, other)
    refused = await up.letta.patch(path, json={"model": "openai-proxy/nobody-knows-it"})
    assert refused.status_code == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_an_unknown_agent_is_an_error(up: Upstreams, method: str) -> None:
    bad = await up.letta.request(method, "/v1/agents/not-an-id", json={})
    assert bad.status_code == 422
    assert {"trace_id", "detail"} <= set(bad.json())
    assert isinstance(bad.json()["detail"], str)
    assert (await up.letta.request(method, f"/v1/agents/{NOBODY}", json={})).status_code == 404


async def test_invalid_agents_are_refused(up: Upstreams) -> None:
    for body, status in (
        ({"name": 5}, 422),
        ({"model": up.handle, "memory_blocks": "x"}, 422),
        ({"model": "openai-proxy/nobody-knows-it"}, 404),
    ):
        assert (await up.letta.post("/v1/agents/", json=body)).status_code == status
    assert (await up.letta.post("/v1/agents/", content="{nope")).status_code == 422


async def test_tools_by_ids_and_names(up: Upstreams) -> None:
    tools = await up.get("/v1/tools/?limit=2")
    wanted = [tool["id"] for tool in tools]
    assert len(wanted) == 2
    found = await up.get(f"/v1/tools/?tool_ids={wanted[0]}&tool_ids={wanted[1]}&tool_ids=tool-{uuid.uuid4()}")
    assert {tool["id"] for tool in found} == set(wanted)
    names = await up.get("/v1/tools/?names=conversation_search&names=nope")
    assert [tool["name"] for tool in names] == ["conversation_search"]
    assert (await up.get(f"/v1/tools/{wanted[0]}"))["id"] == wanted[0]
    assert (await up.letta.get(f"/v1/tools/tool-{uuid.uuid4()}")).status_code == 404


async def test_an_agents_tools_are_attached_and_detached(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}"
    [tool] = await up.get("/v1/tools/?names=conversation_search")
    attached = await up.letta.patch(f"{path}/tools/attach/{tool['id']}")
    assert attached.status_code == 200
    assert [one["id"] for one in await up.get(f"{path}/tools")] == [tool["id"]]
    assert (await up.letta.patch(f"{path}/tools/detach/{tool['id']}")).status_code == 200
    assert await up.get(f"{path}/tools") == []
    set_ = (await up.letta.patch(path, json={"tool_ids": [tool["id"]]})).json()
    assert [one["id"] for one in set_["tools"]] == [tool["id"]]


async def test_models(up: Upstreams) -> None:
    models = await up.get("/v1/models/")
    assert up.handle in [model["handle"] for model in models]
    assert all(isinstance(model["context_window"], int) for model in models)
    embeddings = await up.get("/v1/models/embedding")
    assert "openai/text-embedding-3-small" in [model["handle"] for model in embeddings]
