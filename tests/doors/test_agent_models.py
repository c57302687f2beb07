"""Agents as models of ``/v1/chat/completions`` and ``/v1/models``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import openai
import pytest

from tests.support import things
from tests.support.agent_models import MESSAGES, new_conversation, said, statuses
from tests.support.documents import RESPOND, STREAM
from tests.support.doors import events
from tests.support.images import DOT
from tests.support.openai import ask, sdk_client
from tests.support.stack import GRACE, Stack, any_stack, replica_of, until
from tests.support.streaming import expected, message_input, text_of

CHAT = "/v1/chat/completions"
NOWHERE = "http://127.0.0.1:9"
APPROVALS = """query($c: ID!) { conversation(id: $c) { messages(last: 5) { nodes { id __typename } } } }"""


def to_agent(agent_id: str, directive: str = "tokens=3 delay=0", **more: Any) -> dict[str, Any]:
    return {"model": agent_id, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], **more}


async def completed(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> None:
    """Read an answer to its end."""
    answer = await client.chat.completions.create(**asked)
    if asked["stream"]:
        _ = [chunk async for chunk in answer]


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as client:
        yield client


@pytest.fixture
async def agent_id(stack: Stack) -> str:
    return await stack.make_agent()


async def test_an_sdk_lists_agents_and_talks_to_one(stack: Stack, sdk: openai.AsyncOpenAI, agent_id: str) -> None:
    models = {model.id: model async for model in await sdk.models.list()}
    assert stack.chat_model in models
    assert (models[agent_id].object, models[agent_id].owned_by) == ("model", "letta")
    assert models[agent_id].created > 1_700_000_000
    assert await sdk.models.retrieve(agent_id) == models[agent_id]
    whole = await sdk.chat.completions.create(**to_agent(agent_id))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (expected(3), "stop")
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 3
    assert whole.model == agent_id


async def test_a_streamed_answer_is_a_turn_of_the_graph(stack: Stack, sdk: openai.AsyncOpenAI, agent_id: str) -> None:
    asked = to_agent(agent_id, "tokens=5 delay=0 reasoning=1", stream=True, stream_options={"include_usage": True})
    raw = await sdk.chat.completions.with_raw_response.create(**asked)
    chunks = [chunk async for chunk in raw.parse()]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == expected(5)
    if not stack.real:  # the scripted model of the real services has no reasoning
        assert "".join(delta.model_extra.get("reasoning_content", "") for delta in deltas if delta.model_extra)
    assert deltas[0].role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert (chunks[-1].choices, chunks[-1].usage and chunks[-1].usage.completion_tokens) == ([], 5)
    assert len({chunk.id for chunk in chunks}) == 1
    assert raw.headers["x-conversation-id"] == f"conversation:{agent_id}"
    heard = [event async for event in events(stack, "websocket", STREAM, {"id": raw.headers["x-stream-id"]})]
    assert (text_of(heard), heard[-1]["outcome"]) == (expected(5), "COMPLETED")
    assert await said(stack, f"conversation:{agent_id}") == [asked["messages"][0]["content"]]


async def test_only_a_complete_stream_ends_with_done(stack: Stack, agent_id: str) -> None:
    answer = await ask(stack, CHAT, to_agent(agent_id, stream=True))
    assert answer.text.endswith('"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    failed = await ask(stack, CHAT, to_agent(agent_id, "tokens=3 delay=0 error=400", stream=True))
    assert "[DONE]" not in failed.text
    assert '"error":{' in failed.text.splitlines()[-2]


async def test_only_the_last_user_message_is_sent(stack: Stack, agent_id: str) -> None:
    mine = {"role": "user", "content": "second [[tokens=1 delay=0]]"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "an answer"},
        mine,
        {"role": "developer", "content": "Greet the user."},
    ]
    tuning = {"temperature": 0.1, "max_tokens": 1, "user": "x", "seed": 1, "n": 1, "tools": [], "tool_choice": "auto"}
    answer = await ask(stack, CHAT, {"model": agent_id, "messages": messages, **tuning})
    assert answer.status_code == 200, answer.text
    assert await said(stack, f"conversation:{agent_id}") == [mine["content"]]


async def test_images_are_sent(stack: Stack, agent_id: str) -> None:
    content = [
        {"type": "text", "text": "what is it? [[tokens=1 delay=0]]"},
        {"type": "image_url", "image_url": {"url": DOT, "detail": "low"}},
    ]
    answer = await ask(stack, CHAT, {"model": agent_id, "messages": [{"role": "user", "content": content}]})
    assert answer.status_code == 200, answer.text
    nodes = (await stack.graphql(MESSAGES, {"c": f"conversation:{agent_id}"}))["data"]["conversation"]["messages"]
    assert [node["images"] for node in nodes["nodes"] if node["__typename"] == "UserMessage"] == [[{"url": DOT}]]


TOOL = {"type": "function", "function": {"name": "roll", "parameters": {}}}
USER, CALL = {"role": "user", "content": "hi"}, {"id": "c", "type": "function", "function": {"name": "roll"}}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"functions": [{"name": "roll"}]}, "functions"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "roll"}}}, "tool_choice"),
        ({"function_call": {"name": "roll"}}, "function_call"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"messages": [USER, {"role": "assistant", "content": "so"}]}, "messages[1]"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "4"}]}, "messages[1]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "file", "text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "\0"}]}]}, None),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_what_an_agent_cannot_follow_is_refused(
    stack: Stack, agent_id: str, more: dict[str, Any], param: str | None
) -> None:
    answer = await ask(stack, CHAT, to_agent(agent_id) | more)
    assert answer.status_code == 400, answer.text
    assert (answer.json()["error"]["type"], answer.json()["error"]["param"]) == ("invalid_request_error", param)
    assert await statuses(stack, agent_id) == []


@pytest.mark.parametrize("kind", [{}, ["message"], None, 5, "message", "function_call"])
async def test_the_type_of_a_message_has_no_meaning(stack: Stack, agent_id: str, kind: Any) -> None:
    """A message of a chat completion has no parameter ``type``."""
    asked = to_agent(agent_id, "tokens=1 delay=0")
    asked["messages"][0]["type"] = kind
    answer = await ask(stack, CHAT, asked)
    assert answer.status_code == 200, answer.text


async def test_the_key_of_a_models_answer_is_refused_at_an_agent(stack: Stack, agent_id: str) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    assert (await ask(stack, CHAT, to_agent(stack.chat_model), **key)).status_code == 200
    answer = await ask(stack, CHAT, to_agent(agent_id), **key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "key_reused")
    assert await said(stack, f"conversation:{agent_id}") == []


@pytest.mark.parametrize("stream", [False, True])
async def test_another_users_agent_is_answered_like_a_missing_model(stack: Stack, stream: bool) -> None:
    theirs, missing = await stack.make_agent(GRACE), f"agent-{uuid.uuid4()}"
    seen = []
    for name in (theirs, missing):
        answer = await ask(stack, CHAT, to_agent(name, stream=stream), **{"X-Conversation-Id": f"conversation:{name}"})
        found = await stack.client.get(f"/v1/models/{name}", headers=stack.headers())
        assert (answer.status_code, found.status_code) == (404, 404)
        assert (answer.json()["error"]["code"], found.json()["error"]["code"]) == ("model_not_found",) * 2
        own = {"x-request-id", "date", "x-ratelimit-remaining", "x-ratelimit-reset"}
        heads = [{k: v for k, v in one.headers.items() if k not in own} for one in (answer, found)]
        seen.append((answer.content.replace(name.encode(), b"NAME"), found.content, heads))
    assert seen[0] == seen[1]
    listed = (await stack.client.get("/v1/models", headers=stack.headers())).text
    assert theirs not in listed
    assert theirs in (await stack.client.get("/v1/models", headers=stack.headers(GRACE))).text


async def test_a_name_that_only_begins_like_an_agents_is_a_models(stack: Stack) -> None:
    answer = await ask(stack, CHAT, to_agent("agent-smith"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_letta_gets_no_agents_as_models(stack: Stack, agent_id: str) -> None:
    answer = await ask(stack, "proxy/chat/completions", to_agent(agent_id))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert await statuses(stack, agent_id) == []
    listed = await stack.client.get(
        f"{stack.proxy()}/models", headers={"authorization": f"Bearer {stack.agent_secret()}"}
    )
    assert listed.json()["data"] == []


async def test_two_conversations(stack: Stack, agent_id: str) -> None:
    other = await new_conversation(stack, agent_id)
    theirs = await stack.make_agent(GRACE)
    second = await stack.make_agent()
    one = await ask(stack, CHAT, to_agent(agent_id, "tokens=1 delay=0"))
    two = await ask(stack, CHAT, to_agent(agent_id, "tokens=2 delay=0"), **{"X-Conversation-Id": other})
    assert (one.status_code, two.status_code) == (200, 200), two.text
    assert [one.headers["x-conversation-id"], two.headers["x-conversation-id"]] == [f"conversation:{agent_id}", other]
    assert await said(stack, f"conversation:{agent_id}") == ["hi [[tokens=1 delay=0]]"]
    assert await said(stack, other) == ["hi [[tokens=2 delay=0]]"]
    wrong = (f"conversation:{theirs}", f"conversation:{second}", f"conv-{uuid.uuid4()}", "nonsense")
    refusals = [await ask(stack, CHAT, to_agent(agent_id), **{"X-Conversation-Id": each}) for each in wrong]
    assert [(one.status_code, one.json()["error"]["code"]) for one in refusals] == [(404, "not_found")] * len(wrong)
    assert len({one.content for one in refusals}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeated_key_sends_no_second_message(stack: Stack, agent_id: str, stream: bool) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = await ask(stack, CHAT, to_agent(agent_id, stream=stream), **key)
    again = await ask(stack, CHAT, to_agent(agent_id, stream=stream), **key)
    assert (first.status_code, first.content) == (200, again.content), first.text
    assert again.headers["x-stream-id"] == first.headers["x-stream-id"]
    other = await ask(stack, CHAT, to_agent(agent_id, "tokens=9"), **key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")
    model = to_agent(stack.chat_model, stream=stream)
    assert (await ask(stack, CHAT, model, **key)).json()["error"]["code"] == "key_reused"
    assert len(await said(stack, f"conversation:{agent_id}")) == 1


async def test_an_sdk_that_retries_by_itself_attaches_to_the_turn(stack: Stack, agent_id: str) -> None:
    """The first attempt runs into the client's timeout. The SDK sends no idempotency key."""
    before = await stack.model_stats()
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=10, timeout=1.0) as client:
        answer = await client.chat.completions.create(**to_agent(agent_id, "tokens=3 delay=0 first=1.5"))
    assert answer.choices[0].message.content == expected(3)
    assert len(await said(stack, f"conversation:{agent_id}")) == 1
    assert (await stack.model_stats())["total"] == before["total"] + 1


async def test_a_retry_gets_an_answer_that_was_completed_meanwhile(stack: Stack, agent_id: str) -> None:
    asked, first = to_agent(agent_id, "tokens=3 delay=0 first=0.5"), asking_as_sdk(0)
    left = asyncio.create_task(ask(stack, CHAT, asked, **first))
    await until(lambda: _runs(stack, agent_id, 1))
    left.cancel()

    async def completed_run() -> bool:
        return await statuses(stack, agent_id) == ["COMPLETED"]

    await until(completed_run, 20)
    retried = await ask(stack, CHAT, asked, **asking_as_sdk(1))
    assert retried.json()["choices"][0]["message"]["content"] == expected(3)
    assert len(await said(stack, f"conversation:{agent_id}")) == 1
    repeated = await ask(stack, CHAT, asked, **asking_as_sdk(1))
    assert repeated.headers["x-stream-id"] != retried.headers["x-stream-id"]
    assert len(await said(stack, f"conversation:{agent_id}")) == 2


def asking_as_sdk(retries: int) -> dict[str, str]:
    return {"x-stainless-retry-count": str(retries)}


async def _runs(stack: Stack, agent_id: str, number: int) -> bool:
    return len(await statuses(stack, agent_id)) == number


async def test_a_client_that_leaves_cancels_the_run(stack: Stack, sdk: openai.AsyncOpenAI, agent_id: str) -> None:
    stream = await sdk.chat.completions.create(**to_agent(agent_id, "tokens=400 delay=0.05"), stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    async def cancelled() -> bool:
        return await statuses(stack, agent_id) == ["CANCELLED"]

    async def answered() -> bool:
        """Return whether the conversation is free for the next message."""
        answer = await ask(stack, CHAT, to_agent(agent_id, "tokens=2 delay=0"))
        assert answer.status_code == 200 or answer.json()["error"]["code"] == "run_busy", answer.text
        return answer.status_code == 200 and expected(2) in answer.text

    await until(cancelled)
    await until(answered, 20)


async def test_a_turn_continues_if_the_client_asks_for_it(stack: Stack, agent_id: str) -> None:
    asked = to_agent(agent_id, "tokens=40 delay=0.03", stream=True)
    headers = {**stack.headers(), "X-Stream-Continue": "true"}
    async with stack.client.stream("POST", CHAT, json=asked, headers=headers) as answer:
        assert answer.status_code == 200
        stream_id = answer.headers["x-stream-id"]
        async for line in answer.aiter_lines():
            if "tok1" in line:
                break
    heard = [event async for event in events(stack, "event stream", STREAM, {"id": stream_id})]
    assert (text_of(heard), heard[-1]["outcome"]) == (expected(40), "COMPLETED")


async def test_a_reader_of_the_stream_keeps_the_turn_alive(
    stack: Stack, sdk: openai.AsyncOpenAI, agent_id: str
) -> None:
    asked = to_agent(agent_id, "tokens=40 delay=0.03")
    raw = await sdk.chat.completions.with_raw_response.create(**asked, stream=True)
    async with aclosing(events(stack, "websocket", STREAM, {"id": raw.headers["x-stream-id"]})) as heard:
        first = await anext(heard)
        await raw.parse().close()
        rest = [event async for event in heard]
    assert (text_of([first, *rest]), rest[-1]["outcome"]) == (expected(40), "COMPLETED")
    assert await statuses(stack, agent_id) == ["COMPLETED"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_approval_is_left_to_the_graph(stack: Stack, agent_id: str, stream: bool) -> None:
    await stack.require_approval(agent_id, "memory_insert")
    asked = to_agent(agent_id, "tokens=2 delay=0 tool=memory_insert approve=1", stream=stream)
    async with sdk_client(f"{stack.url}/v1", stack.token()) as client:
        with pytest.raises(openai.APIError) as caught:
            await completed(client, asked)
        assert caught.value.code == "approval_pending"
        assert "`respondToApproval`" in caught.value.message
        with pytest.raises(openai.APIError) as waiting:
            await completed(client, to_agent(agent_id, stream=stream))
        assert waiting.value.code == "approval_pending"
    nodes = (await stack.graphql(APPROVALS, {"c": f"conversation:{agent_id}"}))["data"]["conversation"]["messages"]
    [request] = [node["id"] for node in nodes["nodes"] if node["__typename"] == "ApprovalRequestMessage"]
    assert f"`{request}`" in caught.value.message
    decided = await things.done(stack, RESPOND, {"i": {"requestId": request, "decision": "APPROVE"}})
    heard = [event async for event in events(stack, "websocket", STREAM, {"id": decided["stream"]["id"]})]
    assert heard[-1]["outcome"] == "COMPLETED"


async def test_a_busy_conversation_is_a_conflict(stack: Stack, agent_id: str) -> None:
    async with stack.client.stream(
        "POST", CHAT, json=to_agent(agent_id, "tokens=400 delay=0.05", stream=True), headers=stack.headers()
    ) as first:
        lines = first.aiter_lines()  # closing the iterator closes the connection
        while "tok1" not in await anext(lines):
            pass
        second = await ask(stack, CHAT, to_agent(agent_id))
    assert (second.status_code, second.json()["error"]["code"]) == (409, "run_busy")
    assert second.headers["x-should-retry"] == "false"


async def test_a_tool_call_of_the_agents_is_not_the_clients(stack: Stack, agent_id: str) -> None:
    await stack.give_tool(agent_id, "memory_insert")
    answer = await ask(stack, CHAT, to_agent(agent_id, "tokens=2 delay=0 tool=memory_insert", stream=True))
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "tool_calls" not in answer.text
    assert answer.text.count("tok1") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_letta_is_down(stack: Stack, agent_id: str, stream: bool) -> None:
    async with replica_of(stack, letta_base_url=NOWHERE) as gateway:
        answer = await ask(gateway, CHAT, to_agent(agent_id, stream=stream))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "connect")
        listed = await gateway.client.get("/v1/models", headers=gateway.headers())
        assert {stack.chat_model, agent_id} <= {model["id"] for model in listed.json()["data"]}


async def test_ams_is_down(stack: Stack, agent_id: str) -> None:
    async with replica_of(stack, ams_base_url=NOWHERE) as gateway:
        answer = await ask(gateway, CHAT, to_agent(agent_id))
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "connect"


async def test_heartbeats_fill_the_time_before_the_answer(agent_of_impatient: tuple[Stack, str]) -> None:
    stack, agent_id = agent_of_impatient
    answer = await ask(stack, CHAT, to_agent(agent_id, "tokens=2 delay=0 first=0.5", stream=True))
    assert ": ping\n\n" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.fixture
async def agent_of_impatient() -> AsyncIterator[tuple[Stack, str]]:
    async with any_stack(stream_heartbeat_seconds=0.1) as stack:
        yield stack, await stack.make_agent()


async def test_a_turn_counts_once_as_a_model_call() -> None:
    limits = "{ viewer { rateLimits { kind remaining limit } } }"
    async with any_stack(rate_limit_llm=2) as stack:
        agent_id = await stack.make_agent()
        key = {"Idempotency-Key": "once"}
        for _ in range(3):
            assert (await ask(stack, CHAT, to_agent(agent_id), **key)).status_code == 200
        kinds = (await stack.graphql(limits))["data"]["viewer"]["rateLimits"]
        [llm] = [one for one in kinds if one["kind"] == "LLM"]
        assert llm["remaining"] == 1
        assert (await ask(stack, CHAT, to_agent(agent_id))).status_code == 200
        refused = await ask(stack, CHAT, to_agent(agent_id))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_a_browser_may_use_the_headers() -> None:
    origin = "https://app.example.com"
    async with any_stack(allowed_origins=origin) as stack:
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,x-conversation-id,idempotency-key",
        }
        allowed = await stack.client.options(CHAT, headers=asked)
        assert "x-conversation-id" in allowed.headers["access-control-allow-headers"]
        answer = await stack.client.get("/v1/models", headers={**stack.headers(), "origin": origin})
        assert "X-Conversation-Id" in answer.headers["access-control-expose-headers"]


async def test_the_graph_and_v1_share_a_conversation(stack: Stack, agent_id: str) -> None:
    sent = message_input(agent_id, "tokens=1 delay=0", waitSeconds=20, idempotencyKey=str(uuid.uuid4()))
    await things.done(stack, things.SEND, {"i": sent})
    assert (await ask(stack, CHAT, to_agent(agent_id, "tokens=2 delay=0"))).status_code == 200
    texts = ["hi [[tokens=1 delay=0]]", "hi [[tokens=2 delay=0]]"]
    assert await said(stack, f"conversation:{agent_id}") == texts
