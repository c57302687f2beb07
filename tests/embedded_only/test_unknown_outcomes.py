"""Requests whose answers are lost: nothing is done twice, and the same key says what happened."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.support.documents import COMPLETION, CREATE_CONVERSATION, MESSAGE, SEND_MESSAGE
from tests.support.doors import DOORS, Refused, events
from tests.support.lossy import (
    CUT,
    HEAD_THEN_CUT,
    HEAD_THEN_NOTHING,
    MUTE,
    SEND_PATH,
    Loss,
    Lossy,
    answered,
    lossy_stack,
)
from tests.support.stack import Stack, embedded_stack, opened_socket, until
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
    """The extensions of the one error, which says that the outcome is unknown."""
    [error] = answer["errors"]
    extensions: dict[str, Any] = error["extensions"]
    assert (extensions["code"], extensions["reason"], extensions["retryable"]) == ("CONFLICT", "OUTCOME_UNKNOWN", False)
    return extensions | {"message": error["message"]}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
async def test_a_message_whose_answer_is_lost_is_stored_once_and_the_same_key_attaches_to_its_turn(loss: Loss) -> None:
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
async def test_a_subscription_whose_message_is_not_confirmed_takes_its_turn_up_under_the_same_key(
    door: str, loss: Loss
) -> None:
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


async def test_what_comes_late_of_an_unknown_outcome_ends_the_stream() -> None:
    query = MESSAGE.replace("error { code reason", "error { code retryable retryAfterSeconds reason", 1)
    async with lossy_stack(**QUICK) as (stack, proxy), opened_socket(stack) as socket:
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, MUTE)
        heard = [event async for event in socket.events(query, {"i": message_input(agent_id), "k": "k"})]
    assert [event["__typename"] for event in heard] == ["StreamStarted", "StreamEnded"]
    assert (heard[0]["stream"]["id"], heard[0]["replayed"]) == (heard[0]["stream"]["id"], False)
    assert heard[1]["outcome"] == "FAILED"
    error = heard[1]["error"]
    assert (error["code"], error["reason"], error["retryable"]) == ("CONFLICT", "OUTCOME_UNKNOWN", False)
    assert error["retryAfterSeconds"] is None


async def test_a_message_that_letta_never_had_is_sent_again_under_the_same_key() -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, Loss(asks=False))
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        assert stored_messages(stack, agent_id) == []
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["stream"]["text"] == expected(3)
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_a_message_that_arrives_after_it_was_given_up_is_not_sent_again() -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, Loss(late=3.0))
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["stream"]["text"] == expected(3)
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_while_the_turn_may_be_going_on_the_key_waits_for_it() -> None:
    async with lossy_stack(stream_first_token_seconds=5) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, "tokens=20 delay=0.05", idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, CUT)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        assert stored_messages(stack, agent_id) == []  # Letta stores a message when the turn's first step is over
        both = await asyncio.gather(*(stack.graphql(SEND_MESSAGE, {"i": given}) for _ in range(2)))
        assert both[0] == both[1]
        assert both[0]["data"]["sendMessage"]["stream"]["text"] == expected(20)
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_where_letta_cannot_be_asked_it_is_still_not_known() -> None:
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, CUT)
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        target, proxy.target = proxy.target, "http://127.0.0.1:1"
        unknown(await stack.graphql(SEND_MESSAGE, {"i": given}))
        proxy.target = target

        async def looked_and_found() -> bool:
            answer = await stack.graphql(SEND_MESSAGE, {"i": given})
            return "errors" not in answer and answer["data"]["sendMessage"]["stream"]["text"] == expected(3)

        await until(looked_and_found, 10)  # the breaker may have opened
        assert len(stored_messages(stack, agent_id)) == runs(stack, agent_id) == 1


async def test_a_turn_that_is_not_streamed_again_is_watched_to_its_end() -> None:
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
async def test_a_message_that_was_found_is_not_sent_again_where_its_turn_cannot_be_read(status: int) -> None:
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
        assert stack.calls("letta")[0].startswith("POST")  # it is sent at once, and not looked for
        assert len(stored_messages(stack, agent_id)) == 1


@pytest.mark.parametrize("loss", [CUT, HEAD_THEN_CUT], ids=["cut", "head, then cut"])
async def test_a_decision_is_taken_once(loss: Loss) -> None:
    respond = """mutation($i: RespondToApprovalInput!) { respondToApproval(input: $i) {
      run { id } stream { id } errors { __typename } } }"""
    async with lossy_stack(**QUICK) as (stack, proxy):
        agent_id = await stack.make_agent()
        asked = message_input(
            agent_id, "tokens=2 delay=0 tool=memory_insert approve=1", idempotencyKey="k", waitSeconds=10
        )
        await stack.graphql(SEND_MESSAGE, {"i": asked})
        listed = await stack.graphql(
            "query($a: ID!) { agent(id: $a) { messages(last: 5) { nodes { __typename id } } } }", {"a": agent_id}
        )
        nodes = listed["data"]["agent"]["messages"]["nodes"]
        [request] = [node["id"] for node in nodes if node["__typename"] == "ApprovalRequestMessage"]
        proxy.lose(SEND_PATH, loss)
        given = {"requestId": request, "decision": "APPROVE"}
        unknown(await stack.graphql(respond, {"i": given}))
        answer = (await stack.graphql(respond, {"i": given}))["data"]["respondToApproval"]
        assert answer["errors"] == []
        assert answer["run"]["id"] in stack.platform.state.runs
        assert runs(stack, agent_id) == 2


FORK = """mutation($c: ID!, $k: String) {
  forkConversation(input: {conversationId: $c, idempotencyKey: $k}) { conversation { id } } }"""
INSERT = """mutation($a: ID!, $t: String!, $k: String) {
  insertPassage(input: {agentId: $a, text: $t, idempotencyKey: $k}) { passageEdges { node { id text } } } }"""


def conversations(stack: Stack, agent_id: str) -> list[str]:
    return list(stack.platform.state.agents[agent_id].conversations)


@pytest.mark.parametrize("loss", [CUT, answered(502), answered(200, b"<html>")], ids=["cut", "502", "200, no JSON"])
async def test_a_conversation_whose_answer_is_lost_is_found_under_its_key(loss: Loss) -> None:
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


async def test_a_conversation_that_letta_never_had_is_made_under_the_same_key() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose("/v1/conversations/", Loss(asks=False))
        unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "k": "k"}))
        made = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "k": "k"})
        assert conversations(stack, agent_id) == [made["data"]["createConversation"]["conversation"]["id"]]


@pytest.mark.parametrize("loss", [CUT, answered(503, retry_after="7")], ids=["cut", "503 with Retry-After"])
async def test_without_a_key_it_is_not_known_either(loss: Loss) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose("/v1/conversations/", loss)
        extensions = unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id}))
        assert extensions.get("retryAfterSeconds") == (None if loss is CUT else 7)


async def test_where_several_could_be_the_conversation_it_is_not_known() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose("/v1/conversations/", CUT, times=2)
        for key in ("one", "two"):
            unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": key}))
        unknown(await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea", "k": "one"}))
        assert len(conversations(stack, agent_id)) == 2


@pytest.mark.parametrize(
    ("path", "query", "given"),
    [("/v1/conversations/", CREATE_CONVERSATION, {"s": "tea"}), ("/archival-memory", INSERT, {"t": "tea"})],
    ids=["createConversation", "insertPassage"],
)
async def test_what_a_request_under_way_has_made_is_not_taken_for_that_of_another_key(
    path: str, query: str, given: dict[str, str]
) -> None:
    async with lossy_stack() as (stack, proxy):
        asked = given | {"a": await stack.make_agent()}
        proxy.lose(path, Loss(asks=False))
        unknown(await stack.graphql(query, asked | {"k": "lost"}))
        proxy.lose(path, MUTE)
        waiting = asyncio.create_task(stack.graphql(query, asked | {"k": "other"}))

        async def made() -> bool:
            listed = "{ agent(id: $a) { passages { nodes { id } } conversations { nodes { id } } } }"
            agent = (await stack.graphql(f"query($a: ID!) {listed}", {"a": asked["a"]}))["data"]["agent"]
            return bool(agent["passages"]["nodes"] or agent["conversations"]["nodes"])

        await until(made)
        unknown(await stack.graphql(query, asked | {"k": "lost"}))
        waiting.cancel()


async def test_a_fork_whose_answer_is_lost_is_not_made_twice() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        made = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea"})
        origin = made["data"]["createConversation"]["conversation"]["id"]
        proxy.lose("/fork", CUT)
        for _ in range(2):
            unknown(await stack.graphql(FORK, {"c": origin, "k": "k"}))
        assert len(conversations(stack, agent_id)) == 2
        proxy.lose("/fork", Loss(asks=False))
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        made = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "tea"})
        origin = made["data"]["createConversation"]["conversation"]["id"]
        proxy.lose("/fork", Loss(asks=False))
        unknown(await stack.graphql(FORK, {"c": origin, "k": "k"}))
        assert "errors" not in await stack.graphql(FORK, {"c": origin, "k": "k"})
        assert len(conversations(stack, agent_id)) == 2


@pytest.mark.parametrize("asks", [True, False], ids=["kept", "not kept"])
async def test_a_passage_whose_answer_is_lost_is_kept_once(asks: bool) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        await stack.graphql(INSERT, {"a": agent_id, "t": "the tea is green", "k": "other"})
        proxy.lose("/archival-memory", Loss(asks=asks))
        unknown(await stack.graphql(INSERT, {"a": agent_id, "t": "the tea is green", "k": "k"}))
        found = await stack.graphql(INSERT, {"a": agent_id, "t": "the tea is green", "k": "k"})
        again = await stack.graphql(INSERT, {"a": agent_id, "t": "the tea is green", "k": "k"})
        listed = await stack.graphql(f'{{ agent(id: "{agent_id}") {{ passages {{ nodes {{ id }} }} }} }}')
    assert found == again
    [edge] = found["data"]["insertPassage"]["passageEdges"]
    assert edge["node"]["text"] == "the tea is green"
    ids = [node["id"] for node in listed["data"]["agent"]["passages"]["nodes"]]
    assert len(ids) == len(set(ids)) == 2
    assert edge["node"]["id"] in ids


COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { text } }"
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"


def lost(proxy: Lossy, loss: Loss) -> None:
    proxy.lose("/chat/completions", loss)


@pytest.mark.parametrize("query", [COMPLETE, START], ids=["complete", "startCompletion"])
@pytest.mark.parametrize(
    "loss",
    [CUT, MUTE, answered(502), answered(503, retry_after="1")],
    ids=["cut", "no answer", "502", "503 with Retry-After"],
)
async def test_a_completion_that_may_have_been_paid_is_not_asked_for_again(query: str, loss: Loss) -> None:
    async with lossy_stack(service="litellm", stream_first_token_seconds=0.5) as (stack, proxy):
        given = completion(stack, "tokens=3 delay=0") | {"idempotencyKey": "k"}
        lost(proxy, loss)
        for _ in range(3):
            extensions = unknown(await stack.graphql(query, {"i": given}))
            assert "new key" in extensions["message"]
        assert (await stack.model_stats())["total"] == 1
        other = await stack.graphql(query, {"i": given | {"idempotencyKey": "other"}})
        assert "errors" not in other


async def test_a_completion_cut_in_the_middle_is_not_asked_for_again() -> None:
    async with lossy_stack(service="litellm", stream_first_token_seconds=0.5) as (stack, proxy):
        given = completion(stack, "tokens=3 delay=0") | {"idempotencyKey": "k"}
        lost(proxy, HEAD_THEN_CUT)
        for _ in range(3):
            unknown(await stack.graphql(COMPLETE, {"i": given}))
        assert (await stack.model_stats())["total"] == 1


async def test_a_completion_that_its_reader_left_and_cancelled_is_not_asked_for_again() -> None:
    query = "mutation($id: ID!) { cancelStream(input: { streamId: $id }) { stream { status } } }"
    async with embedded_stack() as stack:
        asked = {"i": completion(stack, "tokens=300 delay=0.02"), "k": "k"}
        reading = events(stack, "websocket", COMPLETION, asked)
        stream_id = (await anext(reading))["stream"]["id"]
        await reading.aclose()

        async def left() -> bool:
            listed = await stack.graphql("{ viewer { streams { status } } }")
            return [one["status"] for one in listed["data"]["viewer"]["streams"]] == ["CANCELLED"]

        await until(left)
        await stack.graphql(query, {"id": stream_id})
        heard = [event async for event in events(stack, "websocket", COMPLETION, asked)]
        assert (heard[0]["stream"]["id"], heard[-1]["outcome"]) == (stream_id, "CANCELLED")
        assert (await stack.model_stats())["total"] == 1


@pytest.mark.parametrize("door", DOORS)
async def test_a_completion_subscription_that_may_have_been_paid_is_refused_under_its_key(door: str) -> None:
    async with lossy_stack(service="litellm") as (stack, proxy):
        asked = {"i": completion(stack, "tokens=3 delay=0"), "k": str(uuid.uuid4())}
        lost(proxy, CUT)
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                _ = [event async for event in events(stack, door, COMPLETION, asked)]
            assert (refused.value.code, refused.value.extensions["reason"]) == ("CONFLICT", "OUTCOME_UNKNOWN")
        assert (await stack.model_stats())["total"] == 1


async def test_a_models_own_failure_leaves_the_key_free() -> None:
    async with lossy_stack(service="litellm") as (stack, _):
        given = completion(stack, "tokens=3 error=500") | {"idempotencyKey": "k"}
        for calls in (1, 2):
            answer = await stack.graphql(COMPLETE, {"i": given})
            assert answer["errors"][0]["extensions"]["reason"] == "MODEL"
            assert (await stack.model_stats())["total"] >= calls


async def test_where_nothing_was_sent_the_key_stays_free() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        await stack.servers["ams"].stop()
        first = await stack.graphql(SEND_MESSAGE, {"i": given})
        assert first["errors"][0]["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"
        assert first["errors"][0]["extensions"]["retryable"] is True
        assert proxy.losses == []


async def test_a_completion_cut_off_by_the_network_begins_again_or_goes_on() -> None:
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
