"""Requests and answers at ``/v1/responses`` that must not harm other users, or lose an answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.embedded.people import ADA, GRACE
from tests.support.oddserver import Scripted, odd_server
from tests.support.openai import ask
from tests.support.response_events import COMPLETED, CREATED, HELLO, event, response
from tests.support.stack import Stack, embedded_stack, replica_of

SENT: list[tuple[str, str, dict[str, Any]]] = []
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
ITEM_GONE = (
    'litellm.NotFoundError: OpenAIException - {"error":{"message":"Item with id \'rs_1\' not found. Items are not '
    'persisted when `store` is set to false.","type":"invalid_request_error","param":"input","code":null}}\n\n'
    "LiteLLM: model group 'native' failed with the error above. No fallback was attempted."
)
NOT_FOUND = "litellm.NotFoundError: NotFoundError: OpenAIException - Not Found\n\nLiteLLM: model group failed"


def whole(body: Any, status: int = 200) -> Scripted:
    return Scripted(status, pieces=[body if isinstance(body, bytes) else json.dumps(body).encode()])


def refused(status: int, message: str) -> Scripted:
    return whole({"error": {"message": message, "type": "invalid_request_error", "code": str(status)}}, status)


def streamed(*chunks: bytes) -> Scripted:
    return Scripted(headers={"content-type": "text/event-stream"}, pieces=list(chunks))


STREAMS: dict[str, Scripted] = {
    "type is a list": streamed(
        CREATED, *HELLO, event("response.output_item.done", output_index=0, item={"type": ["message"]}), COMPLETED
    ),
    "id is NaN": streamed(CREATED.replace(b'"resp_1"', b"NaN"), *HELLO, COMPLETED),
    "id is no UTF-8": streamed(CREATED.replace(b"resp_1", b"\xff"), *HELLO, COMPLETED),
    "error of nulls": streamed(
        CREATED, *HELLO, event("response.completed", response=response("completed", error={"code": None}))
    ),
    "type of two lines": Scripted(
        headers={"content-type": "text/event-stream"},
        pieces=[
            CREATED,
            b"data: " + json.dumps({"type": "x\n\nevent: response.completed\ndata: {}\n\n"}).encode() + b"\n\n",
            *HELLO,
            COMPLETED,
        ],
    ),
    "data of two lines": streamed(
        CREATED.replace(b'"response": {', b'"response": {"note": {\ndata: },'), *HELLO, COMPLETED
    ),
    "key is half an emoji": streamed(CREATED, b'data: {"type":"response.note","\\ud83d":1}\n\n', *HELLO, COMPLETED),
    "large creation": streamed(
        event("response.created", response=response("in_progress", instructions="x" * 100_000), sequence_number=0),
        *HELLO,
    ),
}


WHOLES = {
    "no output": whole({"id": "resp_1", "object": "response", "output": None}),
    "odd key": whole(b'{"id":"resp_1","output":[],"\\ud83d":1}'),
    "no choices": whole({"id": "c", "object": "chat.completion", "choices": None}),
}


def answered(method: str, path: str, body: bytes) -> Scripted:
    asked = json.loads(body or b"{}")
    SENT.append((method, path, asked))
    if method == "GET":
        rid = path.split("/")[3].split("?", maxsplit=1)[0]
        if rid == "resp_failed":
            return whole(response("failed", error={"code": "server_error", "message": "x"}) | {"id": rid})
        if rid == "resp_bridged":
            return refused(404, NOT_FOUND)
        return whole(response("completed", output=[MESSAGE]) | {"id": rid, "previous_response_id": "resp_upstream_raw"})
    return created(asked, path)


def created(asked: dict[str, Any], path: str) -> Scripted:
    name, is_bridged = asked.get("model", ""), "use_chat_completions_api" in asked
    if name in STREAMS:
        return STREAMS[name]
    if name in WHOLES:
        return WHOLES[name]
    if name == "native" and not is_bridged and "rs_1" in json.dumps(asked["input"]):
        return refused(404, ITEM_GONE)
    if path.endswith("/chat/completions"):
        return whole({"id": "c", "object": "chat.completion", "choices": [{"message": {"content": "x"}}]})
    response_id = asked["input"] if name in {"id", "mixed"} else "resp_native"  # a group of two deployments, say
    return whole(response("completed", output=[MESSAGE]) | {"id": response_id})


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Stack]:
    SENT.clear()
    async with odd_server(answered) as url, embedded_stack(litellm_base_url=url, breaker_reset_seconds=30) as running:
        yield running


async def post(stack: Stack, **body: Any) -> httpx.Response:
    return await ask(stack, "/v1/responses", {"model": "native", "input": "hi", **body})


@pytest.mark.parametrize("calls", [5, ["x"]])
async def test_odd_tool_calls_are_refused(stack: Stack, calls: Any) -> None:
    answer = await post(stack, input=[{"role": "user", "content": "hi", "tool_calls": calls}])
    assert answer.status_code in {200, 400}, answer.text


@pytest.mark.parametrize("item", [{"id": "msg_of_another_user"}, {"type": None, "id": "msg_of_another_user"}])
async def test_an_item_reference_without_its_type_is_refused(stack: Stack, item: dict[str, Any]) -> None:
    answer = await post(stack, input=[item])
    assert answer.status_code == 400, SENT


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
@pytest.mark.parametrize(
    "tool",
    [
        {"type": "mcp", "server_label": "x", "server_url": "litellm_proxy", "require_approval": "never"},
        {"type": "mcp", "server_label": "x", "server_url": "https://attacker.example.com/mcp"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
    ],
)
async def test_tools_in_an_input_item_are_checked(stack: Stack, kind: str, tool: dict[str, Any]) -> None:
    answer = await post(stack, input=[{"type": kind, "role": "developer", "tools": [tool]}])
    assert answer.status_code == 400, SENT


async def test_a_missing_item_does_not_make_a_model_bridged_for_everybody(stack: Stack) -> None:
    """One user's stale item id must not change how other users' requests to the model are sent."""
    first = (await post(stack)).json()["id"]
    assert (await post(stack, previous_response_id=first)).status_code == 200  # the model stores responses
    await post(stack, input=[{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}])
    SENT.clear()
    answer = await post(stack, previous_response_id=first)
    [(_, _, sent)] = [call for call in SENT if call[0] == "POST"]
    assert "use_chat_completions_api" not in sent, (answer.status_code, sent)


async def test_a_missing_item_is_not_answered_with_a_paid_completion(stack: Stack) -> None:
    answer = await post(stack, input=[{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}])
    assert answer.status_code in {400, 404}, answer.text


async def test_reasoning_of_the_providers_store_is_omitted(stack: Stack) -> None:
    """Without its content, a reasoning item could be another user's. Ids that need the item are omitted, too."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "4"}
    thought: dict[str, Any] = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": None}
    assert (await post(stack, input=[thought, call, result])).status_code == 200
    del call["id"]
    assert SENT[-1][2]["input"] == [call, result]
    refused = await post(stack, input=[thought])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")


async def test_each_previous_response_must_be_stored(stack: Stack) -> None:
    """A model group can have deployments, or fallbacks, of both kinds."""
    stored = (await post(stack, model="mixed", input="resp_stored")).json()["id"]
    assert (await post(stack, model="mixed", input="resp_next", previous_response_id=stored)).status_code == 200
    bridged = (await post(stack, model="mixed", input="resp_bridged")).json()["id"]
    answer = await post(stack, model="mixed", input="x", previous_response_id=bridged)
    assert (answer.status_code, answer.json().get("error", {}).get("code")) == (400, "previous_response_not_found")


async def test_a_stored_response_has_no_id_of_the_provider(stack: Stack) -> None:
    made = (await post(stack)).json()["id"]
    read = await stack.client.get(f"/v1/responses/{made}", headers=stack.headers(ADA))
    assert "resp_upstream_raw" not in read.text


async def test_a_failed_stored_response_can_be_read(stack: Stack) -> None:
    made = (await post(stack, model="id", input="resp_failed")).json()["id"]
    read = await stack.client.get(f"/v1/responses/{made}", headers=stack.headers(ADA))
    assert (read.status_code, read.json().get("status")) == (200, "failed")


async def test_reading_failed_responses_does_not_stop_other_users(stack: Stack) -> None:
    made = {user: await created_by(stack, user, "id", "resp_failed") for user in (ADA, GRACE)}
    theirs = await created_by(stack, GRACE, "other", "hi")
    for user in (ADA, GRACE) * 4:  # eight failures of two callers open the breaker of an operation
        await stack.client.get(f"/v1/responses/{made[user]}", headers=stack.headers(user))
    read = await stack.client.get(f"/v1/responses/{theirs}", headers=stack.headers(GRACE))
    body = {"model": "other", "input": "hi", "previous_response_id": theirs}
    continued = await stack.client.post("/v1/responses", json=body, headers=stack.headers(GRACE))
    assert (read.status_code, continued.status_code) == (200, 200), continued.text


async def created_by(stack: Stack, user: str, model: str, said: str) -> str:
    body = {"model": model, "input": said}
    answer = await stack.client.post("/v1/responses", json=body, headers=stack.headers(user))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize(("path", "name"), [("/v1/responses", "no output"), ("/v1/chat/completions", "no choices")])
async def test_a_model_with_unreadable_answers_does_not_open_the_breaker(stack: Stack, path: str, name: str) -> None:
    body = {"input": "hi"} if path == "/v1/responses" else {"messages": [{"role": "user", "content": "hi"}]}
    for _ in range(10):
        await ask(stack, path, {"model": name, **body})
    answer = await ask(stack, path, {"model": "fine", **body})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "large creation"])
async def test_an_odd_stream_ends_as_promised(stack: Stack, name: str) -> None:
    answer = await post(stack, model=name, stream=True)
    assert answer.text.count("\nevent: response.completed") == 1
    assert all(line.startswith(("event: ", "data: ")) for line in answer.text.splitlines() if line), answer.text
    assert answer.text.rpartition("\n\nevent: ")[2].startswith("response.completed"), answer.text[-400:]


async def test_a_failure_has_the_id_of_a_large_creation(stack: Stack) -> None:
    answer = await post(stack, model="large creation", stream=True)
    last = json.loads(answer.text.rpartition("data: ")[2])
    assert last["response"]["id"].startswith("resp_1."), last


async def test_half_an_emoji_in_a_request_is_refused(stack: Stack) -> None:
    answer = await post(stack, input=[{"role": "user", "content": "\ud83d"}], tool_choice={"x": "\ud83d"})
    assert answer.status_code == 400, answer.text


async def test_a_whole_answer_with_an_odd_key_is_passed_on(stack: Stack) -> None:
    answer = await post(stack, model="odd key")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_litellm_is_named_and_the_rest_works(stack: Stack, stream: bool) -> None:
    made = (await post(stack)).json()["id"]
    async with replica_of(stack, litellm_base_url="http://127.0.0.1:9") as gateway:
        for path in ("/v1/responses", "proxy/responses"):
            answer = await ask(gateway, path, {"model": "native", "input": "hi", "stream": stream})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "connect"), answer.text
        continued = await post(gateway, previous_response_id=made, stream=stream)
        assert continued.status_code == 503
        for method in ("GET", "DELETE"):
            answer = await gateway.client.request(method, f"/v1/responses/{made}", headers=gateway.headers(ADA))
            assert (answer.status_code, "LiteLLM" in answer.text) == (503, True)
        graph = await gateway.graphql("{ viewer { id agents(first: 1) { nodes { id } } } }")
        assert "errors" not in graph
