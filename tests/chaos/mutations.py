"""Sends mutations with idempotency keys while Redis and gateway processes are killed and restarted."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.cluster import Cluster, cluster

IN_FLIGHT = 20
PAUSE_SECONDS = 0.1

DOWN_SECONDS = 0.5
"""How long Redis is down, in seconds."""

_CREATE_AGENT = """mutation($template: ID!, $mark: String!) {
  answer: createAgent(input: { templateId: $template, name: $mark, idempotencyKey: $mark }) {
    agent { id } errors { __typename }
  }
}"""
_SEND = """mutation($conversation: ID!, $mark: String!) {
  answer: sendMessage(input: {
    to: { conversationId: $conversation }, content: [{ text: $mark }], idempotencyKey: $mark, waitSeconds: 5
  }) { run { id } errors { __typename } }
}"""
_CREATE_CONVERSATION = """mutation($agent: ID!, $mark: String!) {
  answer: createConversation(input: { agentId: $agent, summary: $mark, idempotencyKey: $mark }) {
    conversationEdge { node { id } }
  }
}"""
_INSERT = """mutation($agent: ID!, $mark: String!) {
  answer: insertPassage(input: { agentId: $agent, text: $mark, idempotencyKey: $mark }) { passageEdges { node { id } } }
}"""
_COMPLETE = """mutation($mark: String!) {
  answer: complete(input: {
    model: "gpt-4o-mini", messages: [{ role: USER, content: $mark }], idempotencyKey: $mark
  }) { text }
}"""
KINDS = {
    "agent": _CREATE_AGENT,
    "message": _SEND,
    "conversation": _CREATE_CONVERSATION,
    "passage": _INSERT,
    "completion": _COMPLETE,
}
EXACTLY_ONCE = ("agent", "message")


@dataclass
class Result:
    """What became of the mutations of each kind."""

    kills: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    done: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    never: Counter[str] = field(default_factory=Counter)
    once: Counter[str] = field(default_factory=Counter)
    more_than_once: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether agents and messages happened exactly once, and the rest at most once, or the outcome is unknown."""
        missing = sum(max(0, self.never[kind] - self.unknown[kind]) for kind in KINDS)
        return not (missing or self.more_than_once or self.faults or any(self.unknown[kind] for kind in EXACTLY_ONCE))

    def lines(self) -> str:
        figures = {name: value for name, value in vars(self).items() if name != "faults"}
        shown = (
            f"{name.replace('_', ' ')}: {value if isinstance(value, int) else dict(value)}"
            for name, value in figures.items()
        )
        return "\n".join([*shown, *self.faults])


async def run(folder: Path, *, mutations: int, gateway_every: float, redis_every: float) -> Result:
    """Send mutations, each until it has an answer, and count what has happened at the services."""
    result = Result()
    async with cluster(folder) as running:
        world = await _world(running)
        killing = [
            asyncio.create_task(_kill_gateways(running, gateway_every, result)),
            asyncio.create_task(_kill_redis(running, redis_every, result)),
        ]
        kinds = list(KINDS) * (mutations // len(KINDS))
        marks = iter([(kind, f"{kind}-{uuid.uuid4()}") for kind in kinds])
        sent: dict[str, str] = {}
        try:
            await asyncio.gather(*(_send_all(running, marks, world, result, sent) for _ in range(IN_FLIGHT)))
        finally:
            for task in killing:
                task.cancel()
            await asyncio.gather(*killing, return_exceptions=True)
        for replica in running.replicas:
            if replica.process is None:
                await replica.start()
        await _count(running, world, sent, result)
    return result


async def _send_all(
    running: Cluster, marks: Iterator[tuple[str, str]], world: dict[str, str], result: Result, sent: dict[str, str]
) -> None:
    # a conversation has one turn at a time
    own = await _answered(running, _CREATE_CONVERSATION, {**world, "mark": str(uuid.uuid4())}, Result())
    assert own is not None
    mine = {**world, "conversation": own["conversationEdge"]["node"]["id"]}
    for kind, mark in marks:
        answer = await _answered(running, KINDS[kind], {**mine, "mark": mark}, result)
        sent[mark] = kind
        (result.unknown if answer is None else result.done)[kind] += 1


async def _answered(running: Cluster, query: str, variables: dict[str, str], result: Result) -> dict[str, Any] | None:
    """Send a mutation until it is answered. Return the answer, or ``None`` if its outcome is unknown."""
    asked = {name: value for name, value in variables.items() if f"${name}:" in query}
    while True:
        body: dict[str, Any] = {}
        try:
            async with running.client() as client:
                body = (await client.post("/graphql", json={"query": query, "variables": asked})).json()
        except (httpx.HTTPError, OSError, ValueError):
            pass  # the replica died
        if body and "errors" not in body:
            answer: dict[str, Any] = body["data"]["answer"]
            if not answer.get("errors"):
                return answer
            assert answer["errors"] == [{"__typename": "ConversationBusy"}], answer  # an earlier turn runs
        elif body:
            facts = body["errors"][0]["extensions"]
            if facts.get("reason") == "OUTCOME_UNKNOWN":
                return None
            if not facts.get("retryable") and facts.get("reason") != "DRAINING":
                result.faults.append(f"{variables['mark']}: {body['errors'][0]['message']} {facts}")
                return None
        result.retries += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def _kill_gateways(running: Cluster, every: float, result: Result) -> None:
    chance = random.Random(13)
    while True:
        await asyncio.sleep(every)
        replica = chance.choice(running.replicas)
        await replica.kill()
        result.kills["gateway"] += 1
        await replica.start()


async def _kill_redis(running: Cluster, every: float, result: Result) -> None:
    while True:
        await asyncio.sleep(every)
        running.redis.kill()
        result.kills["redis"] += 1
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(running.redis.start)


async def _world(running: Cluster) -> dict[str, str]:
    query = "{ viewer { agents(first: 1) { nodes { id } } } templates(first: 1) { nodes { id } } }"
    data = await _data(running, query)
    return {"agent": data["viewer"]["agents"]["nodes"][0]["id"], "template": data["templates"]["nodes"][0]["id"]}


_PAGE = "pageInfo { hasNextPage endCursor }"
_AGENTS = "{ viewer { c: agents(first: 100 %s) { nodes { name } " + _PAGE + " } } }"
_OF_AGENT = '{ viewer: agent(id: "%s") { c: %s { nodes { %s } ' + _PAGE + " } } }"
_OF_CONVERSATION = (
    '{ viewer: conversation(id: "%s") { c: messages(first: 100 %%s) { nodes { ... on UserMessage { text } } '
    + _PAGE
    + " } } }"
)


async def _count(running: Cluster, world: dict[str, str], sent: dict[str, str], result: Result) -> None:
    """Count how often each mutation has happened at the services."""
    agent, found = world["agent"], Counter[str]()
    found.update(await _all(running, _AGENTS, "name"))
    found.update(await _all(running, _OF_AGENT % (agent, "conversations(first: 100 %s)", "summary"), "summary"))
    found.update(await _all(running, _OF_AGENT % (agent, "passages(first: 100 %s)", "text"), "text"))
    found.update(await _messages(running, agent))
    for mark, kind in sent.items():
        if kind == "completion":
            continue
        count = found[mark]
        (result.never if count == 0 else result.once if count == 1 else result.more_than_once)[kind] += 1
    calls = await running.upstream_calls("litellm")
    completions = sum(call.startswith("POST /v1/chat/completions") for call in calls)
    result.once["completion calls"] = completions


async def _all(running: Cluster, query: str, name: str) -> list[str]:
    names, after = list[str](), ""
    while True:
        page = (await _data(running, query % after))["viewer"]["c"]
        names += [node[name] for node in page["nodes"] if node.get(name)]
        if not page["pageInfo"]["hasNextPage"]:
            return names
        after = f', after: "{page["pageInfo"]["endCursor"]}"'


async def _messages(running: Cluster, agent: str) -> list[str]:
    """Return the texts of all user messages in the agent's conversations."""
    texts: list[str] = []
    for conversation in await _all(running, _OF_AGENT % (agent, "conversations(first: 100 %s)", "id"), "id"):
        texts += await _all(running, _OF_CONVERSATION % conversation, "text")
    return texts


async def _data(running: Cluster, query: str) -> dict[str, Any]:
    async with running.client() as client:
        body = (await client.post("/graphql", json={"query": query})).json()
    assert "errors" not in body, body
    data: dict[str, Any] = body["data"]
    return data
