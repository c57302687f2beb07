"""Unusual answers of Letta, as clients of the gateway receive them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.documents import MESSAGE, SEND_MESSAGE
from tests.support.doors import Refused, events
from tests.support.lossy import SEND_PATH, Loss, answered, lossy_stack
from tests.support.stack import Stack, opened_socket, until
from tests.support.streaming import expected, message_input, stored_messages, text_of

CONFLICT = "CONFLICT: Cannot send a new message: "
RUN = "run-44444444-4444-4444-8444-444444444444"


def refusal(status: int, detail: Any, *, retry_after: int | None = None, **more: Any) -> Loss:
    headers: dict[str, Any] = {} if retry_after is None else {"retry_after": str(retry_after)}
    return answered(status, json.dumps({"detail": detail, **more}).encode(), content_type="application/json", **headers)


REFUSALS = {
    "approval, as text": (
        refusal(409, f"{CONFLICT}The agent is waiting for approval on a tool call."),
        ("CONFLICT", "APPROVAL_PENDING", False, None),
    ),
    "approval, with a code": (
        refusal(409, {"code": "PENDING_APPROVAL", "message": "waiting", "pending_request_id": "message-1"}),
        ("CONFLICT", "APPROVAL_PENDING", False, None),
    ),
    "locked": (
        refusal(409, "The resource is currently locked by another operation.", retry_after=7),
        ("CONFLICT", "LOCKED", True, 7),
    ),
    "approval, as an error": (
        answered(409, b'{"error":{"code":"PENDING_APPROVAL","message":"waiting"}}'),
        ("CONFLICT", "APPROVAL_PENDING", False, None),
    ),
    "423": (refusal(423, "locked", retry_after=3), ("CONFLICT", "LOCKED", True, 3)),
    "425 with Retry-After": (refusal(425, "early", retry_after=3), ("UPSTREAM_ERROR", "STATUS", True, 3)),
    "context overflow": (
        refusal(400, "INVALID_ARGUMENT: prompt is too long: 210000 tokens > 200000 maximum"),
        ("BAD_USER_INPUT", "CONTEXT_LENGTH", False, None),
    ),
    "409 with a list": (refusal(409, ["?"]), ("CONFLICT", None, False, None)),
    "409 with HTML": (answered(409, b"<html>"), ("CONFLICT", None, False, None)),
    "redirect": (answered(307, b"", location="https://letta.example/"), ("UPSTREAM_ERROR", "STATUS", False, None)),
}
UNREADABLE = {
    "200 of a proxy": answered(200, b"<html>Sign in</html>", content_type="text/html"),
    "204": answered(204),
    "JSON": answered(200, b'{"messages":[]}', content_type="application/json"),
    "text in an event stream": answered(200, b"garbage", content_type="text/event-stream"),
    "event that is not JSON": answered(200, b"data: garbage\n\n", content_type="text/event-stream"),
}
REFUSALS |= {name: (answer, ("CONFLICT", "OUTCOME_UNKNOWN", False, None)) for name, answer in UNREADABLE.items()}


@pytest.mark.parametrize(("answer", "refused"), REFUSALS.values(), ids=list(REFUSALS))
async def test_a_refusal_of_letta_has_its_code_and_reason(answer: Loss, refused: tuple[Any, ...]) -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, answer)
        result = await stack.graphql(SEND_MESSAGE, {"i": message_input(agent_id, idempotencyKey="k")})
    extensions = result["errors"][0]["extensions"]
    names = ("code", "reason", "retryable", "retryAfterSeconds")
    assert tuple(extensions.get(name) for name in names) == refused


BUSY = {
    "run named": (refusal(409, f"{CONFLICT}Another request (run_id={RUN}) is being processed", run_id=RUN), RUN),
    "run in the text": (refusal(409, f"{CONFLICT}Another request (run_id={RUN}) is being processed"), RUN),
    "no run": (refusal(409, f"{CONFLICT}Another request is currently being processed for this conversation."), None),
    "invalid run id": (refusal(409, f"{CONFLICT}Another request", run_id="../../admin"), None),
}


@pytest.mark.parametrize(("answer", "run"), BUSY.values(), ids=list(BUSY))
async def test_a_busy_conversation_is_a_payload_error(answer: Loss, run: str | None) -> None:
    query = SEND_MESSAGE.replace("errors {", "errors { ... on ConversationBusy { run { id } }", 1)
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, answer)
        result = await stack.graphql(query, {"i": message_input(agent_id, idempotencyKey="k")})
        free = await stack.graphql(SEND_MESSAGE, {"i": message_input(agent_id, idempotencyKey="k")})
    payload = result["data"]["sendMessage"]
    if run is None:
        [error] = payload["errors"]
        assert (error["__typename"], error["run"]) == ("ConversationBusy", None)
    else:  # the gateway reads the run by its id, which Letta does not know
        assert result["errors"][0]["path"][-1] == "run"
    assert free["data"]["sendMessage"]["run"]["id"]


async def test_spent_credits_are_a_payload_error() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, answered(402, b'{"error":"Rate limited","reasons":["not-enough-credits"]}'))
        result = await stack.graphql(SEND_MESSAGE, {"i": message_input(agent_id, idempotencyKey="k")})
    assert result["data"]["sendMessage"]["errors"][0]["__typename"] == "BudgetExceeded"


def added(heard: list[dict[str, Any]]) -> list[str]:
    return [event["edge"]["node"]["__typename"] for event in heard if event["__typename"] == "MessageAdded"]


async def turn_edited(edit: Any, directive: str = "tokens=3 delay=0.01") -> list[dict[str, Any]]:
    """Return the events of a turn whose bytes ``edit`` changes."""
    async with lossy_stack() as (stack, proxy), opened_socket(stack) as socket:
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, Loss(edit=edit))
        heard = [event async for event in socket.events(MESSAGE, {"i": message_input(agent_id, directive), "k": "k"})]
        assert len(stored_messages(stack, agent_id)) == 1
        return heard


PING = b'data: {"message_type":"ping","run_id":null}\n\n'


@pytest.mark.parametrize(
    "first", [PING, PING * 3, b'data: {"message_type":"ping"}\n\n', b'data: {"message_type":"ping","run_id":7}\n\n']
)
async def test_the_run_is_read_from_a_later_frame(first: bytes) -> None:
    waiting = [first]

    def before(data: bytes) -> bytes:
        return (waiting.pop() if waiting else b"") + data

    heard = await turn_edited(before)
    assert added(heard) == ["UserMessage", "AssistantMessage"]
    assert [event["__typename"] for event in heard].count("StreamStarted") == 1
    assert heard[0]["__typename"] == "StreamStarted"


async def test_the_run_is_read_from_the_stored_message() -> None:
    heard = await turn_edited(lambda data: data.replace(b'"run_id":"run-', b'"other":"run-'))
    assert added(heard) == ["UserMessage", "AssistantMessage"]
    assert heard[-1]["outcome"] == "COMPLETED"
    assert text_of(heard) == expected(3)


async def test_repeated_frames_are_delivered_once() -> None:
    def twice(data: bytes) -> bytes:
        frames = [frame + b"\n\n" for frame in data.split(b"\n\n") if frame]
        return b"".join(frame * 2 for frame in frames) + b"".join(frames[:1])

    heard = await turn_edited(twice, "tokens=20 delay=0.005")
    assert text_of(heard) == expected(20)


@pytest.mark.parametrize("first", [0, 1, 1000])
async def test_frames_with_unordered_numbers_are_delivered(first: int) -> None:
    numbers = iter([first + 1, first, *range(first + 2, first + 500)])

    def numbered(data: bytes) -> bytes:
        parts = re.split(rb'"seq_id":\d+', data)
        return parts[0] + b"".join(b'"seq_id":%d' % next(numbers) + part for part in parts[1:])

    heard = await turn_edited(numbered, "tokens=20 delay=0.005")
    assert sorted(text_of(heard).split()) == sorted(expected(20).split())
    assert heard[-1]["outcome"] == "COMPLETED"


@pytest.mark.parametrize(
    "frame", [b"garbage", b"null", b"[]", b'{"message_type":"assistant_message","content":"\\ud83d!"}']
)
async def test_an_unreadable_frame_does_not_end_the_turn(frame: bytes) -> None:
    heard = await turn_edited(lambda data: b"data: " + frame + b"\n\n" + data, "tokens=5 delay=0.01")
    assert text_of(heard) == expected(5)
    assert heard[-1]["outcome"] == "COMPLETED"


STOPS = {
    "end_turn": ("COMPLETED", None, None),
    "tool_rule": ("COMPLETED", None, None),
    "requires_approval": ("COMPLETED", None, None),
    "cancelled": ("CANCELLED", None, None),
    "max_steps": ("FAILED", "UPSTREAM_ERROR", "MAX_STEPS"),
    "max_tokens_exceeded": ("FAILED", "UPSTREAM_ERROR", "MAX_TOKENS_EXCEEDED"),
    "invalid_tool_call": ("FAILED", "UPSTREAM_ERROR", "INVALID_TOOL_CALL"),
    "no_tool_call": ("FAILED", "UPSTREAM_ERROR", "NO_TOOL_CALL"),
    "invalid_llm_response": ("FAILED", "UPSTREAM_ERROR", "INVALID_LLM_RESPONSE"),
    "llm_api_error": ("FAILED", "UPSTREAM_ERROR", "MODEL"),
    "error": ("FAILED", "UPSTREAM_ERROR", "MODEL"),
    "insufficient_credits": ("FAILED", "BUDGET_EXCEEDED", None),
    "context_window_overflow_in_system_prompt": ("FAILED", "BAD_USER_INPUT", "CONTEXT_LENGTH"),
    "a stop reason of a newer Letta": ("FAILED", "UPSTREAM_ERROR", "STOP_REASON"),
}


@pytest.mark.parametrize(("stop", "outcome_and_reason"), STOPS.items(), ids=list(STOPS))
async def test_each_stop_reason_has_its_outcome(stop: str, outcome_and_reason: tuple[str | None, ...]) -> None:
    heard = await turn_edited(lambda data: data.replace(b'"end_turn"', f'"{stop}"'.encode()))
    error = heard[-1]["error"] or {"code": None, "reason": None}
    assert (heard[-1]["outcome"], error["code"], error["reason"]) == outcome_and_reason
    assert text_of(heard) == expected(3)


@pytest.mark.parametrize(
    ("error", "reason"), [("ctx", ("BAD_USER_INPUT", "CONTEXT_LENGTH")), ("429", ("RATE_LIMITED", "MODEL_RATE_LIMIT"))]
)
@pytest.mark.parametrize("door", ["websocket", "event stream"])
async def test_a_failure_of_the_model_has_its_reason(
    stack: Stack, door: str, error: str, reason: tuple[str, str]
) -> None:
    agent_id = await stack.make_agent()
    asked = {"i": message_input(agent_id, f"tokens=3 error={error}"), "k": "k"}
    heard = [event async for event in events(stack, door, MESSAGE, asked)]
    failure = heard[-1]["error"]
    assert (heard[-1]["outcome"], failure["code"], failure["reason"]) == ("FAILED", *reason)


async def test_a_run_with_a_stop_reason_is_not_active(stack: Stack) -> None:
    query = """query($a: ID!) { agent(id: $a) { status defaultConversation { activeRun { id } }
      runs(active: true) { nodes { id } } all: runs { nodes { status stopReason } } } }"""
    agent_id = await stack.make_agent()
    for number, stop in enumerate(("end_turn", "max_steps", "cancelled")):
        given = message_input(agent_id, idempotencyKey=str(number), waitSeconds=10)
        await stack.graphql(SEND_MESSAGE, {"i": given})
        run = [run for run in stack.platform.state.runs.values() if run.body["agent_id"] == agent_id][-1]
        run.body |= {"status": "running", "stop_reason": stop, "completed_at": None}
    agent = (await stack.graphql(query, {"a": agent_id}))["data"]["agent"]
    assert (agent["status"], agent["defaultConversation"]["activeRun"]) == ("IDLE", None)
    assert agent["runs"]["nodes"] == []
    assert [run["status"] for run in agent["all"]["nodes"]] == ["CANCELLED", "FAILED", "COMPLETED"]


async def test_a_message_with_an_unreadable_answer_is_sent_under_its_key() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        proxy.lose(SEND_PATH, answered(200, b"<html>", content_type="text/html"))
        first = await stack.graphql(SEND_MESSAGE, {"i": given})
        assert first["errors"][0]["extensions"]["cause"] == "DECODE"
        answer = (await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"]
        assert answer["stream"]["text"] == expected(3)
        assert len(stored_messages(stack, agent_id)) == 1


async def test_a_new_stream_is_not_marked_as_replayed(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for number in range(10):
        asked = {"i": message_input(agent_id, "tokens=1 delay=0"), "k": str(number)}
        for door, replayed in (("event stream", False), ("websocket", True)):
            heard = [event async for event in events(stack, door, MESSAGE, asked)]
            assert heard[0]["replayed"] is replayed
        given = message_input(agent_id, idempotencyKey=f"m{number}", waitSeconds=10)
        sent = await stack.graphql(SEND_MESSAGE, {"i": given})
        stream = {"id": sent["data"]["sendMessage"]["stream"]["id"]}
        query = "subscription($id: ID!) { stream(id: $id) { __typename ... on StreamStarted { replayed } } }"
        for replayed in (False, True):
            heard = [event async for event in events(stack, "event stream", query, stream)]
            assert heard[0]["replayed"] is replayed


async def test_a_cancelled_message_is_not_sent_again(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    asked = {"i": message_input(agent_id, "tokens=30 delay=0.02", onDisconnect="CANCEL"), "k": "k"}
    reading = events(stack, "websocket", MESSAGE, asked)
    async for event in reading:
        if event["__typename"] == "TextDelta":
            break
    await reading.aclose()

    async def cancelled() -> bool:
        return "CANCELLED" in str(await stack.graphql("{ viewer { streams { status } } }"))

    await until(cancelled)
    heard = [event async for event in events(stack, "websocket", MESSAGE, asked)]
    assert heard[0]["replayed"] is True
    assert text_of(heard) == expected(30)
    assert len(stored_messages(stack, agent_id)) == 1


async def test_a_stream_key_is_free_after_a_refusal() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, refusal(409, f"{CONFLICT}Another request"))
        asked = {"i": message_input(agent_id), "k": "k"}
        with pytest.raises(Refused) as refused:
            _ = [event async for event in events(stack, "event stream", MESSAGE, asked)]
        assert refused.value.extensions["reason"] == "RUN_BUSY"
        heard = [event async for event in events(stack, "event stream", MESSAGE, asked)]
        assert heard[-1]["outcome"] == "COMPLETED"


async def test_a_turn_without_run_ids_in_its_frames_is_answered_under_its_key() -> None:
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, Loss(edit=lambda data: data.replace(b'"run_id":"run-', b'"other":"run-')))
        given = message_input(agent_id, idempotencyKey="k", waitSeconds=10)
        first, again = [(await stack.graphql(SEND_MESSAGE, {"i": given}))["data"]["sendMessage"] for _ in range(2)]
        [message] = stored_messages(stack, agent_id)
    assert first["stream"]["text"] == expected(3)
    assert first["run"] == {"id": message["run_id"], "status": "COMPLETED"}
    assert again == first
