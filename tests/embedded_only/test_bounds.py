"""Every bound on inputs: a value at the bound is accepted, and a value above the bound is refused."""

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
from app.bounds import page
from app.graphql import subprotocol
from app.signin.token import MAX_TOKEN_CHARS
from resolvers import checks, completing, completion_input, paging, passages, public_urls, usage
from resolvers.message_parts import MAX_TEXT
from schema.node import MAX_NODES
from tests.support.settings import settings_of
from tests.support.stack import ADA, GRACE, Stack, embedded_stack, opened_socket

ROOT = Path(__file__).parents[2]
in_one_loop = pytest.mark.asyncio(loop_scope="module")
DEFAULTS = settings_of()


def test_docs_limits_lists_every_bound() -> None:
    written = (ROOT / "docs" / "limits.md").read_text()
    assert written == page.rewritten(written), "make generated"


def test_every_bound_has_a_test() -> None:
    sources = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tested = {key for source in sources for key in re.findall(r"\bbound(?:ed)?\(\s*\"([\w-]+)\"", source)}
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
    """Return the code and reason of each error of an answer."""
    answer = await stack.client.post("/graphql", json={"query": query, "variables": variables}, headers=stack.headers())
    errors = answer.json().get("errors", [])
    return {(error["extensions"]["code"], error["extensions"].get("reason")) for error in errors}


def mutation(name: str) -> str:
    """Return the document of a mutation with one input."""
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
    return devtokens.make_token(devtokens.signing_key(), user_id=ADA, email=email)


def deep(levels: int) -> str:
    """Return a document with this many levels of fields."""
    names = [*("viewer", "agents(first: 1)", "nodes"), *("defaultConversation", "agent") * levels][: levels - 1]
    return f"{{ {' { '.join(names)} {{ id {'} ' * len(names)} }}"


Variables = Callable[[str, int], dict[str, Any]]
CREATE, UPDATE, EMBED = mutation("createAgent"), mutation("updateAgent"), mutation("embed")
CONVERSE, INSERT = mutation("createConversation"), mutation("insertPassage")


def bound(name: str, query: str, variables: Variables, most: int, reason: str) -> Any:
    """Return a case: variables by agent and size, the greatest size, and the reason of the refusal above it."""
    return pytest.param(query, variables, most, reason, marks=pytest.mark.bound(name), id=name)


def message(agent: str, length: int) -> dict[str, Any]:
    return {"i": {"to": {"agentId": agent}, "content": [{"text": "a" * length}], "idempotencyKey": key()}}


def messages(count: int) -> dict[str, Any]:
    return completion(messages=[{"role": "USER", "content": "a"}] * count)


def image(length: int) -> dict[str, Any]:
    parts = [{"image": {"url": "https://example.com/".ljust(length, "a")}}, {"text": "hi"}]
    return completion(messages=[{"role": "USER", "parts": parts}])


def embedding(inputs: list[str], **more: int) -> dict[str, Any]:
    return {"i": {"model": "text-embedding-3-small", "inputs": inputs, **more}}


def days(count: int) -> dict[str, str]:
    return {"f": "2026-01-01", "t": str(datetime.date(2026, 1, 1) + datetime.timedelta(days=count - 1))}


def of_agent(agent: str, **more: Any) -> dict[str, Any]:
    return {"i": {"agentId": agent, **more}}


INPUTS_AND_REASONS = [
    bound("message", SEND, message, MAX_TEXT, "TOO_LONG"),
    bound("completion-messages", COMPLETE, lambda _, n: messages(n), completion_input.MAX_MESSAGES, "RANGE"),
    bound("completion-tools", COMPLETE, lambda _, n: completion(tools=tools(n)), completion_input.MAX_TOOLS, "TOOLS"),
    bound("completion-stops", COMPLETE, lambda _, n: completion(stop=["a"] * n), completion_input.MAX_STOPS, "STOP"),
    bound("embed-inputs", EMBED, lambda _, n: embedding(["a"] * n), completing.MAX_INPUTS, "RANGE"),
    bound("embed-text", EMBED, lambda _, n: embedding(["a" * (n - 1), "a"]), completing.MAX_INPUT, "TOO_LONG"),
    bound("embed-dimensions", EMBED, lambda _, n: embedding(["a"], dimensions=n), completing.MAX_DIMENSIONS, "RANGE"),
    bound("image-address", COMPLETE, lambda _, n: image(n), public_urls.MAX_URL, "IMAGE"),
    bound("key", COMPLETE, lambda _, n: completion(idempotencyKey=key().ljust(n, "a")), checks.MAX_KEY, "KEY"),
    bound("agent-name", UPDATE, lambda agent, n: of_agent(agent, name="a" * n), checks.MAX_NAME, "NAME"),
    bound("description", UPDATE, lambda agent, n: of_agent(agent, description="a" * n), checks.MAX_DESCRIPTION, "TEXT"),
    bound("tags", UPDATE, lambda agent, n: of_agent(agent, tags=list(map(str, range(n)))), checks.MAX_TAGS, "TAG"),
    bound("tag", UPDATE, lambda agent, n: of_agent(agent, tags=["a" * n]), checks.MAX_TAG, "TAG"),
    bound("summary", CONVERSE, lambda agent, n: of_agent(agent, summary="a" * n), checks.MAX_SUMMARY, "TEXT"),
    bound("passage", INSERT, lambda agent, n: of_agent(agent, text="a" * n), passages.MAX_TEXT, "TOO_LONG"),
    bound("memory-query", MEMORY, lambda agent, n: {"a": agent, "q": "a" * n}, passages.MAX_QUERY, "TOO_LONG"),
    bound("search", SEARCH, lambda _, n: {"s": "a" * n}, checks.MAX_SEARCH, "TEXT"),
    bound("agent-file", VALIDATE, lambda _, n: {"s": "a" * n}, checks.MAX_SOURCE_BYTES, "TOO_LONG"),
    bound("variables", CREATE, lambda _, n: new_agent({"a": "b" * (n - 8)}), checks.MAX_VARIABLES_BYTES, "TOO_LONG"),
    bound("variables-depth", CREATE, lambda _, n: new_agent(nested(n)), checks.MAX_NESTING, "VARIABLES"),
    bound("page", AGENTS, lambda _, n: {"n": n}, paging.MAX_PAGE, "PAGING"),
    bound("nodes", NODES, lambda _, n: {"i": ["template:support-bot"] * n}, MAX_NODES, "TOO_MANY"),
    bound("usage-days", USAGE, lambda _, n: days(n), usage.MAX_DAYS, "RANGE"),
]


@in_one_loop
@pytest.mark.timeout(30)
@pytest.mark.parametrize(("query", "variables", "most", "reason"), INPUTS_AND_REASONS)
async def test_an_input_is_accepted_at_its_bound_and_refused_above_it(
    limited: Stack, agent: str, query: str, variables: Variables, most: int, reason: str
) -> None:
    assert await reasons(limited, query, variables(agent, most)) == set()
    assert await reasons(limited, query, variables(agent, most + 1)) == {("BAD_USER_INPUT", reason)}


async def posted(stack: Stack, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = stack.headers() | {"content-type": "application/json"} | headers
    answer = await stack.client.post("/graphql", content=body, headers=sent)
    return answer.status_code, answer.json()


@in_one_loop
@pytest.mark.bound("body")
async def test_a_body_is_accepted_at_its_bound_and_refused_above_it(limited: Stack) -> None:
    query = b'{"query": "{ viewer { id } }"}'
    most = DEFAULTS.max_body_bytes
    assert (await posted(limited, query.ljust(most)))[0] == 200
    status, answer = await posted(limited, query.ljust(most + 1))
    assert (status, answer["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


@in_one_loop
@pytest.mark.bound("tokens")
async def test_a_document_with_more_tokens_than_the_bound_is_refused(limited: Stack) -> None:
    ids = '"template:support-bot" ' * (DEFAULTS.max_query_tokens - len(TOKENS_AROUND))
    too_many = {("BAD_USER_INPUT", "TOO_MANY")}  # the reason of the bound on ids, which is checked later
    assert await reasons(limited, f"{{ nodes(ids: [{ids}]) {{ id }} }}", {}) == too_many
    assert await reasons(limited, f'{{ nodes(ids: [{ids} "a"]) {{ id }} }}', {}) == {("QUERY_TOO_COMPLEX", "SIZE")}


@in_one_loop
@pytest.mark.bound("depth")
async def test_a_document_deeper_than_the_bound_is_refused(limited: Stack) -> None:
    assert await reasons(limited, deep(DEFAULTS.max_query_depth), {}) == set()
    assert await reasons(limited, deep(DEFAULTS.max_query_depth + 1), {}) == {("QUERY_TOO_COMPLEX", "DEPTH")}


@in_one_loop
@pytest.mark.bound("token")
async def test_a_bearer_token_longer_than_the_bound_is_refused(limited: Stack) -> None:
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
async def test_an_operation_id_longer_than_the_bound_is_refused(limited: Stack) -> None:
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
async def test_a_user_cannot_run_more_streams_than_the_bound() -> None:
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
    cancel = "mutation($i: ID!) { cancelStream(input: {streamId: $i}) { stream { status } } }"
    waits = [{"role": "USER", "content": "hi [[tokens=5000 delay=0.1]]"}]
    async with embedded_stack(max_streams_per_user=3) as stack:
        for _ in range(3):
            begun = await stack.graphql(start, completion(messages=waits))
            stream_id = begun["data"]["startCompletion"]["stream"]["id"]
        assert await reasons(stack, start, completion(messages=waits)) == {("RATE_LIMITED", "STREAMS")}
        answer = await stack.graphql("{ viewer { id } }", user=GRACE)
        assert "errors" not in answer
        started = await stack.graphql(start, completion(), user=GRACE)
        assert started["data"]["startCompletion"]["stream"]["id"]
        await stack.graphql(cancel, {"i": stream_id})
        assert await reasons(stack, start, completion(messages=waits)) == set()
