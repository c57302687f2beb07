from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from typing import Any

import pytest

from app.embedded.faults import Fault
from tests.support.documents import COMPLETION, MESSAGE, SEND_MESSAGE
from tests.support.doors import DOORS, Refused, events
from tests.support.openai import ask, asking
from tests.support.stack import Stack, embedded_stack, opened_socket, replica_of, until
from tests.support.streaming import completion, expected, message_input, text_of


async def test_without_redis_messages_are_sent_in_the_foreground() -> None:
    async with embedded_stack(letta_redis=False) as stack, opened_socket(stack) as socket:
        given = message_input(await stack.make_agent())
        heard = [event async for event in socket.events(MESSAGE, {"i": given, "k": "k"})]
        sends = [call for call in stack.calls("letta") if call.startswith("POST /v1/conversations/default/messages")]
        health = (await stack.client.get("/health")).json()["services"]["letta"]
        platform = await stack.graphql("{ platform { degraded services { service note } } }")
    assert heard[0]["resumable"] is False
    assert text_of(heard) == "tok0 tok1 tok2"
    assert len(sends) == 2
    assert health["breaker"] == "closed"
    assert "no Redis" in health["note"]
    notes = {"AMS": None, "LETTA": health["note"], "LITELLM": None, "SUPABASE": None}
    services = [{"service": service, "note": note} for service, note in notes.items()]
    assert platform == {"data": {"platform": {"degraded": False, "services": services}}}


async def test_with_redis_a_turn_is_resumable(stack: Stack) -> None:
    asked = {"i": message_input(await stack.make_agent()), "k": "k"}
    async with opened_socket(stack) as socket:
        heard = [event async for event in socket.events(MESSAGE, asked)]
    assert heard[0]["resumable"] is True


async def test_each_timeout_of_a_turn_has_its_reason() -> None:
    timeouts = {
        "FIRST_TOKEN": ({"stream_first_token_seconds": 1.0}, "tokens=3 first=5"),
        "IDLE": ({"stream_idle_seconds": 0.1}, "tokens=3 delay=5"),
        "TOTAL": ({"llm_timeout_seconds": 0.3}, "tokens=500 delay=0.05"),
    }

    async def reason(settings: dict[str, Any], directive: str) -> str:
        # also the time for the answer to a ping: three stacks start at once, and a client can be slow
        async with embedded_stack(**settings, stream_heartbeat_seconds=0.5) as stack, opened_socket(stack) as socket:
            given = message_input(await stack.make_agent(), directive)
            heard = [event async for event in socket.events(MESSAGE, {"i": given, "k": "k"})]
            return f"{heard[-1]['error']['code']} {heard[-1]['error']['reason']}"

    reasons = await asyncio.gather(*(reason(*case) for case in timeouts.values()))
    assert reasons == [f"UPSTREAM_TIMEOUT {name}" for name in timeouts]


@pytest.mark.parametrize(
    ("fault", "cause"), [(Fault(hang=True), "DEADLINE"), (Fault(cut_after=0), "CUT")], ids=["hangs", "is cut off"]
)
async def test_a_turn_that_does_not_begin_is_an_error_of_the_mutation(fault: Fault, cause: str) -> None:
    async with embedded_stack(request_timeout=0.5, stream_heartbeat_seconds=0.05) as stack:
        given = message_input(await stack.make_agent(), idempotencyKey="k")
        stack.platform.faults["letta"] = fault
        answer = await stack.graphql(SEND_MESSAGE, {"i": given})
    extensions = answer["errors"][0]["extensions"]
    assert (extensions["code"], extensions["reason"], extensions["service"]) == ("CONFLICT", "OUTCOME_UNKNOWN", "letta")
    assert (extensions["cause"], extensions["retryable"]) == (cause, False)


async def test_wait_seconds_can_exceed_the_request_timeout() -> None:
    async with embedded_stack(request_timeout=0.5) as stack:
        directive = "tokens=2 delay=0 first=1"
        given = message_input(await stack.make_agent(), directive, idempotencyKey="k", waitSeconds=20)
        query = (
            "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { status } stream { run { status } } } }"
        )
        answer = await stack.graphql(query, {"i": given})
    run = {"status": "COMPLETED"}
    assert answer == {"data": {"sendMessage": {"run": run, "stream": {"run": run}}}}


async def test_a_key_is_free_after_a_refusal_without_a_client(stack: Stack) -> None:
    given = message_input(await stack.make_agent(), idempotencyKey="k")
    stack.platform.faults["letta"] = Fault(status=500, latency=0.3)
    sent = asyncio.create_task(stack.graphql(SEND_MESSAGE, {"i": given}))
    await until(lambda: any(call.startswith("POST") and "messages" in call for call in stack.calls("letta")))
    sent.cancel()

    async def refused() -> bool:
        return 'operation="send",outcome="error"' in (await stack.client.get("/metrics")).text

    await until(refused)
    stack.platform.faults.clear()
    answer = await stack.graphql(SEND_MESSAGE, {"i": given})
    assert answer["data"]["sendMessage"]["run"]["id"].startswith("run-")


async def test_tokens_do_not_wait_for_stored_messages() -> None:
    async with embedded_stack(request_timeout=0.5) as stack:
        given = message_input(await stack.make_agent(), "tokens=9 delay=0.01 tool=x")
        heard: list[dict[str, Any]] = []
        async with aclosing(events(stack, "event stream", MESSAGE, {"i": given, "k": "k"})) as turn:
            async for event in turn:
                heard.append(event)
                stack.platform.faults["letta"] = Fault(hang=True)
                if event["__typename"] == "TextDelta" and text_of(heard) == expected(9):
                    break
        stack.platform.faults.clear()
    assert "MessageAdded" not in {event["__typename"] for event in heard}


async def test_null_token_counts_become_zero(stack: Stack) -> None:
    asked = asking(stack, "tokens=1 delay=0", model="gemini-2.5-flash")
    whole = await ask(stack, "/v1/chat/completions", asked)
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    streamed = await ask(stack, "/v1/chat/completions", asked)
    assert whole.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert '"cached_tokens":0' in streamed.text
    assert "null" not in streamed.text


PATH = "/v1/chat/completions"


async def fresh(stack: Stack, retried_at: Stack, door: str) -> None:
    """Start completions, also with the keys of completions that LiteLLM has refused."""
    for fault in (None, Fault(status=429, path=PATH), Fault(status=429, latency=0.3, path=PATH)):
        asked = {"i": completion(stack, "tokens=2 delay=0"), "k": str(uuid.uuid4())}
        if fault is not None:
            stack.platform.faults["litellm"] = fault
            if fault.latency:
                refused = [event async for event in events(stack, door, COMPLETION, asked)]
                assert [(one.get("replayed"), one.get("outcome")) for one in refused] == [
                    (False, None),
                    (None, "FAILED"),
                ]
            else:
                with pytest.raises(Refused):
                    await anext(events(stack, door, COMPLETION, asked))
            del stack.platform.faults["litellm"]
        heard = [event async for event in events(retried_at, door, COMPLETION, asked)]
        assert (heard[0]["replayed"], text_of(heard), heard[-1]["outcome"]) == (False, expected(2), "COMPLETED")


@pytest.mark.parametrize("door", DOORS)
async def test_a_fresh_completion_is_not_marked_as_replayed(door: str) -> None:
    async with embedded_stack(stream_heartbeat_seconds=0.1, rate_limit_llm=0) as stack:
        await fresh(stack, stack, door)


@pytest.mark.needs_redis
@pytest.mark.parametrize("door", DOORS)
async def test_a_fresh_completion_of_another_replica_is_not_marked_as_replayed(door: str, redis_url: str) -> None:
    settings = {"stream_heartbeat_seconds": 0.1, "rate_limit_llm": 0, "redis_url": redis_url}
    async with embedded_stack(**settings) as stack, replica_of(stack) as other:
        await fresh(stack, other, door)
