"""Rate limits: counted at every door, by user and kind; a refused request makes no upstream calls."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import openai
import pytest

from app.rest.table import TABLE, Row
from clients.origin import Origin
from tests.support import things
from tests.support.documents import COMPLETION, MESSAGE
from tests.support.doors import DOORS, Refused, events, refusal
from tests.support.openai import sdk_client
from tests.support.stack import ADA, GRACE, Stack, any_stack, opened_socket
from tests.support.streaming import completion, expected, text_of

EMAIL = "{ viewer { email } }"
LIMITS = "{ viewer { rateLimits { kind limit windowSeconds remaining resetsAt } } }"
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } errors { message } } }"
SEND = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { stream { id } errors { message } } }"
COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { text errors { message } } }"
EMBED = "mutation($i: EmbedInput!) { embed(input: $i) { embeddings { index } errors { message } } }"
DECIDE = 'mutation { respondToApproval(input: {requestId: "message:x" decision: DENY}) { errors { message } } }'
FIELDS = ["limit", "remaining", "reset", "resource"]


@pytest.fixture(autouse=True, params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
def _state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count in memory, and in Redis."""
    if request.param == "redis":
        monkeypatch.setenv("REDIS_URL", request.getfixturevalue("redis_url"))


async def ask(stack: Stack, query: str = EMAIL, *, user: str = ADA, **variables: Any) -> httpx.Response:
    body = {"query": query, "variables": variables}
    return await stack.client.post("/graphql", json=body, headers=stack.headers(user))


def told(answer: httpx.Response) -> dict[str, str]:
    """Return a limit's values in the answer's headers."""
    given = {name: answer.headers.get(f"x-ratelimit-{name}") for name in FIELDS}
    return {name: value for name, value in given.items() if value is not None}


def is_refused(errors: list[dict[str, Any]], kind: str) -> int:
    """Assert that errors are the refusal of one limit. Return the seconds to wait."""
    [error] = errors
    extensions = error["extensions"]
    assert (extensions["code"], extensions["reason"]) == ("RATE_LIMITED", f"RATE_LIMIT_{kind}")
    assert extensions["retryable"] is True
    seconds = extensions["retryAfterSeconds"]
    assert 1 <= seconds <= 120
    return int(seconds)


def spoken(stack: Stack, **more: Any) -> dict[str, Any]:
    """Return an OpenAI request with a short answer."""
    return {"model": stack.chat_model, "messages": [{"role": "user", "content": "hi [[tokens=2 delay=0]]"}], **more}


async def refusals(stack: Stack, limit: str) -> float:
    """Return how many requests a limit has refused, from the metrics."""
    text = (await stack.client.get("/metrics")).text
    found = re.search(rf'^agentgraph_rate_limited_total{{limit="{limit}"}} (\S+)$', text, re.MULTILINE)
    assert found
    return float(found[1])


async def test_http_answers_have_the_remaining_requests_and_429_past_the_limit() -> None:
    async with any_stack(rate_limit_general=3) as stack:
        answers = [await ask(stack), await ask(stack, "{ nope }"), await ask(stack, "{")]
        assert [(told(one)["limit"], told(one)["remaining"], told(one)["resource"]) for one in answers] == [
            ("3", "2", "general"),
            ("3", "1", "general"),
            ("3", "0", "general"),
        ]
        calls = len(stack.calls("ams"))
        refused = await ask(stack)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) == min(59, is_refused(refused.json()["errors"], "GENERAL"))
        assert (told(refused)["remaining"], told(refused)["resource"]) == ("0", "general")
        assert int(told(refused)["reset"]) >= 1
        query = {"query": "{ viewer { name } }"}
        assert (await stack.client.get("/graphql", params=query, headers=stack.headers())).status_code == 429
        assert len(stack.calls("ams")) == calls
        assert await refusals(stack, "general") == 2
        assert (await ask(stack, user=GRACE)).status_code == 200


async def test_concurrent_requests_past_the_limit_are_refused() -> None:
    async with any_stack(rate_limit_general=5) as stack:
        answers = await asyncio.gather(*(ask(stack) for _ in range(20)))
        assert sorted(one.status_code for one in answers) == [200] * 5 + [429] * 15


async def test_a_socket_stays_open_when_an_operation_is_refused() -> None:
    async with any_stack(rate_limit_general=2) as stack, opened_socket(stack) as socket:
        for _ in range(2):
            assert [answer async for answer in socket.events(EMAIL)] == [{"email": "ada@example.com"}]
        refused = await socket.subscribe(EMAIL)
        message = await socket.hear()
        assert (message["id"], message["type"]) == (refused, "error")
        is_refused(message["payload"], "GENERAL")
        await socket.tell(type="ping")
        assert await socket.hear() == {"type": "pong"}
        assert (await ask(stack)).status_code == 429


@pytest.mark.parametrize("door", DOORS)
async def test_a_subscription_counts_once(door: str) -> None:
    async with any_stack(rate_limit_general=2) as stack:
        for key in ("one", "two"):
            asked = {"i": completion(stack, "tokens=5 delay=0"), "k": key}
            assert text_of([event async for event in events(stack, door, COMPLETION, asked)]) == expected(5)
        with pytest.raises(Refused) as refused:
            await anext(events(stack, door, COMPLETION, asked))
        assert refused.value.extensions["reason"] == "RATE_LIMIT_GENERAL"
        assert refused.value.status in {200, None}


@pytest.mark.parametrize("door", DOORS)
async def test_attaching_does_not_count_and_starting_does(door: str) -> None:
    async with any_stack(rate_limit_llm=1) as stack:
        asked = {"i": completion(stack, "tokens=5 delay=0"), "k": "one"}
        for _ in range(3):
            assert text_of([event async for event in events(stack, door, COMPLETION, asked)]) == expected(5)
        before = await stack.model_stats()
        calls = len(stack.calls("ams"))
        with pytest.raises(Refused) as refused:
            await anext(events(stack, door, COMPLETION, asked | {"k": "two"}))
        is_refused([{"extensions": refused.value.extensions}], "LLM")
        assert refused.value.status in {200, None}
        assert (await stack.model_stats())["total"] == before["total"]
        assert len(stack.calls("ams")) == calls
        assert await refusals(stack, "llm") == 1


async def test_a_refused_event_stream_has_retry_after() -> None:
    async with any_stack(rate_limit_llm=1) as stack:
        headers = stack.headers() | {"accept": "text/event-stream"}
        answers = []
        for key in ("one", "two"):
            asked = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=1 delay=0"), "k": key}}
            answers.append(await stack.client.post("/graphql", json=asked, headers=headers))
        assert [one.status_code for one in answers] == [200, 200]
        assert "retry-after" not in answers[0].headers
        assert int(answers[1].headers["retry-after"]) == min(59, is_refused(refusal(answers[1])["errors"], "LLM"))


async def test_retry_after_is_below_a_minute_and_the_body_has_the_whole_wait() -> None:
    async with any_stack(rate_limit_llm=1) as stack:
        first = await stack.client.post("/v1/chat/completions", json=spoken(stack), headers=stack.headers())
        assert first.status_code == 200
        refused = await stack.client.post("/v1/chat/completions", json=spoken(stack), headers=stack.headers())
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "59")
        assert 60 < refused.json()["error"]["retry_after_seconds"] <= 120
        headers = stack.headers() | {"accept": "text/event-stream"}
        asked = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=1 delay=0"), "k": "one"}}
        stream = await stack.client.post("/graphql", json=asked, headers=headers)
        assert stream.headers["retry-after"] == "59"
        assert '"retryAfterSeconds":' in stream.text


async def test_two_subscriptions_at_once_under_a_key_start_one_stream() -> None:
    async with any_stack(rate_limit_llm=10) as stack:
        asked = {"i": completion(stack, "tokens=5 delay=0"), "k": "one"}

        async def read() -> str:
            return text_of([event async for event in events(stack, "event stream", COMPLETION, asked)])

        assert await asyncio.gather(*(read() for _ in range(5))) == [expected(5)] * 5
        assert (await standings(stack))["LLM"]["remaining"] == 9


async def test_a_restarted_completion_counts_again() -> None:
    async with any_stack(rate_limit_llm=2) as stack:
        for left, directive in ((1, "tokens=5 error=cut"), (0, "tokens=5 error=cut")):
            broken = completion(stack, directive) | {"idempotencyKey": "broken"}
            answer = (await ask(stack, COMPLETE, i=broken)).json()
            assert answer["errors"][0]["extensions"]["code"] == "UPSTREAM_ERROR"
            assert (await standings(stack))["LLM"]["remaining"] == left
        is_refused((await ask(stack, COMPLETE, i=broken)).json()["errors"], "LLM")


async def test_each_operation_that_calls_a_model_counts() -> None:
    async with any_stack(rate_limit_llm=1) as stack:
        agent = await stack.make_agent()
        message = {"to": {"agentId": agent}, "content": [{"text": "hi"}]}
        first = await ask(stack, START, i=completion(stack, "tokens=1") | {"idempotencyKey": "one"})
        assert first.json()["data"]["startCompletion"]["errors"] == []
        ways: list[tuple[str, dict[str, Any]]] = [
            (START, {"i": completion(stack, "tokens=1") | {"idempotencyKey": "two"}}),
            (COMPLETE, {"i": completion(stack, "tokens=1") | {"idempotencyKey": "two"}}),
            (EMBED, {"i": {"model": "text-embedding-3-small", "inputs": ["hi"]}}),
            (SEND, {"i": message | {"idempotencyKey": "three"}}),
            (DECIDE, {}),
        ]
        calls = len(stack.platform.state.calls)
        for query, variables in ways:
            answer = (await ask(stack, query, **variables)).json()
            assert answer["data"] is None
            is_refused(answer["errors"], "LLM")
        for query, key in ((MESSAGE, "four"), (COMPLETION, "five")):
            asked = {"i": message if query == MESSAGE else completion(stack, "tokens=1"), "k": key}
            with pytest.raises(Refused, match="RATE_LIMIT_LLM"):
                await anext(events(stack, "websocket", query, asked))
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            answer = await stack.client.post(path, json=spoken(stack), headers=stack.headers())
            assert answer.status_code == 429
        assert len(stack.platform.state.calls) == calls
        assert (await stack.client.get("/v1/models", headers=stack.headers())).status_code == 200


async def test_an_openai_sdk_gets_rate_limit_errors_and_headers() -> None:
    async with (
        any_stack(rate_limit_llm=2) as stack,
        sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as sdk,
    ):
        whole = await sdk.chat.completions.with_raw_response.create(**spoken(stack))
        assert (whole.headers["x-ratelimit-remaining"], whole.headers["x-ratelimit-resource"]) == ("1", "llm")
        assert whole.parse().choices
        stream = await sdk.chat.completions.with_raw_response.create(**spoken(stack, stream=True))
        assert stream.headers["x-ratelimit-remaining"] == "0"
        assert [chunk async for chunk in stream.parse()]
        for streamed in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                await sdk.chat.completions.create(**spoken(stack, stream=streamed))
            error = refused.value
            assert (error.code, error.type) == ("rate_limit_exceeded", "rate_limit_error")
            assert int(error.response.headers["retry-after"]) >= 1
            assert "x-should-retry" not in error.response.headers
        models = await sdk.models.with_raw_response.list()
        assert models.headers["x-ratelimit-resource"] == "general"


async def test_an_openai_sdk_waits_for_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with (
        any_stack(rate_limit_llm=1) as stack,
        sdk_client(f"{stack.url}/v1", stack.token(), max_retries=1) as sdk,
    ):
        await sdk.chat.completions.create(**spoken(stack))
        monkeypatch.setattr("anyio.sleep", sleep)
        with pytest.raises(openai.RateLimitError) as refused:
            await sdk.chat.completions.create(**spoken(stack))
    [seconds] = waited
    assert 0 <= seconds - int(refused.value.response.headers["retry-after"]) <= 1


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.path}")
async def test_each_route_of_v1_and_the_proxy_counts(row: Row) -> None:
    async with any_stack(rate_limit_general=1, rate_limit_proxy=1) as stack:
        of_user = row.origin is Origin.USER
        path = row.path.format(user_id=ADA, model=stack.chat_model, response_id="resp_1")
        headers = stack.headers() if of_user else {"authorization": f"Bearer {stack.agent_secret()}"}
        first = await stack.client.request(row.method, path, headers=headers)
        assert first.status_code == 404 if "{response_id}" in row.path else first.status_code in {200, 400}
        second = await stack.client.request(row.method, path, headers=headers)
        assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert told(second)["resource"] == ("general" if of_user else "proxy")


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing", "/v1/chat/completions/"])
async def test_unknown_addresses_count(path: str) -> None:
    async with any_stack(rate_limit_general=1) as stack:
        missing = await stack.client.post(path, headers=stack.headers())
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "route")
        assert (await stack.client.post(path, headers=stack.headers())).status_code == 429


async def test_calls_of_agents_have_their_own_limit() -> None:
    async with any_stack(rate_limit_general=1, rate_limit_llm=1, rate_limit_proxy=2) as stack:
        used = await stack.client.post("/v1/chat/completions", json=spoken(stack), headers=stack.headers())
        assert used.status_code == 200
        headers = {"authorization": f"Bearer {stack.agent_secret()}"}
        answers = [
            await stack.client.post(f"{stack.proxy()}/chat/completions", json=spoken(stack), headers=headers)
            for _ in range(2)
        ]
        assert [(one.status_code, told(one)["remaining"]) for one in answers] == [(200, "1"), (200, "0")]
        calls = len(stack.platform.state.calls)
        refused = await stack.client.post(f"{stack.proxy()}/chat/completions", json=spoken(stack), headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        assert len(stack.platform.state.calls) == calls
        hers = {"authorization": f"Bearer {stack.agent_secret(GRACE)}"}
        of_grace = await stack.client.post(f"{stack.proxy(GRACE)}/chat/completions", json=spoken(stack), headers=hers)
        assert of_grace.status_code == 200
        assert await refusals(stack, "proxy") == 1


async def test_the_model_calls_of_a_turn_do_not_count_as_starts() -> None:
    async with any_stack(rate_limit_llm=1) as stack, stack.circle():
        agent = await stack.make_agent()
        await things.sent(stack, "tokens=3", agent_id=agent)
        assert (await standings(stack))["LLM"]["remaining"] == 0
        assert (await standings(stack))["PROXY"]["remaining"] < 3000


async def test_introspection_without_a_token_counts_for_no_user() -> None:
    async with any_stack(rate_limit_general=1) as stack:
        for _ in range(3):
            answer = await stack.client.post("/graphql", json={"query": "{ __typename }"})
            assert (answer.status_code, told(answer)) == (200, {})
        assert (await stack.client.post("/graphql", json={"query": EMAIL})).status_code == 401
        assert (await ask(stack, "{ __typename }")).status_code == 200
        assert (await ask(stack, "{ __typename }")).status_code == 429


async def standings(stack: Stack, user: str = ADA) -> dict[str, dict[str, Any]]:
    answer = await stack.graphql(LIMITS, user=user)
    return {limit["kind"]: limit for limit in answer["data"]["viewer"]["rateLimits"]}


async def test_the_viewers_limits_can_be_queried() -> None:
    async with any_stack(rate_limit_general=5, rate_limit_llm=0) as stack:
        for left in (4, 3):
            mine = await standings(stack)
            assert {kind: (one["limit"], one["remaining"]) for kind, one in mine.items()} == {
                "GENERAL": (5, left),
                "PROXY": (3000, 3000),
            }
        assert mine["GENERAL"]["windowSeconds"] == 60
        assert mine["GENERAL"]["resetsAt"] is not None
        assert mine["PROXY"]["resetsAt"] is None
        assert (await standings(stack, GRACE))["GENERAL"]["remaining"] == 4
        hers = await stack.graphql(f'{{ node(id: "user:{GRACE}") {{ ... on User {{ rateLimits {{ kind }} }} }} }}')
        assert hers["data"]["node"] is None


async def test_a_page_can_read_the_rate_limit_headers(stack: Stack) -> None:
    headers = stack.headers() | {"origin": "http://localhost:5173"}
    answer = await stack.client.post("/graphql", json={"query": EMAIL}, headers=headers)
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {f"x-ratelimit-{name}" for name in FIELDS} <= exposed
    assert {f"x-ratelimit-{name}" for name in FIELDS} <= set(answer.headers)
