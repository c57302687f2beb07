from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect

from app.embedded.faults import Fault
from app.embedded.people import ADA, GRACE
from app.graphql.socket_operations import MAX_OPERATIONS
from clients.letta.stored import StoredMessages
from resolvers.cache import policy
from resolvers.cache.changes import CHANGES
from resolvers.cache.kinds import ACCOUNT, AGENT, FAILED_SECONDS, KEY_INFO, MESSAGES, PROFILE, Kind
from resolvers.cache.stale import MAX_LISTED, REVALIDATING, SLOW
from tests.support import things
from tests.support.cached import clocked
from tests.support.clock import Clock
from tests.support.cluster import Cluster, cluster
from tests.support.documents import CREATE_CONVERSATION, DASHBOARD, UPDATE_AGENT
from tests.support.doors import QUERY_DOORS, first_payload, refused
from tests.support.redis_server import redis_server
from tests.support.schema import SCHEMA
from tests.support.stack import GraphQLSocket, Stack, embedded_stack, replica_of, until
from tests.support.state import connected
from tests.support.websocket import PROTOCOL

SERVICES = ("ams", "letta", "litellm")
DESCRIPTION = "query($a: ID!) { agent(id: $a) { description } }"
MESSAGE_TEXTS = "query($a: ID!) { agent(id: $a) { messages(last: 5) { nodes { text } } } }"
BUDGET = "{ viewer { budget { spendUsd } } }"
LIST = "{ viewer { agents { nodes { id } } } }"


def calls(stack: Stack) -> dict[str, int]:
    """Return the number of calls by service since the last look."""
    found = Counter(str(call["service"]) for call in stack.platform.state.calls)
    stack.platform.state.calls.clear()
    return dict(found)


async def data(stack: Stack, query: str, **variables: Any) -> dict[str, Any]:
    answer = await stack.graphql(query, variables)
    assert "errors" not in answer, answer
    found: dict[str, Any] = answer["data"]
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock(1.0)


@pytest.fixture
async def timed(clock: Clock) -> AsyncIterator[Stack]:
    """A stack whose cache uses the test's clock."""
    with clocked(clock):
        async with embedded_stack() as running:
            yield running


async def test_a_warm_dashboard_makes_no_calls(timed: Stack, clock: Clock) -> None:
    first = await timed.graphql(DASHBOARD)
    assert calls(timed) == {"ams": 2, "letta": 10, "litellm": 1}
    assert await timed.graphql(DASHBOARD) == first
    assert calls(timed) == {}
    clock.now += MESSAGES.fresh
    assert await timed.graphql(DASHBOARD) == first
    assert calls(timed) == {"letta": 9}, "the conversations and the messages"
    metrics = (await timed.client.get("/metrics")).text
    assert 'agentgraph_cache_reads_total{kind="messages",outcome="hit"} 6.0' in metrics
    assert "agentgraph_cache_memory_bytes" in metrics


async def test_a_warm_dashboard_decodes_no_message_and_waits_for_no_record(
    timed: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await timed.graphql(DASHBOARD)
    waited: Counter[str] = Counter()
    read = policy.Cache.read

    async def counted(cache: policy.Cache, kind: Kind, *given: Any) -> Any:
        waited[kind.name] += 1
        return await read(cache, kind, *given)

    monkeypatch.setattr(policy.Cache, "read", counted)
    monkeypatch.setattr(StoredMessages, "decoded", pytest.fail)
    for _ in range(2):
        assert await timed.graphql(DASHBOARD) == first
    assert waited["account"] > 0
    assert not waited & Counter([AGENT.name, MESSAGES.name])


@pytest.mark.uncached
async def test_without_the_cache_each_query_makes_its_calls(stack: Stack) -> None:
    for _ in range(2):
        await stack.graphql(DASHBOARD)
        assert calls(stack) == {"ams": 2, "letta": 10, "litellm": 1}
    await stack.servers["ams"].stop()
    assert refused(await stack.graphql(LIST)) == ("UPSTREAM_UNAVAILABLE", "CONNECT")
    assert "agentgraph_cache" not in (await stack.client.get("/metrics")).text


@pytest.mark.parametrize("door", QUERY_DOORS)
async def test_with_dead_services_the_dashboard_is_stale_and_says_so(timed: Stack, clock: Clock, door: str) -> None:
    fresh = await first_payload(timed, door, DASHBOARD, token=timed.token())
    assert "extensions" not in fresh
    for name in ("ams", "letta"):
        await timed.servers[name].stop()
    clock.now += 42
    answer = await first_payload(timed, door, DASHBOARD, token=timed.token())
    assert "errors" not in answer
    assert answer["data"] == fresh["data"]
    stale = {tuple(one["path"]): one for one in answer["extensions"]["stale"]}
    assert {(one["ageSeconds"], one["reason"]) for one in stale.values()} <= {(42.0, "CONNECT"), (42.0, REVALIDATING)}
    nodes = ("viewer", "agents", "nodes", 0)
    expected = {
        ("viewer", "agents"): "ams",
        (*nodes, "template"): "ams",
        (*nodes, "memoryBlocks"): "letta",
        (*nodes, "conversations", "nodes", 0, "messages"): "letta",
    }
    assert {path: stale[path]["service"] for path in expected} == expected


async def test_a_service_that_hangs_delays_one_answer_by_the_patience(
    timed: Stack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 0.05)
    fresh = await timed.graphql(DASHBOARD)
    timed.platform.faults["letta"] = Fault(hang=True)
    clock.now += 6
    answer = await timed.graphql(DASHBOARD)
    assert answer["data"] == fresh["data"]
    assert {one["reason"] for one in answer["extensions"]["stale"]} == {SLOW}
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 60)
    assert (await timed.graphql(DASHBOARD))["data"] == fresh["data"]


async def test_a_stale_record_is_used_for_ten_minutes_and_never_by_a_mutation(timed: Stack, clock: Clock) -> None:
    agent_id = await timed.make_agent()
    await data(timed, DESCRIPTION, a=agent_id)
    timed.platform.faults["ams"] = Fault(status=500)
    clock.now += PROFILE.fresh
    answer = await timed.graphql(DESCRIPTION, {"a": agent_id})
    assert answer["extensions"]["stale"][0]["reason"] == "STATUS"
    for query in ("mutation($a: ID!) { deleteAgent(input: {agentId: $a}) { deletedAgentId } }", CREATE_CONVERSATION):
        assert refused(await timed.graphql(query, {"a": agent_id})) == ("UPSTREAM_ERROR", "STATUS")
    timed.platform.faults.clear()
    assert "extensions" not in await timed.graphql(DESCRIPTION, {"a": agent_id})
    timed.platform.faults["ams"] = Fault(status=500)
    clock.now += FAILED_SECONDS
    assert refused(await timed.graphql(LIST))[0] in {"UPSTREAM_ERROR", "UPSTREAM_UNAVAILABLE"}


async def test_many_stale_fields_are_one_item(timed: Stack, clock: Clock) -> None:
    names = " ".join(f"n{number}: name d{number}: description t{number}: tags" for number in range(MAX_LISTED // 3 + 1))
    query = f"{{ viewer {{ agents(first: 1) {{ nodes {{ {names} }} }} }} }}"
    await timed.graphql(query)
    await timed.servers["letta"].stop()
    clock.now += 20
    answer = await timed.graphql(query)
    assert answer["extensions"]["stale"] == [{"path": [], "ageSeconds": 20.0, "service": "letta", "reason": "CONNECT"}]


async def test_an_agent_that_is_taken_away_elsewhere_is_gone_after_five_seconds(timed: Stack, clock: Clock) -> None:
    agent_id = await timed.make_agent()
    await data(timed, DESCRIPTION, a=agent_id)
    rows = timed.platform.state.users[ADA].rows
    rows[:] = [row for row in rows if row["agent_id"] != agent_id]
    clock.now += PROFILE.fresh
    assert refused(await timed.graphql(DESCRIPTION, {"a": agent_id})) == ("NOT_FOUND", None)
    timed.platform.faults["ams"] = Fault(down=True)
    clock.now += PROFILE.fresh
    assert refused(await timed.graphql(DESCRIPTION, {"a": agent_id})) == ("UPSTREAM_ERROR", "CUT"), "it may be new"


async def test_an_agent_that_is_created_elsewhere_is_found_at_once(timed: Stack, clock: Clock) -> None:
    await data(timed, LIST)
    clock.now += 1
    agent_id = await timed.make_agent()
    await data(timed, DESCRIPTION, a=agent_id)
    listed = (await data(timed, LIST))["viewer"]["agents"]["nodes"]
    assert {"id": agent_id} in listed, "the list was outdated, too"
    clock.now += 1
    timed.platform.state.calls.clear()
    for unknown in (f"agent-{uuid.uuid4()}", await timed.make_agent(GRACE)):
        assert refused(await timed.graphql(DESCRIPTION, {"a": unknown})) == ("NOT_FOUND", None)
        assert [call["path"] for call in timed.platform.state.calls if call["path"] == "/me"] == ["/me"]
        timed.platform.state.calls.clear()


async def test_a_user_never_gets_another_users_record(timed: Stack) -> None:
    agent_id = await timed.make_agent()
    await data(timed, DESCRIPTION, a=agent_id)
    for query in (DESCRIPTION, MESSAGE_TEXTS):
        assert refused(await timed.graphql(query, {"a": agent_id}, user=GRACE)) == ("NOT_FOUND", None)
    own, theirs = await timed.graphql(LIST), await timed.graphql(LIST, user=GRACE)
    assert own != theirs


def test_each_mutation_names_the_data_that_it_changes() -> None:
    assert SCHEMA.mutation_type is not None
    assert CHANGES.keys() == SCHEMA.mutation_type.fields.keys()


async def test_a_turns_messages_are_readable_when_its_end_has_been_sent(timed: Stack) -> None:
    agent_id = await timed.make_agent()
    query = "query($a: ID!) { agent(id: $a) { messages(last: 20) { nodes { id } } } }"
    before = (await data(timed, query, a=agent_id))["agent"]["messages"]["nodes"]
    for number in range(3):
        sent = await things.sent(timed, f"tokens=2 delay=0 n={number}", agent_id=agent_id)
        nodes = (await data(timed, query, a=agent_id))["agent"]["messages"]["nodes"]
        assert nodes[: len(before)] == before
        assert nodes[len(before)] == sent["userMessageEdge"]["node"]
        assert len(nodes) == len(before) + 2
        before = nodes


async def test_a_completions_cost_is_readable_after_its_end(timed: Stack) -> None:
    await timed.own_key()
    before = (await data(timed, BUDGET))["viewer"]["budget"]
    chat = {"model": timed.chat_model, "messages": [{"role": "user", "content": "[[tokens=50 delay=0]]"}]}
    for stream in (False, True):
        body = chat | {"stream": stream}
        answer = await timed.client.post("/v1/chat/completions", json=body, headers=timed.headers())
        assert answer.status_code == 200
        after = (await data(timed, BUDGET))["viewer"]["budget"]
        assert after != before
        before = after


async def test_a_completion_reads_the_virtual_key_from_the_cache(timed: Stack, clock: Clock) -> None:
    await timed.own_key()
    body = {"model": timed.chat_model, "messages": [{"role": "user", "content": "[[tokens=2 delay=0]]"}]}
    for seconds, ams in ((0, 1), (0, 0), (ACCOUNT.fresh, 1), (0, 0)):
        clock.now += seconds
        calls(timed)
        answer = await timed.client.post("/v1/chat/completions", json=body, headers=timed.headers())
        assert answer.status_code == 200
        assert calls(timed) == {"litellm": 1} | ({"ams": ams} if ams else {})
    await timed.servers["ams"].stop()
    clock.now += FAILED_SECONDS - 1
    answer = await timed.client.post("/v1/chat/completions", json=body, headers=timed.headers())
    assert answer.status_code == 200, "the older key pays while AMS is unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_litellm_refuses_is_read_again(timed: Stack, stream: bool) -> None:
    old = await timed.own_key()
    body = {"model": timed.chat_model, "messages": [{"role": "user", "content": "[[tokens=2 delay=0]]"}]}
    asked: dict[str, Any] = {"json": body | {"stream": stream}, "headers": timed.headers()}
    assert (await timed.client.post("/v1/chat/completions", **asked)).status_code == 200
    await timed.own_key()
    del timed.platform.state.keys[old]
    refused = await timed.client.post("/v1/chat/completions", **asked)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "credential")
    assert (await timed.client.post("/v1/chat/completions", **asked)).status_code == 200


async def test_a_slowly_changing_list_is_read_again_in_the_background(timed: Stack, clock: Clock) -> None:
    query = "{ models { name } }"
    await data(timed, query)
    clock.now += 61
    answer = await timed.graphql(query)
    facts = {(one["service"], one["reason"]) for one in answer["extensions"]["stale"]}
    assert facts == {("litellm", REVALIDATING)}

    async def renewed() -> bool:
        return "extensions" not in await timed.graphql(query)

    await until(renewed)


# Replicas


@asynccontextmanager
async def replicas(redis_url: str, number: int = 3, **settings: Any) -> AsyncIterator[list[Stack]]:
    """Run gateways that share the services and Redis."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            embedded_stack(redis_url=redis_url, rate_limit_general=0, rate_limit_llm=0, **settings)
        )
        others = [await stack.enter_async_context(replica_of(first)) for _ in range(number - 1)]
        yield [first, *others]


async def read_at_once(url: str, authorization: str) -> list[Any]:
    """Send as many equal queries as one socket permits, and return the answers."""
    async with connect(url.replace("http", "ws") + "/graphql", subprotocols=[PROTOCOL], proxy=None) as connection:
        socket = GraphQLSocket(connection)
        await socket.tell(type="connection_init", payload={"authorization": authorization})
        await socket.hear()
        for _ in range(MAX_OPERATIONS):
            await socket.subscribe("{ viewer { name agents(first: 5) { nodes { name version } } } }")
        heard = [await socket.hear() for _ in range(2 * MAX_OPERATIONS)]
        return [message["payload"] for message in heard if message["type"] == "next"]


async def failed_commands(running: Cluster) -> int:
    """Return the number of commands that Redis did not execute in time, as on a machine that is too busy."""
    async with running.client() as client:
        pages = [(await client.get(f"{replica.url}/metrics")).text for replica in running.replicas]
    return sum("agentgraph_state_failures_total{" in page for page in pages)


@pytest.mark.needs_redis
@pytest.mark.timeout(120)
async def test_cold_reads_of_three_processes_make_one_call(tmp_path: Path) -> None:
    """200 equal queries at each of 3 processes read the profile and the agents once."""
    async with cluster(tmp_path) as running:
        urls = [replica.url for replica in running.replicas] * (200 // MAX_OPERATIONS)
        for user in (ADA, GRACE):
            before = await running.upstream_calls("ams"), await running.upstream_calls("letta")
            token = running.headers(user)["authorization"]
            found = await asyncio.gather(*(read_at_once(url, token) for url in urls))
            answers = [answer for part in found for answer in part]
            assert len(answers) == 600
            assert all(answer == answers[0] and "errors" not in answer for answer in answers), answers[0]
            if not await failed_commands(running):
                break
        else:
            pytest.fail("Redis did not answer in time")
        ams, letta = await running.upstream_calls("ams"), await running.upstream_calls("letta")
        assert [call for call in ams[len(before[0]) :] if call != "GET /health"] == ["GET /me"]
        assert len([call for call in letta[len(before[1]) :] if f"user%3A{user}" in call]) == 1


@pytest.mark.needs_redis
@pytest.mark.timeout(60)
async def test_a_mutation_is_read_back_from_every_replica_under_races(patient_redis: str) -> None:
    """Readers at all replicas never get a description from before a mutation that had answered."""
    async with replicas(patient_redis) as stacks:
        agent_id, answered = await stacks[0].make_agent(), 0
        is_over = False

        async def mutate() -> None:
            nonlocal answered, is_over
            for number in range(1, 13):
                change = {"agentId": agent_id, "description": str(number)}
                await things.done(stacks[number % 3], UPDATE_AGENT, {"i": change})
                answered = number
            is_over = True

        async def read(stack: Stack) -> None:
            while not is_over:
                least = answered
                found = (await data(stack, DESCRIPTION, a=agent_id))["agent"]["description"]
                assert int(found or 0) >= least

        await things.done(stacks[0], UPDATE_AGENT, {"i": {"agentId": agent_id, "description": "0"}})
        await asyncio.gather(mutate(), *(read(stack) for stack in stacks for _ in range(2)))


@pytest.mark.needs_redis
async def test_a_warm_query_sends_one_command_to_redis(patient_redis: str) -> None:
    with clocked():
        async with embedded_stack(redis_url=patient_redis) as stack:

            async def commands() -> int:
                page = (await stack.client.get("/metrics")).text
                [line] = [line for line in page.splitlines() if line.startswith("agentgraph_state_commands_total ")]
                return int(float(line.split()[1]))

            await data(stack, LIST)
            for door in QUERY_DOORS:
                sent = []
                for _ in range(5):  # the gateway also sends commands in the background
                    before = await commands()
                    assert "errors" not in await first_payload(stack, door, LIST, token=stack.token())
                    sent.append(await commands() - before)
                assert min(sent) == 1, "the rate limit and the versions"


@pytest.mark.needs_redis
async def test_records_in_redis_have_no_virtual_key(patient_redis: str) -> None:
    async with replicas(patient_redis, 2) as stacks, connected(patient_redis) as connection:
        key = await stacks[0].own_key()
        for stack in stacks:
            await data(stack, DASHBOARD)
            await data(stack, "{ models { name embeddingDimensions } viewer { budget { spendUsd } } }")

        async def stored() -> bytes:
            kinds = {}
            for name in await connection.command("KEYS", "*"):
                kinds[name] = await connection.command("TYPE", name)
                assert await connection.command("PTTL", name) > 0, name
            hashes = [await connection.command("HGETALL", name) for name, kind in kinds.items() if kind == b"hash"]
            return b" ".join([*kinds, *(part for one in hashes for part in one)])

        async def complete() -> bool:
            return f"{KEY_INFO.name}:".encode() in await stored()

        await until(complete)
        found = await stored()
        assert f"{PROFILE.name}:".encode() in found
        assert key.encode() not in found
        assert orjson.dumps(stacks[0].platform.state.users[ADA].name) in found


@pytest.mark.needs_redis
async def test_a_replica_reads_the_records_of_another_replica(patient_redis: str) -> None:
    async with replicas(patient_redis, 2) as (first, second):
        answer = await first.graphql(DASHBOARD)
        calls(first)
        assert await second.graphql(DASHBOARD) == answer
        assert calls(first) == {"ams": 1}, "the virtual key, which leaves no process"


@pytest.mark.needs_redis
@pytest.mark.timeout(60)
async def test_without_redis_queries_and_mutations_go_on_and_redis_heals() -> None:
    with redis_server() as redis:
        async with replicas(redis.url(), 2) as (first, second):
            agent_id = await first.make_agent()
            for stack in (first, second):
                await data(stack, DESCRIPTION, a=agent_id)
            redis.pause()
            for text in ("one", "two"):
                await things.done(first, UPDATE_AGENT, {"i": {"agentId": agent_id, "description": text}})
                assert (await data(first, DESCRIPTION, a=agent_id))["agent"]["description"] == text
            redis.resume()

            async def healed() -> bool:
                query = "{ platform { sharedState { status } } }"
                return [(await data(one, query))["platform"]["sharedState"]["status"] for one in (first, second)] == [
                    "OK",
                    "OK",
                ]

            await until(healed)

            async def seen() -> bool:
                return bool((await data(second, DESCRIPTION, a=agent_id))["agent"]["description"] == "two")

            await until(seen)
            redis.run("FLUSHALL")
            await things.done(second, UPDATE_AGENT, {"i": {"agentId": agent_id, "description": "three"}})
            for stack in (first, second):
                assert (await data(stack, DESCRIPTION, a=agent_id))["agent"]["description"] == "three"
