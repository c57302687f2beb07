"""Requests whose answers are lost: nothing is done twice, and a request with the same key gets the outcome."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.support.documents import COMPLETION, CREATE_CONVERSATION, INSERT_PASSAGE, MESSAGE, RESPOND, SEND_MESSAGE
from tests.support.doors import DOORS, Refused, events
from tests.support.lossy import (
    CUT,
    HEAD_THEN_CUT,
    HEAD_THEN_NOTHING,
    MUTE,
    SEND_PATH,
    Loss,
    answered,
    lossy_stack,
)
from tests.support.stack import Stack, opened_socket, until
from tests.support.streaming import completion, expected, message_input, stored_messages, text_of

QUICK = {"stream_first_token_seconds": 0.5, "stream_heartbeat_seconds": 0.1}
LOSSES = {
    "cut": CUT,
    "head, then cut": HEAD_THEN_CUT,
    "head, then nothing": HEAD_THEN_NOTHING,
    "no answer": MUTE,
    "500": answered(500),
    "502 of a proxy": answered(502, b"<html>Bad Gateway</html>", content_type="text/html"),
    "504 of a proxy": answered(504),
}


def runs(stack: Stack, agent_id: str) -> int:
    return sum(run.body["agent_id"] == agent_id for run in stack.platform.state.runs.values())


def unknown(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the extensions of the only error, whose reason is OUTCOME_UNKNOWN."""
    [error] = answer["errors"]
    extensions: dict[str, Any] = error["extensions"]
    assert (extensions["code"], extensions["reason"], extensions["retryable"]) == ("CONFLICT", "OUTCOME_UNKNOWN", False)
    return extensions | {"message": error["message"]}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
async def test_a_message_without_an_answer_is_not_sent_again_under_its_key(loss: Loss) -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, loss)
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        extensions = unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        assert extensions["service"] == "letta"
        assert "same key" in extensions["message"]
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        again = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        [message] = stored_messages(stack, agent_id)
        assert runs(stack, agent_id) == 1
    assert answer["errors"] == []
    assert answer["run"] == {"id": message["run_id"], "status": "COMPLETED"}
    assert answer["stream"]["text"] == expected(3)
    assert answer["userMessageEdge"]["node"]["id"].endswith(message["otid"])
    assert again == answer


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("loss", [CUT, HEAD_THEN_NOTHING], ids=["cut", "head, then nothing"])
async def test_a_subscription_attaches_to_its_turn_under_the_same_key(door: str, loss: Loss) -> None:
    async with lossy_stack(stream_first_token_seconds=0.5) as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, loss)
        asked = {"i": message_input(agent_id, "tokens=20 delay=0.02"), "k": "k"}
        with pytest.raises(Refused) as refused:
            _ = [event async for event in events(stack, door, MESSAGE, asked)]
        heard = [event async for event in events(stack, door, MESSAGE, asked)]
        [message] = stored_messages(stack, agent_id)
        assert runs(stack, agent_id) == 1
    assert (refused.value.code, refused.value.extensions["reason"]) == ("CONFLICT", "OUTCOME_UNKNOWN")
    assert heard[0]["replayed"] is True
    assert heard[0]["userMessageEdge"]["node"]["id"].endswith(message["otid"])
    assert text_of(heard) == expected(20)
    assert heard[-1]["outcome"] == "COMPLETED"


async def test_an_unknown_outcome_ends_the_stream() -> None:
    query = MESSAGE.replace("error { code reason", "error { code retryable retryAfterSeconds reason", 1)
    async with lossy_stack(**QUICK) as (stack, proxy), opened_socket(stack) as socket:
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, MUTE)
        heard = [event async for event in socket.events(query, {"i": message_input(agent_id), "k": "k"})]
    assert [event["__typename"] for event in heard] == ["StreamStarted", "StreamEnded"]
    assert (heard[0]["replayed"], heard[1]["outcome"]) == (False, "FAILED")
    error = heard[1]["error"]
    assert (error["code"], error["reason"]) == ("CONFLICT", "OUTCOME_UNKNOWN")
    assert (error["retryable"], error["retryAfterSeconds"]) == (False, None)


@pytest.mark.parametrize("loss", [Loss(asks=False), Loss(late=3.0)], ids=["never", "after the timeout"])
async def test_a_message_that_letta_has_not_received_is_sent_once_under_its_key(loss: Loss) -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, loss)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        assert stored_messages(stack, agent_id) == []
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["stream"]["text"] == expected(3)
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_a_repeated_message_waits_for_the_running_turn() -> None:
    async with lossy_stack(stream_first_token_seconds=5) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, "tokens=20 delay=0.05", idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, CUT)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        assert stored_messages(stack, agent_id) == []  # Letta stores a message when the first step has ended
        both = await asyncio.gather(*(stack.graphql(SEND_MESSAGE, {"i": given}) for _ in range(2)))
        assert both[0] == both[1]
        assert both[0]["data"]["sendMessage"]["stream"]["text"] == expected(20)
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_the_outcome_stays_unknown_while_letta_is_down() -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, CUT)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        target, proxy.target = proxy.target, "http://127.0.0.1:1"
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        proxy.target = target

        async def found() -> bool:
            answer = await stack.graphql(SEND_MESSAGE, {"i": given})
            return "errors" not in answer and answer["data"]["sendMessage"]["stream"]["text"] == expected(3)

        await until(found, 10)  # the breaker may have opened
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_a_turn_that_cannot_be_streamed_again_is_polled() -> None:
    async with lossy_stack(letta_redis=False, **QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        await stack.graphql(SEND_MESSAGE, {"i": message_input(agent_id, idempotencyKey="first", waitSeconds=10)})
        proxy.lose(SEND_PATH, CUT)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["run"]["status"] == "COMPLETED"
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 2


@pytest.mark.parametrize("status", [301, 401, 402, 408, 409, 429, 503])
async def test_a_stored_message_is_not_sent_again_if_its_turn_is_unreadable(status: int) -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, CUT)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        proxy.lose("/stream", answered(status, b"{}", asks=False, content_type="application/json"))
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["stream"]["text"] == expected(3)
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


@pytest.mark.parametrize("status", [402, 409, 422])
async def test_a_refusal_leaves_the_key_free(status: int) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, answered(status, b"{}", asks=False, content_type="application/json"))
        refused = await stack.graphql(SEND_MESSAGE, {"i": given})
        assert refused.get("errors") or refused["data"]["sendMessage"]["errors"]
        stack.platform.state.calls.clear()
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["stream"]["text"] == expected(3)
        assert stack.calls("letta")[0].startswith("POST")  # the message is sent at once, without a search for it
        assert len(stored_messages(stack, agent_id)) == 1


@pytest.mark.parametrize("loss", [CUT, HEAD_THEN_CUT], ids=["cut", "head, then cut"])
async def test_a_decision_without_an_answer_is_not_sent_again(loss: Loss) -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        directive = "tokens=2 delay=0 tool=memory_insert approve=1"
        await stack.graphql(SEND_MESSAGE, {"i": message_input(agent_id, directive, idempotencyKey="k", waitSeconds=10)})
        listed = await stack.graphql(
            "query($a: ID!) { agent(id: $a) { messages(last: 5) { nodes { __typename id } } } }", {"a": agent_id}
        )
        nodes = listed["data"]["agent"]["messages"]["nodes"]
        [request] = [node["id"] for node in nodes if node["__typename"] == "ApprovalRequestMessage"]
        proxy.lose(SEND_PATH, loss)
        given = {"requestId": request, "decision": "APPROVE"}
        unknown(await stack.graphql(RESPOND, {"i": given}))
        answer = (await stack.graphql(RESPOND, {"i": given}))["data"]["respondToApproval"]
        assert answer["errors"] == []
        assert answer["run"]["id"] in stack.platform.state.runs
        assert runs(stack, agent_id) == 2


FORK = """mutation($c: ID!, $k: String) {
  forkConversation(input: {conversationId: $c, idempotencyKey: $k}) { conversation { id } } }"""


def conversations(stack: Stack, agent_id: str) -> list[str]:
    return list(stack.platform.state.agents[agent_id].conversations)


@pytest.mark.parametrize("loss", [CUT, answered(502), answered(200, b"<html>")], ids=["cut", "502", "200, no JSON"])
async def test_a_conversation_without_an_answer_is_found_under_its_key(loss: Loss) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        other = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": "other"})
        proxy.lose("/v1/conversations/", loss)
        extensions = unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": "k"}))
        assert extensions["service"] == "letta"
        found = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": "k"})
        again = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": "k"})
        made = found["data"]["createConversation"]["conversation"]
        assert found == again
        assert made["summary"] == "tea"
        assert made != other["data"]["createConversation"]["conversation"]
        assert len(conversations(stack, agent_id)) == 2


async def test_a_conversation_that_letta_did_not_receive_is_made_under_its_key() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose("/v1/conversations/", Loss(asks=False))
        unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "k": "k"}))
        made = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "k": "k"})
        assert conversations(stack, agent_id) == [made["data"]["createConversation"]["conversation"]["id"]]


@pytest.mark.parametrize("loss", [CUT, answered(503, retry_after="7")], ids=["cut", "503 with Retry-After"])
async def test_a_conversation_without_a_key_has_an_unknown_outcome(loss: Loss) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose("/v1/conversations/", loss)
        extensions = unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id}))
        assert extensions.get("retryAfterSeconds") == (None if loss is CUT else 7)


async def test_the_outcome_is_unknown_with_several_possible_conversations() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose("/v1/conversations/", CUT, times=2)
        for key in ("one", "two"):
            unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": key}))
        unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": "one"}))
        assert len(conversations(stack, agent_id)) == 2


@pytest.mark.parametrize(
    ("path", "query", "given"),
    [("/v1/conversations/", CREATE_CONVERSATION, {"s": "tea"}), ("/archival-memory", INSERT_PASSAGE, {"t": "tea"})],
    ids=["createConversation", "insertPassage"],
)
async def test_an_object_of_a_request_in_flight_is_not_found_under_another_key(
    path: str, query: str, given: dict[str, str]
) -> None:
    async with lossy_stack() as (stack, proxy):
        asked = given | {"a": await stack.make_agent()}
        proxy.lose(path, Loss(asks=False))
        unknown(await stack.graphql(query, asked | {"k": "lost"}))
        proxy.lose(path, MUTE)
        waiting = asyncio.create_task(stack.graphql(query, asked | {"k": "other"}))
        made = (stack.platform.state.agents[asked["a"]].conversations, stack.platform.state.passages)
        await until(lambda: any(one["agent_id"] == asked["a"] for kind in made for one in kind.values()))
        unknown(await stack.graphql(query, asked | {"k": "lost"}))
        waiting.cancel()


@pytest.mark.parametrize("loss", [CUT, Loss(asks=False)], ids=["made", "not made"])
async def test_a_fork_without_an_answer_is_not_made_again(loss: Loss) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        made = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea"})
        fork = {"c": made["data"]["createConversation"]["conversation"]["id"], "k": "k"}
        proxy.lose("/fork", loss)
        unknown(await stack.graphql(FORK, fork))
        again = await stack.graphql(FORK, fork)
        assert unknown(again) if loss is CUT else "errors" not in again
        assert len(conversations(stack, agent_id)) == 2


@pytest.mark.parametrize("asks", [True, False], ids=["stored", "not stored"])
async def test_a_passage_without_an_answer_is_stored_once(asks: bool) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        passage = {"a": agent_id, "t": "the tea is green", "k": "k"}
        await stack.graphql(INSERT_PASSAGE, passage | {"k": "other"})
        proxy.lose("/archival-memory", Loss(asks=asks))
        unknown(await stack.graphql(INSERT_PASSAGE, passage))
        found, again = [await stack.graphql(INSERT_PASSAGE, passage) for _ in range(2)]
        listed = await stack.graphql(f'{{ agent(id: "{agent_id}") {{ passages {{ nodes {{ id }} }} }} }}')
    assert found == again
    [edge] = found["data"]["insertPassage"]["passageEdges"]
    assert edge["node"]["text"] == "the tea is green"
    ids = [node["id"] for node in listed["data"]["agent"]["passages"]["nodes"]]
    assert len(ids) == len(set(ids)) == 2
    assert edge["node"]["id"] in ids


COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { text } }"
CHAT_PATH = "/chat/completions"
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"


MODEL_LOSSES = {
    "cut": CUT,
    "no answer": MUTE,
    "502": answered(502),
    "503 with Retry-After": answered(503, retry_after="1"),
    "head, then cut": HEAD_THEN_CUT,
}


@pytest.mark.parametrize(
    ("query", "loss"),
    [(COMPLETE, loss) for loss in MODEL_LOSSES] + [(START, loss) for loss in list(MODEL_LOSSES)[:-1]],
)
async def test_a_completion_without_an_answer_is_not_repeated(query: str, loss: str) -> None:
    async with lossy_stack(service="litellm", stream_first_token_seconds=0.5) as (stack, proxy):
        given = completion(stack, "tokens=3 delay=0") | {"idempotencyKey": "k"}
        proxy.lose(CHAT_PATH, MODEL_LOSSES[loss])
        for _ in range(3):
            extensions = unknown(await stack.graphql(query, {"i": given}))
            assert "new key" in extensions["message"]
        assert (await stack.model_stats())["total"] == 1
        other = await stack.graphql(query, {"i": given | {"idempotencyKey": "other"}})
        assert "errors" not in other


async def test_a_cancelled_completion_is_not_repeated(stack: Stack) -> None:
    query = "mutation($id: ID!) { cancelStream(input: { streamId: $id }) { stream { status } } }"
    asked = {"i": completion(stack, "tokens=300 delay=0.02"), "k": "k"}
    reading = events(stack, "websocket", COMPLETION, asked)
    stream_id = (await anext(reading))["stream"]["id"]
    await reading.aclose()

    async def cancelled() -> bool:
        return "CANCELLED" in str(await stack.graphql("{ viewer { streams { status } } }"))

    await until(cancelled)
    await stack.graphql(query, {"id": stream_id})
    heard = [event async for event in events(stack, "websocket", COMPLETION, asked)]
    assert (heard[0]["stream"]["id"], heard[-1]["outcome"]) == (stream_id, "CANCELLED")
    assert (await stack.model_stats())["total"] == 1


@pytest.mark.parametrize("door", DOORS)
async def test_a_completion_subscription_without_an_answer_is_refused_under_its_key(door: str) -> None:
    async with lossy_stack(service="litellm") as (stack, proxy):
        asked = {"i": completion(stack, "tokens=3 delay=0"), "k": str(uuid.uuid4())}
        proxy.lose(CHAT_PATH, CUT)
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                _ = [event async for event in events(stack, door, COMPLETION, asked)]
            assert (refused.value.code, refused.value.extensions["reason"]) == ("CONFLICT", "OUTCOME_UNKNOWN")
        assert (await stack.model_stats())["total"] == 1


async def test_a_failure_of_the_model_leaves_the_key_free() -> None:
    async with lossy_stack(service="litellm") as (stack, _):
        given = completion(stack, "tokens=3 error=500") | {"idempotencyKey": "k"}
        for calls in (1, 2):
            answer = await stack.graphql(COMPLETE, {"i": given})
            assert answer["errors"][0]["extensions"]["reason"] == "MODEL"
            assert (await stack.model_stats())["total"] >= calls


async def test_an_unavailable_ams_leaves_the_key_free() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        await stack.servers["ams"].stop()
        first = await stack.graphql(SEND_MESSAGE, {"i": given})
        extensions = first["errors"][0]["extensions"]
        assert (extensions["code"], extensions["retryable"]) == ("UPSTREAM_UNAVAILABLE", True)
        assert proxy.losses == []


async def test_a_completion_after_a_lost_connection_begins_again_or_continues() -> None:
    for stays, replays in ((False, 2), (True, 1)):
        async with lossy_stack(service="litellm") as (stack, _):
            more = {"onDisconnect": "CONTINUE"} if stays else {}
            asked = {"i": completion(stack, "tokens=30 delay=0.02", **more), "k": "k"}
            async with opened_socket(stack) as socket:
                async for event in socket.events(COMPLETION, asked):
                    if event["__typename"] == "TextDelta":
                        break
                socket.socket.transport.abort()
            async with opened_socket(stack) as socket:
                heard = [event async for event in socket.events(COMPLETION, asked)]
            assert heard[0]["replayed"] is True
            assert text_of(heard) == expected(30)
            assert heard[-1]["outcome"] == "COMPLETED"
            assert (await stack.model_stats())["total"] == replays
