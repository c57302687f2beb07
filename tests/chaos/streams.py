"""Reads many streams while gateway processes are killed and restarted."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.cluster import Cluster, cluster
from tests.support.resuming import COMPLETION, MESSAGE, ResumingReader
from tests.support.streaming import expected

SETTINGS = {"MAX_CONCURRENT_STREAMS": "2000"}
AGENTS = 10


@dataclass
class Result:
    """What the readers of all streams received."""

    turns: int = 0
    completions: int = 0
    completed: int = 0
    owner_lost: int = 0
    kills: int = 0
    resumed: int = 0
    lost: int = 0
    doubled: int = 0
    second_ends: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether no reader lost, doubled or ended twice."""
        return not (self.lost or self.doubled or self.second_ends or self.faults)

    def lines(self) -> str:
        figures = {name: value for name, value in vars(self).items() if name != "faults"}
        return "\n".join([f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()] + self.faults)


async def run(folder: Path, *, streams: int, tokens: int, delay: float, seconds: float, every: float) -> Result:
    """Read ``streams`` streams, and kill a gateway at intervals of ``every`` seconds.

    Half of the streams are turns, and half are completions. A new stream begins when one has ended, for ``seconds``.
    """
    result = Result()
    async with cluster(folder, settings=SETTINGS) as running:
        agents = await _agents(running)
        end = time.monotonic() + seconds
        killing = asyncio.create_task(_kill(running, every, result))
        script = f"hi [[tokens={tokens} delay={delay}]]"

        async def keep_reading(number: int) -> None:
            while True:
                await _read(running, result, number, agents[number % AGENTS], script, expected(tokens))
                if time.monotonic() > end:
                    return

        try:
            await asyncio.gather(*(keep_reading(number) for number in range(streams)))
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
    return result


async def _read(running: Cluster, result: Result, number: int, agent_id: str, script: str, text: str) -> None:
    is_turn = number % 2 == 0
    if is_turn:
        conversation = await _conversation(running, agent_id)
        given = {"to": {"conversationId": conversation}, "content": [{"text": script}]}
        reader = ResumingReader(running, MESSAGE, str(uuid.uuid4()), given)
    else:
        given = {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": script}]}
        reader = ResumingReader(running, COMPLETION, str(uuid.uuid4()), given)
    await reader.read()
    _judge(result, reader, text, is_turn=is_turn)


def _judge(result: Result, reader: ResumingReader, text: str, *, is_turn: bool) -> None:
    ends = list(reader.ends.values())
    outcome, reason = ends[0] if ends else ("no end", None)
    result.turns += is_turn
    result.completions += not is_turn
    result.resumed += reader.resumed
    result.doubled += len(reader.doubled)
    result.second_ends += max(0, len(ends) - 1)
    result.faults += reader.refused
    if outcome == "COMPLETED" and reader.text == text:
        result.completed += 1
    elif not is_turn and (outcome, reason) == ("FAILED", "OWNER_LOST") and text.startswith(reader.text):
        result.owner_lost += 1
    else:
        result.lost += 1
        what = "turn" if is_turn else "completion"
        result.faults.append(f"{what} {outcome} {reason}: {len(reader.text)} of {len(text)} characters")


async def _kill(running: Cluster, every: float, result: Result) -> None:
    """Kill a gateway at intervals, and start it again."""
    chance = random.Random(13)
    while True:
        await asyncio.sleep(every)
        replica = chance.choice(running.replicas)
        await replica.kill()
        result.kills += 1
        await replica.start()


async def _agents(running: Cluster) -> list[str]:
    async with running.client() as client:
        answer = await client.post("/graphql", json={"query": "{ viewer { agents(first: 10) { nodes { id } } } }"})
        found = [node["id"] for node in answer.json()["data"]["viewer"]["agents"]["nodes"]]
    return [found[number % len(found)] for number in range(AGENTS)]


_CONVERSATION = """mutation($agent: ID!, $key: String!) {
  createConversation(input: { agentId: $agent, idempotencyKey: $key }) { conversationEdge { node { id } } }
}"""


async def _conversation(running: Cluster, agent_id: str) -> str:
    """Create a conversation. Repeat the mutation with its key until a replica answers."""
    variables = {"agent": agent_id, "key": str(uuid.uuid4())}
    while True:
        try:
            async with running.client() as client:
                answer = await client.post("/graphql", json={"query": _CONVERSATION, "variables": variables})
                body = answer.json()
                if "errors" not in body:
                    return str(body["data"]["createConversation"]["conversationEdge"]["node"]["id"])
        except (httpx.HTTPError, OSError, ValueError):
            pass  # the replica died
        await asyncio.sleep(0.1)
