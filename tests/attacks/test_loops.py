"""One user repeats one action: subscribe and stop, cancel, attach, ping, or query without reading the answers."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded.people import ADA, GRACE
from tests.support.attack import Target, attacked
from tests.support.doors import event_stream
from tests.support.rawhttp import raw
from tests.support.rawsocket import RawSocket, raw_socket, text

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

MIB = 2**20
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
CANCEL = "mutation($id: ID!) { cancelStream(input: {streamId: $id}) { stream { status } } }"
STREAM = "subscription($id: ID!, $after: String) { stream(id: $id, after: $after) { cursor __typename } }"
COMPLETION = "subscription($i: CompletionInput!, $k: ID!) { completion(input: $i, streamKey: $k) { cursor } }"
FOLLOW = "subscription($id: ID!) { conversation(id: $id) { __typename } }"
EVENTS = {"accept": "text/event-stream"}
SETTINGS = {"RATE_LIMIT_GENERAL": "0", "RATE_LIMIT_LLM": "0", "MAX_SOCKET_MESSAGES_PER_SECOND": "10000"}


def completion(say: str) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": say}]}


async def asked(client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    whole: dict[str, Any] = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
    return whole


async def started(client: httpx.AsyncClient, say: str) -> str:
    given = {**completion(say), "idempotencyKey": str(uuid.uuid4())}
    found: str = (await asked(client, START, i=given))["data"]["startCompletion"]["stream"]["id"]
    return found


async def heard(client: httpx.AsyncClient, stream_id: str, after: str | None = None) -> list[dict[str, Any]]:
    body = {"query": STREAM, "variables": {"id": stream_id, "after": after}}
    async with client.stream("POST", "/graphql", json=body, headers=EVENTS) as answer:
        return [event async for event in event_stream(answer)]


async def places_free(target: Target) -> None:
    """Wait until only the bystander holds slots."""
    async with asyncio.timeout(30):
        while sum(value for _, value in (await target.metrics())["agentgraph_slots_in_use"]) > 2:
            await asyncio.sleep(0.05)


SCHEMA = "__schema { types { fields { name type { name } } } }"


@pytest.mark.parametrize(
    "query",
    [
        f"subscription {{ {SCHEMA} }}",
        f"subscription($id: ID!) {{ stream(id: $id) {{ __typename }} {SCHEMA} }}",
        "subscription { __typename }",
    ],
)
async def test_a_subscription_to_the_schema_is_refused(target: Target, query: str) -> None:
    async with target.bystander(), target.client() as client, target.measured() as cost:
        for _ in range(50):
            body = {"query": query, "variables": {"id": "stream:1"}}
            answer = await client.post("/graphql", json=body, headers=EVENTS)
            assert '"errors"' in answer.text
            assert len(answer.content) < 2000
    assert cost.cpu_seconds < 1


async def test_entities_in_lists_and_in_depth_cost_little(target: Target) -> None:
    selection = "... on Agent { id conversations { nodes { id messages { nodes { id } } } } }"
    deep: Any = "user:1"
    for _ in range(200):
        deep = {"id": [deep]}
    async with target.client() as client:
        agent_id = await target.agent_id()
        agents = [{"__typename": "Agent", "id": agent_id}] * 100
        odd = [{"__typename": "Agent", "id": deep}] * 100
        nested: Any = [[{"__typename": "Agent", "id": agent_id}] * 10] * 10
        aliased = " ".join(f"a{number}: _entities(representations: $r) {{ {selection} }}" for number in range(15))
        once = f"query($r: [_Any!]!) {{ _entities(representations: $r) {{ {selection} }} }}"
        for query in (once, f"query($r: [_Any!]!) {{ {aliased} }}"):
            for given in (agents, odd, nested, [agents] * 100):
                async with target.bystander(), target.measured() as cost:
                    assert "errors" in await asked(client, query, r=given)
                assert cost.metric("agentgraph_upstream_calls_total", service="letta") < 20
                assert cost.cpu_seconds < 1.5


async def test_concurrent_cancellations_end_a_stream_once(target: Target) -> None:
    async with target.client(ADA) as ada, target.client(GRACE) as grace:
        async with target.bystander(), target.measured() as cost:
            for _ in range(5):
                stream_id = await started(ada, "[[tokens=100000 delay=0.02]]")
                foreign = await asyncio.gather(*(asked(grace, CANCEL, id=stream_id) for _ in range(5)))
                assert {one["errors"][0]["extensions"]["code"] for one in foreign} == {"NOT_FOUND"}
                reading = asyncio.create_task(heard(ada, stream_id))
                answers = await asyncio.gather(*(asked(ada, CANCEL, id=stream_id) for _ in range(40)))
                assert {one["data"]["cancelStream"]["stream"]["status"] for one in answers} == {"CANCELLED"}
                assert (await reading)[-1]["data"]["stream"]["__typename"] == "StreamEnded"
        assert cost.metric("agentgraph_streams_total", outcome="cancelled") == 5
        assert cost.metric("agentgraph_upstream_calls_total", service="litellm", operation="complete") <= 6
    await places_free(target)


async def test_attaching_after_every_cursor_costs_little(target: Target) -> None:
    async with target.client() as client:
        stream_id = await started(client, "[[tokens=20000 delay=0]]")
        await heard(client, stream_id)
        async with target.bystander(), target.measured() as cost:
            for cursor in range(20_000 - 300, 20_000, 3):
                events = await heard(client, stream_id, str(cursor))
                assert events[-1]["data"]["stream"]["__typename"] == "StreamEnded"
            for odd in ("0", "1", "9999999999", "-1", "x" * 1000, "1e9", "٣"):
                await heard(client, stream_id, odd)
        assert cost.cpu_seconds < 2
        assert cost.rss_bytes < 10 * MIB


@pytest.mark.parametrize(("users", "pings", "cpu_seconds"), [(1, 19, 1), (10, 190, 3)])
async def test_pings_within_the_rate_limit_do_not_block_the_loop(
    tmp_path: Path, users: int, pings: int, cpu_seconds: float
) -> None:
    """Users have a hundred sockets in all, and send the messages that ten seconds allow at once."""
    async with attacked(tmp_path) as target, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(raw_socket(target.address)) for _ in range(100)]
        for number, one in enumerate(opened):
            await one.sign_in(target.token(f"00000000-0000-4000-8000-{number % users:012}"))
        async with target.bystander(), target.measured() as cost:
            data = text(type="ping", payload={"x": "y" * 100}) * pings
            await asyncio.gather(*(_pinged(one, data, pings) for one in opened))
        assert cost.held_over(0.1) == 0
        assert cost.cpu_seconds < cpu_seconds
        assert cost.rss_bytes < users * 10 * MIB


async def _pinged(one: RawSocket, pings: bytes, count: int) -> None:
    sending = asyncio.create_task(one.send(pings))
    for _ in range(count):
        assert (await one.message())["type"] == "pong"
    await sending


@pytest.mark.parametrize("what", ["stream", "conversation", "completion"])
async def test_completed_subscriptions_of_a_socket_leave_no_memory(target: Target, what: str) -> None:
    async with target.client() as client:
        stream_id, agent_id = await started(client, "[[tokens=2000 delay=0]]"), await target.agent_id()

    def subscribe(number: int) -> bytes:
        payload: dict[str, Any] = {"query": STREAM, "variables": {"id": stream_id}}
        if what == "conversation":
            payload = {"query": FOLLOW, "variables": {"id": f"conversation:{agent_id}"}}
        elif what == "completion":
            given = {"i": completion("[[tokens=1000 delay=0.02]]"), "k": str(uuid.uuid4())}
            payload = {"query": COMPLETION, "variables": given}
        return text(id=str(number), type="subscribe", payload=payload) + text(id=str(number), type="complete")

    async with target.bystander(), raw_socket(target.address) as one:
        await one.sign_in(target.token())
        await _looped(one, subscribe, 0)
        async with target.measured() as cost:
            for start in range(100, 700, 100):
                await _looped(one, subscribe, start)
            await places_free(target)
    assert cost.rss_bytes < 15 * MIB
    assert cost.upstream_calls < 2 * 600
    assert cost.cpu_seconds < 6
    assert b"internal error" not in target.log


async def _looped(one: RawSocket, subscribe: Any, start: int) -> None:
    """Start and stop a hundred subscriptions, and wait for an answer after the last."""
    for number in range(start, start + 100):
        await one.send(subscribe(number))
        await asyncio.sleep(0.002 * (number % 2))
    last = str(start + 99) + "!"
    await one.send(text(id=last, type="subscribe", payload={"query": "{ viewer { id } }"}))
    while (message := await one.message()).get("id") != last or message["type"] != "complete":
        pass


@pytest.mark.parametrize("door", ["http", "socket"])
async def test_unread_answers_during_a_flood_are_bounded(tmp_path: Path, door: str) -> None:
    """One user asks for large answers without reading them, while another sends more than there is time for."""
    limits = {"RATE_LIMIT_GENERAL": "0", "WRITE_TIMEOUT_SECONDS": "5"}
    flooder = str(uuid.uuid4())
    query = {"query": "{ viewer { agents { nodes { id name messages(last: 20) { nodes { id text } } } } } }"}
    async with attacked(tmp_path, **limits) as target, target.client(flooder) as client:

        async def flood() -> set[int]:
            statuses = set()
            for _ in range(10):
                statuses.add((await client.post("/graphql", json=query)).status_code)
            return statuses

        async with target.bystander(), target.measured() as cost, AsyncExitStack() as stack:
            flooding = [asyncio.create_task(flood()) for _ in range(30)]
            for number in range(40):
                await _unread(target, stack, door, number)
            statuses = set().union(*await asyncio.gather(*flooding))
        assert 200 in statuses
        assert cost.peak_rss_bytes < 80 * MIB


async def _unread(target: Target, stack: AsyncExitStack, door: str, number: int) -> None:
    """Query 30 answers of 67 kB, and read none."""
    ask = {"query": "{ _service { sdl } }"}
    if door == "socket":
        one = await stack.enter_async_context(raw_socket(target.address, receive_buffer=4096))
        await one.sign_in(target.token())
        await one.send(b"".join(text(id=f"{number}-{at}", type="subscribe", payload=ask) for at in range(30)))
        return
    connection = await stack.enter_async_context(raw(target.address, receive_buffer=4096))
    connection.pause_reading()
    body = json.dumps(ask).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.token()}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    await connection.send((head.encode() + body) * 30)
