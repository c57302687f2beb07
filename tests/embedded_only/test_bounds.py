"""Every bound on what a caller gives, at the bound and one past it."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from app import devtokens
from app.auth import MAX_TOKEN_CHARS
from app.bounds import page
from app.graphql import subprotocol
from resolvers import checks, completing, completion_input, paging, passages, public_urls, usage
from resolvers.streams.limits import StreamLimits
from schema.inputs import MAX_TEXT
from schema.node import MAX_NODES
from tests.support.settings import settings_of
from tests.support.stack import ADA, GRACE, Stack, embedded_stack, opened_socket

ROOT = Path(__file__).parents[2]
bound = pytest.mark.bound
in_one_loop = pytest.mark.asyncio(loop_scope="module")
DEFAULTS = settings_of()


def test_the_page_of_limits_shows_every_bound() -> None:
    written = (ROOT / "docs" / "limits.md").read_text()
    assert written == page.rewritten(written), "make generated"


def test_every_bound_has_a_test_and_no_test_has_another() -> None:
    sources = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tested = {key for source in sources for key in re.findall(r"\bbound\(\s*\"([\w-]+)\"", source)}
    assert tested == set(page.keys())
    assert len(list(page.keys())) == len(tested), "two bounds have one key"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limited() -> AsyncIterator[Stack]:
    async with embedded_stack(rate_limit_general=0, rate_limit_llm=0) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(limited: Stack) -> str:
    return await limited.make_agent()


async def reasons(stack: Stack, query: str, variables: dict[str, Any]) -> set[tuple[str, str | None]]:
    """The code and reason of each error of an answer."""
    answer = await stack.client.post("/graphql", json={"query": query, "variables": variables}, headers=stack.headers())
    errors = answer.json().get("errors", [])
    return {(error["extensions"]["code"], error["extensions"].get("reason")) for error in errors}


def mutation(name: str) -> str:
    """The document of a mutation that takes one input."""
    kind = f"{name[0].upper()}{name[1:]}Input"
    return f"mutation($i: {kind}!) {{ {name}(input: $i) {{ __typename }} }}"


def completion(**more: Any) -> dict[str, Any]:
    messages = [{"role": "USER", "content": "hi [[tokens=1]]"}]
    return {"i": {"model": "gpt-4o-mini", "messages": messages, "idempotencyKey": key(), **more}}


def key() -> str:
    return str(uuid.uuid4())


def tools(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"tool_{index}"}} for index in range(count)]


def new_agent(variables: dict[str, Any]) -> dict[str, Any]:
    return {"i": {"templateId": "template:support-bot", "variables": variables, "idempotencyKey": key()}}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { __typename } }"
SEND = mutation("sendMessage")
TOKENS_AROUND = ["{", "nodes", "(", "ids", ":", "[", "]", ")", "{", "id", "}", "}"]
NODES = "query($i: [ID!]!) { nodes(ids: $i) { id } }"
USAGE = "query($f: Date!, $t: Date!) { viewer { usage(from: $f, to: $t) { __typename } } }"
AGENTS = "query($n: Int) { viewer { agents(first: $n) { nodes { id } } } }"
SEARCH = "query($s: String) { viewer { agents(filter: {search: $s}) { nodes { id } } } }"
VALIDATE = "query($s: String!) { templateValidation(source: $s) { valid } }"
MEMORY = "query($a: ID!, $q: String!) { agent(id: $a) { searchMemory(query: $q) { __typename } } }"


def signed(email: str) -> str:
    return devtokens.make_token(devtokens.dev_secret(), user_id=ADA, email=email)


def deep(levels: int) -> str:
    """A document with so many levels of fields."""
    names = [*("viewer", "agents(first: 1)", "nodes"), *("defaultConversation", "agent") * levels][: levels - 1]
    return f"{{ {' { '.join(names)} {{ id {'} ' * len(names)} }}"


Given = Callable[[str, int], dict[str, Any]]
INPUTS: list[Any] = [
    pytest.param(
        SEND,
        lambda agent, n: {"i": {"to": {"agentId": agent}, "content": [{"text": "a" * n}], "idempotencyKey": key()}},
        (MAX_TEXT, ("BAD_USER_INPUT", "TOO_LONG")),
        marks=bound("message"),
    ),
    pytest.param(
        COMPLETE,
        lambda _, n: completion(messages=[{"role": "USER", "content": "a"}] * n),
        (completion_input.MAX_MESSAGES, ("BAD_USER_INPUT", "RANGE")),
        marks=bound("completion-messages"),
    ),
    pytest.param(
        COMPLETE,
        lambda _, n: completion(tools=tools(n)),
        (completion_input.MAX_TOOLS, ("BAD_USER_INPUT", "TOOLS")),
        marks=bound("completion-tools"),
    ),
    pytest.param(
        COMPLETE,
        lambda _, n: completion(stop=["a"] * n),
        (completion_input.MAX_STOPS, ("BAD_USER_INPUT", "STOP")),
        marks=bound("completion-stops"),
    ),
    pytest.param(
        mutation("embed"),
        lambda _, n: {"i": {"model": "text-embedding-3-small", "inputs": ["a"] * n}},
        (completing.MAX_INPUTS, ("BAD_USER_INPUT", "RANGE")),
        marks=bound("embed-inputs"),
    ),
    pytest.param(
        mutation("embed"),
        lambda _, n: {"i": {"model": "text-embedding-3-small", "inputs": ["a" * (n - 1), "a"]}},
        (completing.MAX_INPUT, ("BAD_USER_INPUT", "TOO_LONG")),
        marks=bound("embed-text"),
    ),
    pytest.param(
        mutation("embed"),
        lambda _, n: {"i": {"model": "text-embedding-3-small", "inputs": ["a"], "dimensions": n}},
        (completing.MAX_DIMENSIONS, ("BAD_USER_INPUT", "RANGE")),
        marks=bound("embed-dimensions"),
    ),
    pytest.param(
        COMPLETE,
        lambda _, n: completion(
            messages=[
                {"role": "USER", "parts": [{"image": {"url": "https://example.com/".ljust(n, "a")}}, {"text": "hi"}]}
            ]
        ),
        (public_urls.MAX_URL, ("BAD_USER_INPUT", "IMAGE")),
        marks=bound("image-address"),
    ),
    pytest.param(
        COMPLETE,
        lambda _, n: completion(idempotencyKey=key().ljust(n, "a")),
        (checks.MAX_KEY, ("BAD_USER_INPUT", "KEY")),
        marks=bound("key"),
    ),
    pytest.param(
        mutation("updateAgent"),
        lambda agent, n: {"i": {"agentId": agent, "name": "a" * n}},
        (checks.MAX_NAME, ("BAD_USER_INPUT", "NAME")),
        marks=bound("agent-name"),
    ),
    pytest.param(
        mutation("updateAgent"),
        lambda agent, n: {"i": {"agentId": agent, "description": "a" * n}},
        (checks.MAX_DESCRIPTION, ("BAD_USER_INPUT", "TEXT")),
        marks=bound("description"),
    ),
    pytest.param(
        mutation("updateAgent"),
        lambda agent, n: {"i": {"agentId": agent, "tags": [str(index) for index in range(n)]}},
        (checks.MAX_TAGS, ("BAD_USER_INPUT", "TAG")),
        marks=bound("tags"),
    ),
    pytest.param(
        mutation("updateAgent"),
        lambda agent, n: {"i": {"agentId": agent, "tags": ["a" * n]}},
        (checks.MAX_TAG, ("BAD_USER_INPUT", "TAG")),
        marks=bound("tag"),
    ),
    pytest.param(
        mutation("createConversation"),
        lambda agent, n: {"i": {"agentId": agent, "summary": "a" * n}},
        (checks.MAX_SUMMARY, ("BAD_USER_INPUT", "TEXT")),
        marks=bound("summary"),
    ),
    pytest.param(
        mutation("insertPassage"),
        lambda agent, n: {"i": {"agentId": agent, "text": "a" * n}},
        (passages.MAX_TEXT, ("BAD_USER_INPUT", "TOO_LONG")),
        marks=bound("passage"),
    ),
    pytest.param(
        MEMORY,
        lambda agent, n: {"a": agent, "q": "a" * n},
        (passages.MAX_QUERY, ("BAD_USER_INPUT", "TOO_LONG")),
        marks=bound("memory-query"),
    ),
    pytest.param(
        SEARCH,
        lambda _, n: {"s": "a" * n},
        (checks.MAX_SEARCH, ("BAD_USER_INPUT", "TEXT")),
        marks=bound("search"),
    ),
    pytest.param(
        VALIDATE,
        lambda _, n: {"s": "a" * n},
        (checks.MAX_SOURCE_BYTES, ("BAD_USER_INPUT", "TOO_LONG")),
        marks=bound("agent-file"),
    ),
    pytest.param(
        mutation("createAgent"),
        lambda _, n: new_agent({"a": "b" * (n - len('{"a":""}'))}),
        (checks.MAX_VARIABLES_BYTES, ("BAD_USER_INPUT", "TOO_LONG")),
        marks=bound("variables"),
    ),
    pytest.param(
        mutation("createAgent"),
        lambda _, n: new_agent(nested(n)),
        (checks.MAX_NESTING, ("BAD_USER_INPUT", "VARIABLES")),
        marks=bound("variables-depth"),
    ),
    pytest.param(AGENTS, lambda _, n: {"n": n}, (paging.MAX_PAGE, ("BAD_USER_INPUT", "PAGING")), marks=bound("page")),
    pytest.param(
        NODES,
        lambda _, n: {"i": ["template:support-bot"] * n},
        (MAX_NODES, ("BAD_USER_INPUT", "TOO_MANY")),
        marks=bound("nodes"),
    ),
    pytest.param(
        USAGE,
        lambda _, n: {"f": "2026-01-01", "t": str(datetime.date(2026, 1, 1) + datetime.timedelta(days=n - 1))},
        (usage.MAX_DAYS, ("BAD_USER_INPUT", "RANGE")),
        marks=bound("usage-days"),
    ),
]


@in_one_loop
@pytest.mark.timeout(30)
@pytest.mark.parametrize(("query", "given", "limit"), INPUTS)
async def test_an_input_is_taken_at_its_bound_and_refused_past_it(
    limited: Stack, agent: str, query: str, given: Given, limit: tuple[int, tuple[str, str]]
) -> None:
    most, refusal = limit
    assert await reasons(limited, query, given(agent, most)) == set()
    assert await reasons(limited, query, given(agent, most + 1)) == {refusal}


async def posted(stack: Stack, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = stack.headers() | {"content-type": "application/json"} | headers
    answer = await stack.client.post("/graphql", content=body, headers=sent)
    return answer.status_code, answer.json()


@in_one_loop
@pytest.mark.bound("body")
async def test_a_body_is_read_at_its_bound_and_refused_past_it(limited: Stack) -> None:
    query = b'{"query": "{ viewer { id } }"}'
    most = DEFAULTS.max_body_bytes
    assert (await posted(limited, query.ljust(most)))[0] == 200
    status, answer = await posted(limited, query.ljust(most + 1))
    assert (status, answer["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


@in_one_loop
@pytest.mark.bound("tokens")
async def test_a_document_is_parsed_at_its_bound_of_tokens_and_refused_past_it(limited: Stack) -> None:
    ids = '"template:support-bot" ' * (DEFAULTS.max_query_tokens - len(TOKENS_AROUND))
    too_many = {("BAD_USER_INPUT", "TOO_MANY")}  # of another bound, which is checked later
    assert await reasons(limited, f"{{ nodes(ids: [{ids}]) {{ id }} }}", {}) == too_many
    assert await reasons(limited, f'{{ nodes(ids: [{ids} "a"]) {{ id }} }}', {}) == {("QUERY_TOO_COMPLEX", "SIZE")}


@in_one_loop
@pytest.mark.bound("depth")
async def test_a_document_is_executed_at_its_bound_of_levels_and_refused_past_it(limited: Stack) -> None:
    assert await reasons(limited, deep(DEFAULTS.max_query_depth), {}) == set()
    assert await reasons(limited, deep(DEFAULTS.max_query_depth + 1), {}) == {("QUERY_TOO_COMPLEX", "DEPTH")}


@in_one_loop
@pytest.mark.bound("token")
async def test_a_bearer_token_is_read_at_its_bound_and_refused_past_it(limited: Stack) -> None:
    about = (MAX_TOKEN_CHARS - len(signed(""))) * 3 // 4
    tokens = [signed("a" * length) for length in range(about - 8, about + 8)]
    at = max((token for token in tokens if len(token) <= MAX_TOKEN_CHARS), key=len)
    past = min((token for token in tokens if len(token) > MAX_TOKEN_CHARS), key=len)
    assert len(past) - len(at) < 5, "base64 skips every fourth length"
    query = b'{"query": "{ viewer { id } }"}'
    assert (await posted(limited, query, authorization=f"Bearer {at}"))[0] == 200
    status, answer = await posted(limited, query, authorization=f"Bearer {past}")
    assert (status, answer["errors"][0]["extensions"]["reason"]) == (401, "TOKEN_INVALID")


@in_one_loop
@pytest.mark.bound("socket-id")
async def test_an_operation_id_is_taken_at_its_bound_and_refused_past_it(limited: Stack) -> None:
    payload = {"query": "{ __typename }"}
    async with opened_socket(limited) as socket:
        await socket.tell(id="a" * subprotocol.MAX_ID_CHARS, type="subscribe", payload=payload)
        assert (await socket.hear())["type"] == "next"
        assert (await socket.hear())["type"] == "complete"
        await socket.tell(id="a" * (subprotocol.MAX_ID_CHARS + 1), type="subscribe", payload=payload)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


@pytest.mark.bound("streams")
async def test_a_user_runs_as_many_streams_as_the_bound_and_no_more(stack: Stack) -> None:
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
    waits = [{"role": "USER", "content": "hi [[tokens=5000 delay=0.1]]"}]
    for _ in range(StreamLimits().max_streams_per_user):
        assert await reasons(stack, start, completion(messages=waits)) == set()
    assert await reasons(stack, start, completion(messages=waits)) == {("RATE_LIMITED", "STREAMS")}
    answer = await stack.graphql("{ viewer { id } }", user=GRACE)
    assert "errors" not in answer
    started = await stack.client.post(
        "/graphql", json={"query": start, "variables": completion()}, headers=stack.headers(GRACE)
    )
    assert started.json()["data"]["startCompletion"]["stream"]["id"]
