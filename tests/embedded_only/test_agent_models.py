"""Agents as models of ``/v1``: connections to Letta that break, and the cost of the list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.embedded.people import ADA
from tests.support import things
from tests.support.agent_models import statuses
from tests.support.lossy import CUT, HEAD_THEN_CUT, SEND_PATH, Loss, cut_after, lossy_stack
from tests.support.openai import ask, sdk_client
from tests.support.stack import Stack, embedded_stack, until
from tests.support.streaming import expected, stored_messages

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
CREATE = """mutation($i: CreateAgentInput!) { createAgent(input: $i) { agent { id } errors { message } } }"""


def to_agent(agent_id: str, directive: str = "tokens=3 delay=0", **more: Any) -> dict[str, Any]:
    return {"model": agent_id, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], **more}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("resumable", [False, True])
async def test_the_answer_is_complete_although_the_connection_to_letta_breaks(resumable: bool, stream: bool) -> None:
    """A Letta without Redis cannot replay the rest of the answer, so the gateway reads the stored message."""
    async with lossy_stack(letta_redis=resumable) as (gateway, proxy):
        agent_id = await gateway.make_agent()
        assert (await ask(gateway, CHAT, to_agent(agent_id))).status_code == 200  # learns that Letta has no Redis
        proxy.lose(SEND_PATH, cut_after(5))
        answer = await ask(gateway, CHAT, to_agent(agent_id, "tokens=30 delay=0.02", stream=stream))
    assert proxy.edits == []
    if stream:
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == expected(30)
        assert answer.text.endswith("data: [DONE]\n\n")
    else:
        assert answer.json()["choices"][0]["message"]["content"] == expected(30)


@pytest.mark.parametrize("loss", [CUT, HEAD_THEN_CUT, Loss(asks=False)])
async def test_an_sdk_that_retries_by_itself_sends_a_message_once(loss: Loss) -> None:
    async with lossy_stack() as (gateway, proxy):
        agent_id = await gateway.make_agent()
        proxy.lose(SEND_PATH, loss)
        async with sdk_client(f"{gateway.url}/v1", gateway.token(), max_retries=2) as client:
            answer = await client.chat.completions.create(**to_agent(agent_id))
        assert answer.choices[0].message.content == expected(3)
        assert len(stored_messages(gateway, agent_id)) == 1
    assert proxy.losses == []


async def listed(stack: Stack) -> list[str]:
    answer = await stack.client.get("/v1/models", headers=stack.headers())
    return [model["id"] for model in answer.json()["data"] if model["id"].startswith("agent-")]


async def test_the_list_of_models_costs_one_call_and_shows_new_agents_at_once() -> None:
    async with embedded_stack() as stack:
        first = await listed(stack)
        before = len(stack.calls("ams")), len(stack.calls("letta"))
        assert await listed(stack) == first
        assert (len(stack.calls("ams")), len(stack.calls("letta"))) == before
        given = {"templateId": "template:support-bot", "name": "New", "idempotencyKey": "one"}
        made = (await things.done(stack, CREATE, {"i": given}))["agent"]["id"]
        assert made not in first
        assert sorted(await listed(stack)) == sorted([*first, made])


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_an_expired_token_ends_an_answer_and_cancels_the_run(path: str) -> None:
    async with embedded_stack(stream_grace_seconds=0.3) as stack:
        agent_id = await stack.make_agent()
        asked = {"model": agent_id, "stream": True, **message(path, "hi [[tokens=600 delay=0.05]]")}
        headers = {"authorization": f"Bearer {stack.token(lifetime_seconds=1)}"}
        text = (await stack.client.post(path, json=asked, headers=headers)).text
        last = json.loads(text.rstrip().rpartition("data: ")[2])
        error = last["error"] if path == CHAT else last["response"]["error"]
        assert error["code"] == "invalid_api_key"

        async def cancelled() -> bool:
            return await statuses(stack, agent_id) == ["CANCELLED"]

        await until(cancelled)


def message(path: str, text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"input": text}


async def test_an_agent_that_was_revoked_gets_no_message_although_the_account_is_cached() -> None:
    async with embedded_stack() as stack:
        agent_id = await stack.make_agent()
        made = await ask(stack, RESPONSES, {"model": agent_id, **message(RESPONSES, "hi [[tokens=2 delay=0]]")})
        assert made.status_code == 200
        assert agent_id in await listed(stack)
        user = stack.platform.state.users[ADA]
        user.rows = [row for row in user.rows if row["agent_id"] != agent_id]
        sent = len(stored_messages(stack, agent_id))
        for path, more in ((CHAT, {}), (RESPONSES, {}), (RESPONSES, {"previous_response_id": made.json()["id"]})):
            refused = await ask(stack, path, {"model": agent_id, **message(path, "hi"), **more})
            assert (refused.status_code, "x-stream-id" in refused.headers) in {(400, False), (404, False)}, refused.text
        assert len(stored_messages(stack, agent_id)) == sent
