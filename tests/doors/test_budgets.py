"""Limits on tokens and costs: LLM_TOKENS_PER_MINUTE, maxCostUsd, and the bill of an answer that a reader abandons."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from app.embedded.faults import Fault
from resolvers.sources import billing
from tests.support.doors import DOORS, Refused, events
from tests.support.openai import sdk_client
from tests.support.stack import ADA, Stack, any_stack, embedded_stack, until
from tests.support.usage import settled, usage

LIMITS = "{ viewer { rateLimits { kind limit remaining } } }"
COMPLETE = """mutation($i: CompletionInput!) { complete(input: $i) {
  text usage { totalTokens costUsd } stream { id } errors { __typename message } } }"""
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } errors { message } } }"
SEND = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { stream { id } errors { message } } }"
EMBED = "mutation($i: EmbedInput!) { embed(input: $i) { embeddings { index } errors { message } } }"
CANCEL = "mutation($id: ID!) { cancelStream(input: {streamId: $id}) { stream { status } } }"
EVENT = """{ __typename cursor ... on TextDelta { text } ... on StreamStarted { stream { id } }
  ... on StreamEnded { outcome error { code reason message retryable }
    usage { promptTokens completionTokens reasoningTokens totalTokens costUsd } run { id status } } }"""
RUN = "query($id: ID!) { run(id: $id) { status } }"
MESSAGE = f"subscription($i: SendMessageInput!, $k: ID!) {{ message(input: $i, streamKey: $k) {EVENT} }}"
COMPLETION = f"subscription($i: CompletionInput!, $k: ID!) {{ completion(input: $i, streamKey: $k) {EVENT} }}"
STREAM = f"subscription($id: ID!) {{ stream(id: $id) {EVENT} }}"
LIMIT = 1000
PROMPT = 100
"""More tokens than any prompt of these tests is estimated to have."""


def asked(stack: Stack, directive: str = "tokens=3 delay=0", **more: Any) -> dict[str, Any]:
    """Return the input of a completion."""
    messages = [{"role": "USER", "content": f"hi [[{directive}]]"}]
    return {"model": stack.chat_model, "messages": messages, "idempotencyKey": str(uuid.uuid4()), **more}


def openai_body(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": given["model"], "messages": [{"role": "user", "content": given["messages"][0]["content"]}], **more}


async def used(stack: Stack) -> int:
    """Return the tokens that count against the user's limit."""
    answer = await stack.graphql(LIMITS)
    [limit] = [one for one in answer["data"]["viewer"]["rateLimits"] if one["kind"] == "TOKENS"]
    assert limit["limit"] == LIMIT
    return int(limit["limit"] - limit["remaining"])


async def uses(stack: Stack, tokens: int) -> None:
    """Wait until this number of tokens counts."""

    async def counts() -> bool:
        return await used(stack) == tokens

    await until(counts)


async def completed(stack: Stack, given: dict[str, Any]) -> dict[str, Any]:
    answer = await stack.graphql(COMPLETE, {"i": given})
    assert "errors" not in answer, answer
    payload: dict[str, Any] = answer["data"]["complete"]
    return payload


async def refused(stack: Stack, query: str, given: dict[str, Any]) -> dict[str, Any]:
    answer = await stack.graphql(query, {"i": given})
    [error] = answer["errors"]
    return {**error["extensions"], "message": error["message"]}


async def told(stack: Stack, **given: Any) -> httpx.Response:
    headers = stack.headers()
    return await stack.client.post("/v1/chat/completions", json=given, headers=headers)


@pytest.fixture
async def limited() -> Any:
    async with any_stack(llm_tokens_per_minute=LIMIT) as stack:
        yield stack


async def test_each_model_call_settles_what_it_used(limited: Stack) -> None:
    stack, total = limited, 0
    given = asked(stack, maxTokens=50)
    total += (await completed(stack, given))["usage"]["totalTokens"]
    await uses(stack, total)
    assert (await completed(stack, given))["text"], "a repeated request"
    await uses(stack, total)
    answer = (await told(stack, **openai_body(asked(stack), max_tokens=50))).json()
    total += answer["usage"]["total_tokens"]
    await uses(stack, total)
    streamed = openai_body(asked(stack), stream=True, stream_options={"include_usage": True})
    async with sdk_client(f"{stack.url}/v1", stack.token()) as sdk:
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**streamed)]
    assert chunks[-1].usage is not None
    total += chunks[-1].usage.total_tokens
    await uses(stack, total)
    embedding = {"model": stack.embedding_model, "inputs": ["one", "two"]}
    before = await used(stack)
    assert "errors" not in await stack.graphql(EMBED, {"i": embedding})
    assert before < await used(stack) < before + PROMPT


async def test_a_running_call_holds_its_maximum_and_gives_back_the_rest(limited: Stack) -> None:
    stack = limited
    key = str(uuid.uuid4())
    running = events(stack, "websocket", COMPLETION, {"i": asked(stack, "tokens=9 delay=0.3", maxTokens=600), "k": key})
    async with aclosing(running) as read:
        await anext(read)
        held = await used(stack)
        assert 600 < held < 600 + PROMPT
        second = await refused(stack, COMPLETE, asked(stack, maxTokens=600))
        assert (second["code"], second["reason"], second["retryable"]) == ("RATE_LIMITED", "RATE_LIMIT_TOKENS", True)
        assert 1 <= second["retryAfterSeconds"] <= 120
        third = await told(stack, **openai_body(asked(stack), max_tokens=600))
        assert (third.status_code, third.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert third.headers["x-ratelimit-resource"] == "tokens"
        assert third.headers["x-ratelimit-limit"] == str(LIMIT)
        assert int(third.headers["retry-after"]) >= 1
        assert await used(stack) == held, "a refused call counts nothing"
        metrics = (await stack.client.get("/metrics")).text
        assert 'agentgraph_rate_limited_total{limit="tokens"} 2.0' in metrics
        assert (await completed(stack, asked(stack, maxTokens=100)))["text"]
        ended = [event async for event in read][-1]
        assert ended["outcome"] == "COMPLETED"
    short = (await told(stack, **openai_body(asked(stack), max_tokens=9))).json()["usage"]["total_tokens"]
    assert short < await used(stack) < PROMPT * 3


@pytest.mark.parametrize("error", ["429", "500"])
async def test_a_call_that_the_model_refuses_is_refunded(limited: Stack, error: str) -> None:
    stack = limited
    assert (await refused(stack, COMPLETE, asked(stack, f"error={error}", maxTokens=600)))["code"]
    await uses(stack, 0)
    assert (await told(stack, **openai_body(asked(stack, f"error={error}"), max_tokens=600))).is_error
    await uses(stack, 0)
    unknown = asked(stack, maxTokens=600) | {"model": "no-such-model"}
    assert (await refused(stack, START, unknown))["code"] == "NOT_FOUND"
    await uses(stack, 0)


async def test_a_call_that_the_model_breaks_off_counts_what_was_streamed(limited: Stack) -> None:
    stack = limited
    given = asked(stack, "tokens=20 delay=0.02 error=cut", maxTokens=600)
    read = [event async for event in events(stack, "websocket", COMPLETION, {"i": given, "k": "k"})]
    assert read[-1]["outcome"] == "FAILED"
    assert 10 <= read[-1]["usage"]["completionTokens"] < 600
    await uses(stack, read[-1]["usage"]["totalTokens"])


@pytest.mark.parametrize("door", ["cancelStream", "leaving"])
async def test_a_call_cancelled_before_its_first_token_is_refunded(limited: Stack, door: str) -> None:
    stack = limited
    given = asked(stack, "tokens=9 first=60", maxTokens=600)
    if door == "leaving":
        body = openai_body(given, max_tokens=600, stream=True)
        left = asyncio.create_task(told(stack, **body))
        await until(lambda: _holds(stack))
        left.cancel()
    else:
        starting = asyncio.create_task(stack.graphql(START, {"i": given}))
        await until(lambda: _holds(stack))
        answer = await stack.graphql("{ viewer { streams { id } } }")
        [stream] = answer["data"]["viewer"]["streams"]
        await stack.graphql(CANCEL, {"id": stream["id"]})
        await starting
    await uses(stack, 0)


async def _holds(stack: Stack) -> bool:
    return await used(stack) > 600


async def test_a_call_cancelled_midway_settles_what_was_charged(limited: Stack) -> None:
    stack = limited
    answer = await stack.graphql(START, {"i": asked(stack, "tokens=99 delay=0.2", maxTokens=600)})
    stream_id = answer["data"]["startCompletion"]["stream"]["id"]
    read = events(stack, "websocket", STREAM, {"id": stream_id})
    async with aclosing(read):
        while (await anext(read))["__typename"] != "TextDelta":
            pass
        await stack.graphql(CANCEL, {"id": stream_id})
        ended = [event async for event in read][-1]
    assert ended["outcome"] == "CANCELLED"
    await uses(stack, ended["usage"]["totalTokens"])


async def test_a_call_that_can_never_fit_is_not_retried(limited: Stack) -> None:
    stack = limited
    error = await refused(stack, COMPLETE, asked(stack, maxTokens=LIMIT))
    assert (error["code"], error["reason"], error["retryable"]) == ("BAD_USER_INPUT", "TOO_MANY_TOKENS", False)
    assert "at most 1,000 tokens per minute" in error["message"]
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=2) as sdk:
        for more in ({"max_tokens": 300, "n": 4}, {"max_completion_tokens": LIMIT, "stream": True}):
            with pytest.raises(openai.BadRequestError, match="Shorten the prompt"):
                await sdk.chat.completions.create(**openai_body(asked(stack)), **more)
    texts = {"model": stack.embedding_model, "inputs": ["word " * LIMIT]}
    assert (await refused(stack, EMBED, texts))["reason"] == "TOO_MANY_TOKENS"
    assert await used(stack) == 0
    assert (await completed(stack, asked(stack)))["text"], "without a maximum, a call fits into an unused limit"


async def test_more_tokens_than_reserved_count_afterwards(limited: Stack) -> None:
    stack = limited
    said = await completed(stack, asked(stack, "tokens=1500 delay=0"))
    assert said["usage"]["totalTokens"] > 1500
    await uses(stack, LIMIT)
    assert (await refused(stack, COMPLETE, asked(stack)))["reason"] == "RATE_LIMIT_TOKENS"


async def test_agents_calls_count_and_are_never_refused(limited: Stack) -> None:
    stack = limited
    secret = {"authorization": f"Bearer {stack.agent_secret()}"}
    body = openai_body(asked(stack, "tokens=1500 delay=0"))
    for stream in (False, True):
        answer = await stack.client.post(
            f"{stack.proxy()}/chat/completions", json={**body, "stream": stream}, headers=secret
        )
        assert answer.status_code == 200, answer.text
    await uses(stack, LIMIT)
    assert (await refused(stack, COMPLETE, asked(stack)))["reason"] == "RATE_LIMIT_TOKENS"
    message = {"to": {"agentId": "agent-00000000-0000-4000-8000-000000000000"}, "content": [{"text": "hi"}]}
    turn = await refused(stack, SEND, {**message, "idempotencyKey": "k"})
    assert turn["reason"] == "RATE_LIMIT_TOKENS", "no new turn begins"


async def priced(stack: Stack, prompt: int, output: int) -> Decimal:
    """Return the cost of tokens of the chat model, in US dollars."""
    answer = await stack.graphql("{ models { name inputUsdPerMillionTokens outputUsdPerMillionTokens } }")
    [model] = [one for one in answer["data"]["models"] if one["name"] == stack.chat_model]
    prices = Decimal(model["inputUsdPerMillionTokens"]), Decimal(model["outputUsdPerMillionTokens"])
    return (prompt * prices[0] + output * prices[1]) / 1_000_000


@pytest.mark.parametrize("door", DOORS)
async def test_a_stream_over_its_maximum_cost_is_stopped_within_a_chunk(stack: Stack, door: str) -> None:
    most = await priced(stack, 40, 40)
    key, given = str(uuid.uuid4()), asked(stack, "tokens=500 delay=0.01", maxCostUsd=format(most, "f"))
    read = [event async for event in events(stack, door, COMPLETION, {"i": given, "k": key})]
    ended, text = read[-1], "".join(event["text"] for event in read if event["__typename"] == "TextDelta")
    assert (ended["outcome"], ended["error"]["code"]) == ("FAILED", "BUDGET_EXCEEDED")
    assert (ended["error"]["reason"], ended["error"]["retryable"]) == ("MAX_COST", False)
    assert f"`maxCostUsd` is {given['maxCostUsd']}" in ended["error"]["message"]
    said = ended["usage"]
    *earlier, last = text.split()
    for shown, is_over in ((text, True), (" ".join([*earlier, ""]), False)):
        assert (await priced(stack, said["promptTokens"], -(-len(shown) // 3)) > most) is is_over, last
    assert len(text.split()) <= said["completionTokens"]
    assert 0 < Decimal(said["costUsd"]) <= most * 2
    again = [event async for event in events(stack, door, COMPLETION, {"i": given, "k": key})]
    assert [event for event in again if event["__typename"] == "StreamEnded"] == [ended]
    with pytest.raises(Refused) as conflict:
        await anext(events(stack, door, COMPLETION, {"i": {**given, "maxCostUsd": "0.2"}, "k": key}))
    assert (conflict.value.code, conflict.value.extensions["reason"]) == ("CONFLICT", "KEY_REUSED")


async def test_a_whole_completion_is_bounded_and_not_paid_again(stack: Stack) -> None:
    given = asked(stack, "tokens=5000 delay=0.002", maxCostUsd="0.0001")
    before = (await stack.model_stats())["total"] if not stack.real else 0
    for _ in range(2):
        error = await refused(stack, COMPLETE, given)
        assert (error["code"], error["reason"], error["retryable"]) == ("BUDGET_EXCEEDED", "MAX_COST", False)
    if not stack.real:
        assert (await stack.model_stats())["total"] == before + 1
    within = asked(stack, maxCostUsd="0.5")
    assert (await completed(stack, within))["text"].strip() == "tok0 tok1 tok2"
    assert (await completed(stack, {**within, "maxCostUsd": "0.50"}))["text"], "an equal amount is equal input"
    assert (await refused(stack, COMPLETE, {**within, "maxCostUsd": "0.6"}))["reason"] == "KEY_REUSED"


async def test_a_prompt_over_the_maximum_cost_is_refused_before_the_call(stack: Stack) -> None:
    given = asked(stack, maxCostUsd="0.000001")
    error = await refused(stack, START, given)
    assert (error["code"], error["reason"]) == ("BUDGET_EXCEEDED", "MAX_COST")
    assert "The prompt and one output token cost about 0.0000" in error["message"]
    assert (await completed(stack, {**given, "maxCostUsd": "1"}))["text"], "the key is free"


@pytest.mark.parametrize("output", [40, 700], ids=["in the first step", "in a later step"])
async def test_a_turn_over_its_maximum_cost_is_cancelled(stack: Stack, output: int) -> None:
    agent = await stack.make_agent()
    tools = ""
    if output > 40:
        await stack.give_tool(agent, "conversation_search")
        tools = " tool=conversation_search"
    most = await priced(stack, 0, output)
    text = f"hi [[tokens=900 delay=0.004{tools}]]"
    given = {"to": {"agentId": agent}, "content": [{"text": text}], "maxCostUsd": format(most, "f")}
    key = str(uuid.uuid4())
    read = [event async for event in events(stack, "websocket", MESSAGE, {"i": given, "k": key})]
    ended = read[-1]
    assert (ended["outcome"], ended["error"]["code"], ended["error"]["reason"]) == (
        "FAILED",
        "BUDGET_EXCEEDED",
        "MAX_COST",
    )
    said = "".join(event["text"] for event in read if event["__typename"] == "TextDelta")
    assert 0 < len(said.split()) <= output
    if output == 40:
        assert (await priced(stack, 0, len(said))) > most / 4

    async def cancelled() -> bool:
        answer = await stack.graphql(RUN, {"id": ended["run"]["id"]})
        return bool(answer["data"]["run"]["status"] == "CANCELLED")

    await until(cancelled)
    again = [event async for event in events(stack, "websocket", MESSAGE, {"i": given, "k": key})]
    assert again[-1]["error"] == ended["error"], "the message is not sent again"
    other = {**given, "maxCostUsd": "1", "idempotencyKey": key}
    with pytest.raises(Refused) as conflict:
        await anext(events(stack, "websocket", MESSAGE, {"i": other, "k": key}))
    assert conflict.value.extensions["reason"] == "KEY_REUSED"


async def test_a_turn_within_its_maximum_cost_completes(stack: Stack) -> None:
    agent = await stack.make_agent()
    given = {"to": {"agentId": agent}, "content": [{"text": "hi [[tokens=3 delay=0]]"}], "maxCostUsd": "0.5"}
    read = [event async for event in events(stack, "websocket", MESSAGE, {"i": given, "k": str(uuid.uuid4())})]
    assert read[-1]["outcome"] == "COMPLETED"
    wrong = {**given, "maxCostUsd": "0", "idempotencyKey": str(uuid.uuid4())}
    assert (await refused(stack, SEND, wrong))["reason"] == "RANGE"


@pytest.mark.bound("max-cost")
async def test_an_invalid_maximum_cost_is_refused(stack: Stack) -> None:
    for usd in ("0", "-1", "NaN", "sNaN", "Infinity", "1000000.01", "1e-999999", "1e999999"):
        error = await refused(stack, COMPLETE, asked(stack, maxCostUsd=usd))
        assert (error["code"], error["reason"], usd) == ("BAD_USER_INPUT", "RANGE", usd)
        assert len(error["message"]) < 200
    assert (await completed(stack, asked(stack, maxCostUsd="1000000")))["text"]
    others: list[Any] = ["dear", "1" * 41, True, [0, [1], 2], {}]
    for wrong in others:
        error = await refused(stack, COMPLETE, asked(stack, maxCostUsd=wrong))
        assert error["code"] == "BAD_USER_INPUT", wrong
    assert (await completed(stack, asked(stack, maxCostUsd=0.5)))["text"]


async def test_a_model_without_a_price_has_no_bound(stack: Stack) -> None:
    if stack.real:
        model = "fake-slow"
    else:
        model = "unpriced"
        prices = dict.fromkeys(("input_cost_per_token", "output_cost_per_token"))
        stack.platform.state.models[model] = {**stack.platform.state.models[stack.chat_model], **prices}
    error = await refused(stack, COMPLETE, asked(stack, maxCostUsd="1") | {"model": model})
    assert (error["code"], error["reason"]) == ("BAD_USER_INPUT", "NO_PRICE")
    assert f"no price for the model '{model}'" in error["message"]


@pytest.mark.parametrize("directive", ["tokens=50 delay=0.2", "tokens=50 delay=0.2 reasoning=1"])
async def test_the_bill_of_an_abandoned_stream_is_litellms_own(stack: Stack, directive: str) -> None:
    await stack.own_key(ADA)
    read, key, given = [], str(uuid.uuid4()), asked(stack, directive)
    async with aclosing(events(stack, "websocket", COMPLETION, {"i": given, "k": key})) as stream:
        async for event in stream:
            read.append(event)
            if sum(one["__typename"] == "TextDelta" for one in read) == 3:
                break
    [ended] = [
        event
        async for event in events(stack, "websocket", STREAM, {"id": read[0]["stream"]["id"]})
        if event["__typename"] == "StreamEnded"
    ]
    assert ended["outcome"] == "CANCELLED"
    await equals_the_bill(stack, ended["usage"])


async def test_the_usage_of_a_broken_answer_is_litellms_own(stack: Stack) -> None:
    await stack.own_key(ADA)
    asking = {"i": asked(stack, "tokens=8 delay=0.2 error=cut"), "k": str(uuid.uuid4())}
    *_, ended = [event async for event in events(stack, "websocket", COMPLETION, asking)]
    assert (ended["outcome"], ended["error"]["reason"]) == ("FAILED", "MODEL")
    await equals_the_bill(stack, ended["usage"])


async def equals_the_bill(stack: Stack, said: dict[str, Any]) -> None:
    """Assert that LiteLLM has charged the usage of the user's only completion, and that the metrics have it."""
    await settled(stack, 1)
    charged = (await usage(stack))["totals"]
    assert said["completionTokens"] >= 3
    for name in ("promptTokens", "completionTokens", "totalTokens"):
        assert said[name] == charged[name]
    assert Decimal(said["costUsd"]) == Decimal(charged["costUsd"]) > 0
    metrics = (await stack.client.get("/metrics")).text
    for direction, name in (("in", "promptTokens"), ("out", "completionTokens")):
        assert f'agentgraph_tokens_total{{direction="{direction}",kind="completion"}} {float(said[name])}' in metrics


async def test_a_token_counter_that_hangs_delays_few_ends_and_no_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "BILL_SECONDS", 1.5)  # after 1 second, a timeout counts as a failure
    async with embedded_stack() as stack:
        stack.platform.faults["litellm"] = Fault(hang=True, path="/utils/token_counter")
        for is_open in (False, False, False, True):
            given = {"i": asked(stack, "tokens=99 delay=0.05"), "k": str(uuid.uuid4())}
            async with aclosing(events(stack, "websocket", COMPLETION, given)) as read:
                stream_id = (await anext(read))["stream"]["id"]
                assert (await anext(read))["__typename"] == "TextDelta"
                before = time.monotonic()
                await stack.graphql(CANCEL, {"id": stream_id})
                ended = [event async for event in read][-1]
            assert (ended["outcome"], ended["usage"]) == ("CANCELLED", None)
            assert (time.monotonic() - before < 1.4) is is_open
            assert (await completed(stack, asked(stack)))["text"], "only the token counter's breaker opens"
