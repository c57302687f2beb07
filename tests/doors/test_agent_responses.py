"""Agents as models of ``/v1/responses``."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.support import things
from tests.support.agent_models import new_conversation, said, statuses
from tests.support.documents import RESPOND, STREAM
from tests.support.doors import events
from tests.support.images import DOT
from tests.support.openai import ask, sdk_client
from tests.support.response_events import deltas, events_in
from tests.support.stack import ADA, GRACE, Stack, until
from tests.support.streaming import expected, text_of

RESPONSES = "/v1/responses"
STREAMED = pytest.mark.parametrize("stream", [False, True])


def to_agent(agent_id: str, directive: str = "tokens=3 delay=0", **more: Any) -> dict[str, Any]:
    return {"model": agent_id, "input": f"hi [[{directive}]]", **more}


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as client:
        yield client


@pytest.fixture
async def agent_id(stack: Stack) -> str:
    return await stack.make_agent()


async def test_an_sdk_gets_a_response_and_continues_it(stack: Stack, sdk: openai.AsyncOpenAI, agent_id: str) -> None:
    other = await new_conversation(stack, agent_id)
    first = await sdk.responses.create(**to_agent(agent_id), extra_headers={"X-Conversation-Id": other})
    assert (first.output_text, first.status, first.model, first.error) == (expected(3), "completed", agent_id, None)
    assert first.usage is not None
    assert first.usage.output_tokens == 3
    second = await sdk.responses.create(**to_agent(agent_id, "tokens=2 delay=0"), previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == (expected(2), first.id)
    assert await said(stack, other) == ["hi [[tokens=3 delay=0]]", "hi [[tokens=2 delay=0]]"]
    assert await said(stack, f"conversation:{agent_id}") == []
    again = await sdk.responses.retrieve(second.id)
    assert again.model_dump(exclude={"previous_response_id"}) == second.model_dump(exclude={"previous_response_id"})


async def test_a_streamed_response_is_a_turn_of_the_graph(stack: Stack, sdk: openai.AsyncOpenAI, agent_id: str) -> None:
    async with sdk.responses.stream(**to_agent(agent_id, "tokens=5 delay=0 reasoning=1")) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (final.output_text, kinds[0], kinds[-1]) == (expected(5), "response.created", "response.completed")
    assert final.usage is not None
    assert final.usage.output_tokens == 5
    if not stack.real:  # the scripted model of the real services has no reasoning
        assert [item.type for item in final.output] == ["reasoning", "message"]
    heard = [event async for event in events(stack, "websocket", STREAM, {"id": stream_of(final.id)})]
    assert (text_of(heard), heard[-1]["outcome"]) == (expected(5), "COMPLETED")


def stream_of(response_id: str) -> str:
    return "stream:" + response_id.rpartition("_")[2]


async def test_a_stream_has_each_event_once(stack: Stack, agent_id: str) -> None:
    answer = await ask(stack, RESPONSES, to_agent(agent_id, "tokens=20 delay=0", stream=True))
    found = events_in(answer.text)
    assert (answer.status_code, "[DONE]" in answer.text) == (200, False)
    assert (deltas(found), found[-1]["type"]) == (expected(20), "response.completed")
    [name] = {event["response"]["id"] for event in found if "response" in event}
    assert answer.headers["x-stream-id"] == stream_of(name)
    assert answer.headers["x-conversation-id"] == f"conversation:{agent_id}"
    read = await stack.client.get(f"{RESPONSES}/{name}", headers=stack.headers())
    assert read.json() == found[-1]["response"]


async def test_only_the_last_user_message_is_sent(stack: Stack, agent_id: str) -> None:
    text = "second [[tokens=1 delay=0]]"
    items = [
        {"role": "user", "content": "first"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "an answer"}]},
        {"role": "user", "content": [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": DOT}]},
        {"role": "developer", "content": "Greet the user."},
    ]
    tuning = {"instructions": "Be brief.", "temperature": 0.1, "store": False, "metadata": {"a": "b"}, "tools": []}
    answer = await ask(stack, RESPONSES, {"model": agent_id, "input": items, **tuning})
    assert answer.status_code == 200, answer.text
    assert await said(stack, f"conversation:{agent_id}") == [text]


TOOL = {"type": "function", "name": "roll", "parameters": {}}
USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": " "}, None),
        ({"input": "a\0b"}, None),
        ({"input": [{"role": "system", "content": "x"}]}, "input"),
        ({"input": [USER, {"role": "assistant", "content": "so"}]}, "input[1]"),
        ({"input": [USER, {"type": "function_call_output", "call_id": "c", "output": "4"}]}, "input[1]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
    ],
)
async def test_what_an_agent_cannot_follow_is_refused(
    stack: Stack, agent_id: str, more: dict[str, Any], param: str | None
) -> None:
    answer = await ask(stack, RESPONSES, to_agent(agent_id) | more)
    assert answer.status_code == 400, answer.text
    assert (answer.json()["error"]["type"], answer.json()["error"]["param"]) == ("invalid_request_error", param)
    assert await statuses(stack, agent_id) == []


@STREAMED
async def test_another_users_agent_is_answered_like_a_missing_model(stack: Stack, stream: bool) -> None:
    theirs, missing = await stack.make_agent(GRACE), f"agent-{uuid.uuid4()}"
    first, second = [await ask(stack, RESPONSES, to_agent(name, stream=stream)) for name in (theirs, missing)]
    assert (first.status_code, first.json()["error"]["code"]) == (404, "model_not_found")
    assert first.content.replace(theirs.encode(), b"NAME") == second.content.replace(missing.encode(), b"NAME")


async def test_a_response_belongs_to_one_user_and_one_agent(stack: Stack, agent_id: str) -> None:
    mine = (await ask(stack, RESPONSES, to_agent(agent_id))).json()["id"]
    other = await stack.make_agent()
    theirs = await stack.make_agent(GRACE)
    agent = mine.removeprefix("resp_").partition("_")[0]
    unknown = f"resp_{agent}_{uuid.uuid4()}"
    cases = [(GRACE, mine), (GRACE, unknown), (GRACE, mine.replace(agent, theirs)), (ADA, unknown)]
    answers = [await stack.client.get(f"{RESPONSES}/{name}", headers=stack.headers(user)) for user, name in cases]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    for user, name in ((GRACE, theirs), (ADA, other)):
        asked = to_agent(name, previous_response_id=mine)
        refused = await stack.client.post(RESPONSES, json=asked, headers=stack.headers(user))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")
    conversation = {"X-Conversation-Id": await new_conversation(stack, agent_id)}
    both = await ask(stack, RESPONSES, to_agent(agent_id, previous_response_id=mine), **conversation)
    assert (both.status_code, both.json()["error"]["param"]) == (400, "previous_response_id")


async def test_a_response_of_an_agent_is_neither_deleted_nor_listed(stack: Stack, agent_id: str) -> None:
    name = (await ask(stack, RESPONSES, to_agent(agent_id))).json()["id"]
    deleted = await stack.client.delete(f"{RESPONSES}/{name}", headers=stack.headers())
    items = await stack.client.get(f"{RESPONSES}/{name}/input_items", headers=stack.headers())
    for answer in (deleted, items):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
        assert "`messages`" in answer.json()["error"]["message"]


async def test_an_item_with_the_type_null_is_a_message(stack: Stack, agent_id: str) -> None:
    item = {"type": None, "role": "user", "content": "hi [[tokens=1 delay=0]]"}
    answer = await ask(stack, RESPONSES, {"model": agent_id, "input": [item]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["stream", "starting_after", "nonsense"])
async def test_an_unknown_query_parameter_is_refused(stack: Stack, agent_id: str, name: str) -> None:
    response_id = (await ask(stack, RESPONSES, to_agent(agent_id))).json()["id"]
    answer = await stack.client.get(f"{RESPONSES}/{response_id}?{name}=1", headers=stack.headers())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


async def test_an_approval_is_left_to_the_graph(stack: Stack, agent_id: str) -> None:
    await stack.require_approval(agent_id, "memory_insert")
    asked = to_agent(agent_id, "tokens=2 delay=0 tool=memory_insert approve=1", stream=True)
    found = events_in((await ask(stack, RESPONSES, asked)).text)
    assert (found[-1]["type"], found[-1]["response"]["error"]["code"]) == ("response.failed", "approval_pending")
    name = found[-1]["response"]["id"]
    read = (await stack.client.get(f"{RESPONSES}/{name}", headers=stack.headers())).json()
    assert (read["status"], read["error"]) == ("failed", found[-1]["response"]["error"])
    request = found[-1]["response"]["error"]["message"].split("`requestId` is `")[1].split("`")[0]
    decided = await things.done(stack, RESPOND, {"i": {"requestId": request, "decision": "DENY"}})
    heard = [event async for event in events(stack, "websocket", STREAM, {"id": decided["stream"]["id"]})]
    assert heard[-1]["outcome"] == "COMPLETED"


async def test_a_failed_turn_is_a_failed_response(stack: Stack, agent_id: str) -> None:
    found = events_in((await ask(stack, RESPONSES, to_agent(agent_id, "error=400", stream=True))).text)
    assert (found[0]["type"], found[-1]["type"]) == ("response.created", "response.failed")
    assert found[-1]["response"]["error"]["code"]
    read = await stack.client.get(f"{RESPONSES}/{found[-1]['response']['id']}", headers=stack.headers())
    assert read.json()["output"] == found[-1]["response"]["output"]
    whole = await ask(stack, RESPONSES, to_agent(agent_id, "error=400"))
    assert whole.json()["error"]["code"] == found[-1]["response"]["error"]["code"]


async def test_a_running_response_is_read_and_stopped_by_leaving(stack: Stack, agent_id: str) -> None:
    asked = to_agent(agent_id, "tokens=400 delay=0.05", stream=True)
    async with stack.client.stream("POST", RESPONSES, json=asked, headers=stack.headers()) as answer:
        lines = answer.aiter_lines()  # closing the iterator closes the connection
        name = ""
        while "tok1" not in (line := await anext(lines)):
            name = line.split('"id":"')[1].split('"')[0] if "response.created" in line and '"id"' in line else name
        read = (await stack.client.get(f"{RESPONSES}/{name}", headers=stack.headers())).json()
        assert (read["status"], read["usage"]) == ("in_progress", None)
        assert read["output"][-1]["content"][0]["text"].startswith("tok0 tok1")

    async def cancelled() -> bool:
        return await statuses(stack, agent_id) == ["CANCELLED"]

    await until(cancelled)


@STREAMED
async def test_both_apis_share_an_idempotency_key(stack: Stack, agent_id: str, stream: bool) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = await ask(stack, RESPONSES, to_agent(agent_id, stream=stream), **key)
    again = await ask(stack, RESPONSES, to_agent(agent_id, stream=stream), **key)
    assert (first.status_code, first.content) == (200, again.content)
    chat = {"model": agent_id, "messages": [{"role": "user", "content": "hi [[tokens=3 delay=0]]"}]}
    assert expected(3) in (await ask(stack, "/v1/chat/completions", chat, **key)).text
    assert len(await said(stack, f"conversation:{agent_id}")) == 1


async def test_letta_gets_no_agents_as_models(stack: Stack, agent_id: str) -> None:
    answer = await ask(stack, "proxy/responses", to_agent(agent_id))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert await statuses(stack, agent_id) == []
