from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from typing import Any

import pytest

from app.embedded.faults import Fault
from tests.support.documents import COMPLETION, MESSAGE
from tests.support.doors import events
from tests.support.stack import embedded_stack, opened_socket, until
from tests.support.streaming import completion, expected, text_of


async def test_a_letta_without_redis_is_sent_to_in_the_foreground() -> None:
    async with embedded_stack(letta_redis=False) as stack, opened_socket(stack) as socket:
        agent_id = await stack.make_agent()
        given = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=3 delay=0]]"}]}
        heard = [event async for event in socket.events(MESSAGE, {"i": given, "k": "k"})]
        sends = [call for call in stack.calls("letta") if call.startswith("POST /v1/conversations/default/messages")]
        health = (await stack.client.get("/health")).json()["services"]["letta"]
        platform = await stack.graphql("{ platform { degraded services { service note } } }")
    assert heard[0]["resumable"] is False
    assert text_of(heard) == "tok0 tok1 tok2"
    assert len(sends) == 2
    assert health["breaker"] == "closed"
    assert "no Redis" in health["note"]
    notes = {"AMS": None, "LETTA": health["note"], "LITELLM": None}
    services = [{"service": service, "note": note} for service, note in notes.items()]
    assert platform == {"data": {"platform": {"degraded": False, "services": services}}}


async def test_a_letta_with_redis_can_take_a_turn_up_again() -> None:
    async with embedded_stack() as stack, opened_socket(stack) as socket:
        agent_id = await stack.make_agent()
        given = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=1 delay=0]]"}]}
        heard = [event async for event in socket.events(MESSAGE, {"i": given, "k": "k"})]
    assert heard[0]["resumable"] is True


async def test_a_silent_model_is_covered_by_heartbeats_and_a_late_refusal_is_in_the_stream() -> None:
    async with embedded_stack(stream_heartbeat_seconds=0.05, stream_first_token_seconds=0.4) as stack:
        asked = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "[[error=hang]]"}]}
        response = await stack.client.post("/v1/chat/completions", json=asked, headers=stack.headers())
    assert response.status_code == 200
    assert response.text.startswith(": ping\n\n: ping\n\n")
    assert response.text.count('data: {"error"') == 1
    assert '"type":"api_error","param":null,"code":"first_token"' in response.text
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("kind", ["message", "completion"])
async def test_each_clock_has_its_reason(kind: str) -> None:
    clocks = {
        "FIRST_TOKEN": ({"stream_first_token_seconds": 0.1}, "tokens=3 first=5"),
        "IDLE": ({"stream_idle_seconds": 0.1}, "tokens=3 delay=5"),
        "TOTAL": ({"llm_timeout_seconds": 0.3}, "tokens=500 delay=0.05"),
    }

    async def reason(settings: dict[str, Any], directive: str) -> str:
        async with embedded_stack(**settings, stream_heartbeat_seconds=0.05) as stack, opened_socket(stack) as socket:
            if kind == "message":
                to = {"agentId": await stack.make_agent()}
                query, given = MESSAGE, {"to": to, "content": [{"text": f"hi [[{directive}]]"}]}
            else:
                query, given = COMPLETION, completion(stack, directive)
            heard = [event async for event in socket.events(query, {"i": given, "k": "k"})]
            return f"{heard[-1]['error']['code']} {heard[-1]['error']['reason']}"

    reasons = await asyncio.gather(*(reason(*case) for case in clocks.values()))
    told = [f"UPSTREAM_TIMEOUT {name}" for name in clocks]
    # A completion that has not begun may have been paid for all the same; a turn has begun by its first ping.
    assert reasons == (told if kind == "message" else ["CONFLICT OUTCOME_UNKNOWN", *told[1:]])


@pytest.mark.parametrize(
    ("fault", "cause"), [(Fault(hang=True), "DEADLINE"), (Fault(cut_after=0), "CUT")], ids=["hangs", "is cut off"]
)
async def test_a_turn_that_never_begins_is_an_error_of_the_mutation(fault: Fault, cause: str) -> None:
    async with embedded_stack(request_timeout=0.5, stream_heartbeat_seconds=0.05) as stack:
        to = {"agentId": await stack.make_agent()}
        stack.platform.faults["letta"] = fault
        given = {"to": to, "content": [{"text": "hi [[tokens=1 delay=0]]"}], "idempotencyKey": "k"}
        answer = await stack.graphql(
            "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } } }", {"i": given}
        )
    extensions = answer["errors"][0]["extensions"]
    assert (extensions["code"], extensions["reason"], extensions["service"]) == ("CONFLICT", "OUTCOME_UNKNOWN", "letta")
    assert (extensions["cause"], extensions["retryable"]) == (cause, False)


async def test_waiting_for_an_answer_outlasts_the_time_of_a_request() -> None:
    async with embedded_stack(request_timeout=0.5) as stack:
        given = {
            "to": {"agentId": await stack.make_agent()},
            "content": [{"text": "hi [[tokens=2 delay=0 first=1]]"}],
            "idempotencyKey": "k",
            "waitSeconds": 20,
        }
        answer = await stack.graphql(
            "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { status } stream { run { status } } } }",
            {"i": given},
        )
    run = {"status": "COMPLETED"}
    assert answer == {"data": {"sendMessage": {"run": run, "stream": {"run": run}}}}


async def test_a_key_is_free_after_a_refusal_without_readers() -> None:
    async with embedded_stack() as stack:
        given = {
            "to": {"agentId": await stack.make_agent()},
            "content": [{"text": "hi [[tokens=1 delay=0]]"}],
            "idempotencyKey": "k",
        }
        mutation = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } } }"
        stack.platform.faults["letta"] = Fault(status=500, latency=0.3)
        sent = asyncio.create_task(stack.graphql(mutation, {"i": given}))

        async def asked() -> bool:
            return any(call.startswith("POST") and "messages" in call for call in stack.calls("letta"))

        await until(asked)
        sent.cancel()

        async def refused() -> bool:
            return 'operation="send",outcome="error"' in (await stack.client.get("/metrics")).text

        await until(refused)
        stack.platform.faults.clear()
        answer = await stack.graphql(mutation, {"i": given})
        assert answer["data"]["sendMessage"]["run"]["id"].startswith("run-")


async def test_tokens_do_not_wait_for_messages_that_letta_does_not_tell() -> None:
    async with embedded_stack(request_timeout=0.5) as stack:
        given = {"to": {"agentId": await stack.make_agent()}, "content": [{"text": "[[tokens=9 delay=0.01 tool=x]]"}]}
        heard: list[dict[str, Any]] = []
        async with aclosing(events(stack, "event stream", MESSAGE, {"i": given, "k": "k"})) as turn:
            async for event in turn:
                heard.append(event)
                stack.platform.faults["letta"] = Fault(hang=True)
                if event["__typename"] == "TextDelta" and text_of(heard) == expected(9):
                    break
        stack.platform.faults.clear()
    assert "MessageAdded" not in {event["__typename"] for event in heard}


async def test_with_coalescing_off_every_token_is_a_frame() -> None:
    async with embedded_stack(stream_coalesce_milliseconds=0) as stack, opened_socket(stack) as socket:
        variables = {"i": completion(stack, "tokens=40 delay=0"), "k": str(uuid.uuid4())}
        heard = [event async for event in socket.events(COMPLETION, variables)]
    assert [event["text"].strip() for event in heard if event["__typename"] == "TextDelta"] == [
        f"tok{n}" for n in range(40)
    ]


async def test_null_token_counts_become_zero() -> None:
    async with embedded_stack() as stack:
        asked: dict[str, Any] = {
            "model": "gemini-2.5-flash",
            "messages": [{"role": "user", "content": "[[tokens=1 delay=0]]"}],
        }
        whole = await stack.client.post("/v1/chat/completions", json=asked, headers=stack.headers())
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        streamed = await stack.client.post("/v1/chat/completions", json=asked, headers=stack.headers())
    assert whole.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert '"cached_tokens":0' in streamed.text
    assert "null" not in streamed.text
