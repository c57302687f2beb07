from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.support.upstreams import Upstreams, kinds, message

NOBODY = str(uuid.uuid4())


async def test_conversations_are_listed_newest_first_and_by_page(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    made = [await up.conversation(agent_id) for _ in range(3)]
    newest = made[::-1]

    async def listed(query: str = "") -> list[str]:
        return [one["id"] for one in await up.get(f"/v1/conversations/?agent_id={agent_id}{query}")]

    assert await listed() == await listed("&order=desc") == newest
    assert await listed("&order=asc") == made
    assert await listed("&limit=2") == newest[:2]
    assert await listed(f"&limit=1&after={newest[0]}") == newest[1:2]
    assert await listed(f"&order=asc&after={made[0]}") == made[1:]
    assert await listed(f"&after={newest[2]}") == []
    assert await listed(f"&before={newest[2]}") == newest, "there is no before"
    assert await listed("&limit=0") == []
    unknown = await up.letta.get(f"/v1/conversations/?agent_id={agent_id}&after=conv-{NOBODY}")
    assert unknown.status_code == 404
    assert (await up.letta.get(f"/v1/conversations/?agent_id={agent_id}&limit=-1")).status_code == 500
    assert (await up.letta.get(f"/v1/conversations/?agent_id={agent_id}&order=bad")).status_code == 422
    assert await up.get(f"/v1/conversations/?agent_id=agent-{NOBODY}") == []
    assert (await up.letta.post(f"/v1/conversations/?agent_id=agent-{NOBODY}", json={})).status_code == 404


async def test_conversations_are_found_by_their_summary(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    lights = await up.conversation(agent_id, summary="The Lights")
    await up.conversation(agent_id, summary="other")
    path = f"/v1/conversations/?agent_id={agent_id}&summary_search"
    assert [one["id"] for one in await up.get(f"{path}=Light")] == [lights]
    assert await up.get(f"{path}=light") == [], "upper and lower case are distinguished"
    assert await up.get(f"{path}=zebra") == []


async def test_a_conversation_is_changed_and_deleted(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    path = f"/v1/conversations/{await up.conversation(agent_id, summary='first')}"
    renamed = (await up.letta.patch(path, json={"summary": "renamed", "agent_id": "x"})).json()
    assert (renamed["summary"], renamed["agent_id"]) == ("renamed", agent_id)
    kept = (await up.letta.patch(path, json={"summary": None})).json()
    assert kept["summary"] == "renamed", "null changes nothing"
    seen = await up.get(path)
    assert (seen["summary"], len(seen["in_context_message_ids"])) == ("renamed", 1)
    gone = await up.letta.delete(path)
    assert (gone.status_code, gone.json()) == (200, None)
    calls = (up.letta.get(path), up.letta.patch(path, json={"summary": "x"}), up.letta.delete(path))
    for answer in await asyncio.gather(*calls, up.letta.post(f"{path}/messages", json=message("x"))):
        assert (answer.status_code, list(answer.json())) == (404, ["detail"])
    assert await up.get(f"/v1/conversations/?agent_id={agent_id}") == []


async def test_a_fork_is_independent(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    path = f"/v1/conversations/{await up.conversation(agent_id)}"
    await up.events(f"{path}/messages", message("hi [[tokens=2]]"))
    fork = (await up.letta.post(f"{path}/fork")).json()
    assert (fork["summary"], fork["agent_id"], fork["last_message_at"]) == (None, agent_id, None)

    async def texts(path: str) -> list[str]:
        return [one["content"] for one in (await up.get(f"{path}/messages?order=asc"))[1:]]

    forked = f"/v1/conversations/{fork['id']}"
    await up.events(f"{forked}/messages", message("more [[tokens=1]]"))
    assert await texts(path) == ["hi [[tokens=2]]", "tok0 tok1"]
    assert await texts(forked) == ["hi [[tokens=2]]", "tok0 tok1", "more [[tokens=1]]", "tok0"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/fork"), ("POST", "/cancel")]
)
async def test_an_unknown_conversation_is_an_error(up: Upstreams, method: str, path: str) -> None:
    answer = await up.letta.request(method, f"/v1/conversations/conv-{NOBODY}{path}", json={})
    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)
    assert (await up.letta.request(method, f"/v1/conversations/xx{path}", json={})).status_code == 422


async def test_a_conversations_messages_by_page(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    path = f"/v1/conversations/{await up.conversation(agent_id)}/messages"
    for text in ("one", "two"):
        await up.events(path, message(f"{text} [[tokens=1]]"))
    oldest = [one["id"] for one in await up.get(f"{path}?order=asc")]
    assert kinds(await up.get(f"{path}?order=asc")) == ["system_message", *["user_message", "assistant_message"] * 2]

    async def listed(query: str) -> list[str]:
        return [one["id"] for one in await up.get(f"{path}?{query}")]

    newest = oldest[::-1]
    assert await listed("") == await listed("order=desc") == newest
    assert await listed("limit=2") == newest[:2]
    assert await listed("limit=2&order=asc") == oldest[:2]
    assert await listed("limit=0") == []
    assert await listed(f"before={oldest[3]}&limit=2") == newest[2:4]
    assert await listed(f"before={oldest[3]}&limit=2&order=asc") == oldest[:2]
    assert await listed(f"after={oldest[2]}") == newest[:2]
    assert await listed(f"after={oldest[1]}&limit=2&order=asc") == oldest[2:4]
    assert await listed(f"after={oldest[0]}&before={oldest[4]}") == newest[1:4]
    assert await listed(f"after=message-{NOBODY}") == newest, "a place that is not known is ignored"
    assert await listed(f"before=message-{NOBODY}") == newest
    await up.tell(f"/v1/agents/{agent_id}/messages", "elsewhere [[tokens=1]]")
    [*_, elsewhere] = await up.get(f"/v1/conversations/default/messages?agent_id={agent_id}")
    assert await listed(f"after={elsewhere['id']}") == await listed(f"before={elsewhere['id']}") == newest
    assert (await up.letta.get(f"{path}?limit=-1")).status_code == 500


async def test_the_default_conversations_messages_come_oldest_first(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    path = f"/v1/conversations/default/messages?agent_id={agent_id}"
    for text in ("one", "two"):
        await up.tell(f"/v1/agents/{agent_id}/messages", f"{text} [[tokens=1]]")
    oldest = [one["id"] for one in await up.get(f"{path}&order=asc")]
    assert len(oldest) == 5

    async def listed(query: str) -> list[str]:
        return [one["id"] for one in await up.get(f"{path}&{query}")]

    assert await listed("order=desc") == oldest
    assert await listed("limit=2&order=desc") == oldest[-2:], "the newest ones, oldest first"
    assert await listed("limit=2&order=asc") == oldest[:2]
    assert await listed(f"before={oldest[3]}&limit=2&order=desc") == oldest[1:3]
    unknown = await up.letta.get(f"{path}&after=message-{NOBODY}")
    assert unknown.status_code == 404

    other = f"/v1/agents/{(await up.agent())['id']}/messages"
    await up.tell(other, "elsewhere [[tokens=1]]")
    [*_, foreign] = [one["id"] for one in await up.get(other)]
    await up.tell(f"/v1/agents/{agent_id}/messages", "three [[tokens=1]]")
    later = [one["id"] for one in await up.get(f"{path}&order=asc")][len(oldest) :]
    assert len(later) == 2
    assert await listed(f"after={foreign}&order=asc") == later, "any message is a place, whoever's it is"
    assert await listed(f"before={foreign}&order=asc") == oldest
    assert await up.get("/v1/conversations/default/messages") == [], "no agent is named"


async def test_an_agents_messages_are_those_of_all_its_conversations_oldest_first(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    conversation_id = await up.conversation(agent_id)
    await up.events(f"/v1/conversations/{conversation_id}/messages", message("there [[tokens=1]]"))
    await up.tell(f"/v1/agents/{agent_id}/messages", "here [[tokens=1]]")
    path = f"/v1/agents/{agent_id}/messages"
    every = await up.get(path)
    texts = {one["content"] for one in every if one["message_type"] == "user_message"}
    assert texts == {"there [[tokens=1]]", "here [[tokens=1]]"}
    dates = [one["date"] for one in every]
    assert dates == sorted(dates)
    assert await up.get(f"{path}?order=asc") == await up.get(f"{path}?order=desc") == every
    assert await up.get(f"{path}?limit=2") == every[-2:]
    assert await up.get(f"{path}?limit=2&before={every[-1]['id']}") == every[-3:-1]
    alone = await up.get(f"{path}?conversation_id={conversation_id}")
    assert kinds(alone) == ["system_message", "user_message", "assistant_message"]
    unknown = await up.letta.get(f"{path}?after=message-{NOBODY}")
    assert (unknown.status_code, list(unknown.json())) == (404, ["detail"])


async def test_one_id_may_be_several_messages(up: Upstreams) -> None:
    path = f"/v1/conversations/{await up.conversation((await up.agent())['id'])}/messages"
    await up.events(path, message("hi [[tokens=1 reasoning=1]]"))
    listed = await up.get(f"{path}?order=asc")
    assert kinds(listed)[1:] == ["user_message", "reasoning_message", "assistant_message"]
    _, _, reasoning, assistant = listed
    assert reasoning["id"] == assistant["id"]
    assert reasoning["otid"] != assistant["otid"]
    both = await up.get(f"/v1/messages/{assistant['id']}")
    assert {(one["id"], one["otid"]) for one in both} == {(one["id"], one["otid"]) for one in (reasoning, assistant)}
    assert (await up.letta.get(f"/v1/messages/message-{NOBODY}")).status_code == 404


async def test_a_text_with_nul_is_status_500(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    made = await up.letta.post("/v1/conversations/", params={"agent_id": agent_id}, json={"summary": "a\0b"})
    assert made.status_code == 500
    searched = await up.letta.get("/v1/conversations/", params={"agent_id": agent_id, "summary_search": "a\0b"})
    assert searched.status_code == 500
