"""Published GraphQL clients, as installed, whose replica is killed in the middle of an answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.websockets import WebsocketsTransport
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential

from tests.support.cluster import Cluster, cluster
from tests.support.documents import CREATE_CONVERSATION, MESSAGE
from tests.support.node import node_lines
from tests.support.serving import free_port
from tests.support.streaming import expected

pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_node, pytest.mark.timeout(120)]

TOKENS = 60
SCRIPT = f"hi [[tokens={TOKENS} delay=0.06]]"
TOKENS_BEFORE_KILL = 10

IN_NODE = {
    "graphql-ws": True,
    "graphql-ws, refused": False,
    "graphql-ws, refused, shouldRetry": True,
    "graphql-sse": True,
    "Apollo Client, GraphQLWsLink": True,
    "Apollo Client, HttpLink": False,
    "Apollo Client, HttpLink, RetryLink": True,
    "urql, graphql-ws": True,
    "urql, graphql-sse": True,
    "urql, fetchExchange": False,
    "EventSource": True,
}
"""The clients of ``stock_clients.mjs``, and whether they read the whole turn."""
IN_PYTHON = {"gql": False, "gql, tenacity": True}
CLIENTS = IN_NODE | IN_PYTHON

Turns = dict[str, dict[str, Any]]
"""The variables of ``message``, by client."""
Say = Callable[[dict[str, Any]], Awaitable[None]]


async def test_clients_read_an_exact_turn_after_their_replica_is_killed(tmp_path: Path) -> None:
    async with cluster(tmp_path, count=2) as running:
        killed = running.replicas[0]
        running.balancer.preferred = killed.port
        turns = await begin_turns(running)
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        async with asyncio.TaskGroup() as reading:
            reading.create_task(read_in_node(running, {name: turns[name] for name in IN_NODE}, said.put))
            await begun(said, IN_NODE)
            for name in IN_PYTHON:
                reading.create_task(read_with_gql(running, name, turns[name], said.put))
            await begun(said, IN_PYTHON)
            await killed.kill()
        shown = {turn.pop("client"): turn for turn in (said.get_nowait() for _ in CLIENTS)}
        posted = [call for call in await running.upstream_calls("letta") if call.startswith("POST")]
    exact = {"text": expected(TOKENS), "resumed": 1, "outcomes": ["COMPLETED"], "failed": None}
    assert {name: shown[name] for name in CLIENTS if CLIENTS[name]} == {
        name: exact for name in CLIENTS if CLIENTS[name]
    }
    for name in [name for name in CLIENTS if not CLIENTS[name]]:
        assert shown[name]["failed"], name
        assert (shown[name]["resumed"], shown[name]["outcomes"]) == (0, []), name
        assert expected(TOKENS).startswith(shown[name]["text"]), name
    assert len([call for call in posted if call.endswith("/messages")]) == len(CLIENTS)


async def begun(said: asyncio.Queue[dict[str, Any]], clients: dict[str, bool]) -> None:
    """Wait until each client has read the first tokens."""
    first = [await said.get() for _ in clients]
    assert sorted(first, key=str) == sorted(({"client": name} for name in clients), key=str)


async def begin_turns(running: Cluster) -> Turns:
    """Create a conversation for each client."""
    async with running.client() as client:

        async def ask(query: str, **variables: str) -> dict[str, Any]:
            answer = await client.post("/graphql", json={"query": query, "variables": variables})
            data: dict[str, Any] = answer.json()["data"]
            return data

        found = await ask("{ viewer { agents(first: 1) { nodes { id } } } }")
        agent_id = found["viewer"]["agents"]["nodes"][0]["id"]

        async def turn(name: str) -> dict[str, Any]:
            made = await ask(CREATE_CONVERSATION, a=agent_id, s=name, k=str(uuid.uuid4()))
            to = {"conversationId": made["createConversation"]["conversation"]["id"]}
            return {"i": {"to": to, "content": [{"text": SCRIPT}]}, "k": str(uuid.uuid4())}

        return dict(zip(CLIENTS, await asyncio.gather(*map(turn, CLIENTS)), strict=True))


async def read_in_node(running: Cluster, turns: Turns, say: Say) -> None:
    """Read turns with the clients of ``stock_clients.mjs``."""
    given = {
        "url": running.url,
        "closed": f"http://127.0.0.1:{free_port()}",
        "token": running.headers()["authorization"].removeprefix("Bearer "),
        "turns": turns,
        "tokens": TOKENS_BEFORE_KILL,
    }
    async for line in node_lines("stock_clients.mjs", **given):
        await say(line)


async def read_with_gql(running: Cluster, name: str, variables: dict[str, Any], say: Say) -> None:
    """Read a turn with Python's gql: once, or with the retries that gql's documentation describes."""
    turn: dict[str, Any] = {"client": name, "text": "", "resumed": 0, "outcomes": [], "failed": None}

    async def subscribe() -> None:
        transport = WebsocketsTransport(
            url=running.url.replace("http", "ws") + "/graphql",
            init_payload=running.headers(),
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        )
        async with Client(transport=transport) as session:
            is_told = bool(turn["text"])
            async for answer in session.subscribe(GraphQLRequest(MESSAGE, variable_values=variables)):
                show(turn, answer["message"])
                if not is_told and turn["text"].count("tok") > TOKENS_BEFORE_KILL:
                    is_told = True
                    await say({"client": name})

    lost = retry_if_exception_type(TransportConnectionFailed)
    again = retry(retry=lost, wait=wait_exponential(), stop=stop_after_delay(300))
    try:
        await (again(subscribe) if IN_PYTHON[name] else subscribe)()
    except TransportConnectionFailed as error:
        turn["failed"] = repr(error)
    await say(turn)


def show(turn: dict[str, Any], event: dict[str, Any]) -> None:
    """Show an event as an application does: if ``replayed`` is true, discard the text."""
    if event.get("replayed") and turn["text"]:
        turn.update(text="", resumed=turn["resumed"] + 1)
    turn["text"] += event.get("text", "")
    if event["__typename"] == "StreamEnded":
        turn["outcomes"].append(event["outcome"])
