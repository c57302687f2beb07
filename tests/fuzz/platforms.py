"""A gateway with objects of every type, for random operations with random faults."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

from graphql import build_schema, extend_schema, parse
from hypothesis import strategies as st

from app.embedded.faults import Fault
from app.embedded.seed import read_seed
from schema.federation import entities
from tests.support import things
from tests.support.doors import ACCEPTS, event_stream
from tests.support.queries import Operations
from tests.support.stack import ADA, GRACE, Stack, embedded_stack

SDL = (Path(__file__).parents[2] / "schema" / "schema.graphql").read_text()
FEDERATED = f"""scalar _Any union _Entity = {" | ".join(sorted(entities()))}
extend type Query {{ _entities(representations: [_Any!]!): [_Entity]! }}"""
SCHEMA = extend_schema(build_schema(SDL), parse(FEDERATED))
TYPENAME = re.compile(r'"__typename":"(\w+)"')
EVERY_LIST = """{
  viewer { agents(first: 3) { edges { cursor node {
    messages { edges { cursor } } conversations { edges { cursor } }
    runs { edges { cursor } } passages { edges { cursor } }
  } } } }
  templates { edges { cursor } }
}"""
CURSOR = re.compile(r'"cursor": "([^"]+)"')
MOST_EVENTS = 8
"""The number of events after which the client of a subscription disconnects."""
LISTENS_SECONDS = 0.2
"""The time after which the client disconnects from a subscription without an end."""
NO_LIMITS = {"rate_limit_general": 0, "rate_limit_llm": 0}
SOUND: list[tuple[str, Fault]] = []
FAULTS = st.one_of(
    st.just(SOUND),
    st.just(SOUND),
    st.just(SOUND),
    st.lists(
        st.tuples(
            st.sampled_from(["ams", "letta", "litellm"]),
            st.one_of(
                st.builds(Fault, status=st.sampled_from([200, 204, 400, 401, 403, 404, 405, 409, 422, 429, 500, 503])),
                st.builds(Fault, cut_after=st.sampled_from([0, 1, 50, 500])),
                st.just(Fault(down=True)),
            ),
        ),
        min_size=1,
        max_size=2,
    ),
)


class Platform:
    """A gateway with objects of every type, for many operations."""

    def __init__(self, runner: asyncio.Runner, **settings: Any) -> None:
        self.runner = runner
        self._stack = AsyncExitStack()
        self.stack: Stack = runner.run(self._open(NO_LIMITS | settings))
        self._headers = self.stack.headers() | {"graphql-cost": "report"}
        self.seen: set[str] = set()
        ids, cursors = runner.run(self._ids()), runner.run(self._cursors())
        numbers, source = ["1.0.0", "1.2.0", "9.9.9"], read_seed("support-bot", "1.2.0").source
        texts = {"after": cursors, "before": cursors, "model": ["gpt-4o-mini"], "idempotencyKey": ["k1", "k2", "k3"]}
        texts |= {"source": [source, "a: ["], **dict.fromkeys(("number", "to", "version"), numbers)}
        said = 'content: [{text: "hi [[tokens=2 delay=0 reasoning=1 tool=conversation_search]]"}]'
        places = [f'agentId: "{ids["agent"][0]}"', f'conversationId: "{ids["conversation"][0]}"']
        asked = 'messages: [{role: USER content: "hi [[tokens=2 delay=0]]"}]'
        inputs = {
            "SendMessageInput": [f'{{to: {{{place}}} {said} idempotencyKey: "k1"}}' for place in places],
            "CompletionInput": [f'{{model: "gpt-4o-mini" {asked} idempotencyKey: "k{n}"}}' for n in range(3)],
        }
        self.operations = Operations(SCHEMA, ids, texts, inputs).strategy()

    async def _open(self, settings: dict[str, Any]) -> Stack:
        running = embedded_stack(breaker_reset_seconds=0.01, request_timeout=2, **settings)
        return await self._stack.enter_async_context(running)

    async def _ids(self) -> dict[str, list[str]]:
        makers = [
            things.agent,
            things.conversation,
            things.run,
            things.step,
            things.stream,
            things.message,
            things.block,
        ]
        makers += [things.answer, things.passage]
        mine = {make.__name__: [await make(self.stack)] for make in makers}
        [agent, *_] = await self.agents()
        mine["agent"] += [agent["id"], await self.stack.make_agent(GRACE)]
        mine["conversation"].append(f"conversation:{agent['id']}")
        mine["request"] = [await things.approval_request(self.stack)]
        return mine | {
            "template": ["template:support-bot", "template:support-bot@1.0.0"],
            "model": ["model:gpt-4o-mini"],
            "user": ["user:nobody", f"user:{ADA}"],
            "tool": [agent["tools"][0]["id"]],
            "memoryBlock": mine["block"],
            "userMessage": mine["message"],
            "assistantMessage": mine["answer"],
        }

    async def agents(self) -> list[dict[str, Any]]:
        seeded = await self.stack.graphql("{ viewer { agents { nodes { id tools { id } } } } }")
        agents: list[dict[str, Any]] = seeded["data"]["viewer"]["agents"]["nodes"]
        return agents

    async def _cursors(self) -> list[str]:
        """Return a cursor of each kind of list."""
        answer = await self.stack.graphql(EVERY_LIST)
        assert "errors" not in answer, answer
        return CURSOR.findall(json.dumps(answer))

    def answers(self, query: str, faults: list[tuple[str, Fault]]) -> list[dict[str, Any]]:
        """Return the answer to an operation, or the events of a subscription."""
        self.stack.platform.faults.update(dict(faults))
        try:
            return self.runner.run(self._heard(query) if query.startswith("subscription") else self._answer(query))
        finally:
            self.stack.platform.faults.clear()

    async def _answer(self, query: str) -> list[dict[str, Any]]:
        response = await self.stack.client.post("/graphql", json={"query": query}, headers=self._headers)
        self.seen |= set(TYPENAME.findall(response.text))
        return [response.json()]

    async def _heard(self, query: str) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(LISTENS_SECONDS), aclosing(self._events(query)) as events:
                async for event in events:
                    heard.append(event)
                    if len(heard) == MOST_EVENTS:
                        break
        self.seen |= set(TYPENAME.findall(json.dumps(heard, separators=(",", ":"))))
        return heard

    async def _events(self, query: str) -> AsyncGenerator[dict[str, Any], None]:
        headers = self._headers | {"accept": ACCEPTS["event stream"]}
        async with self.stack.client.stream("POST", "/graphql", json={"query": query}, headers=headers) as response:
            if response.headers["content-type"].startswith(ACCEPTS["event stream"]):
                async for event in event_stream(response):
                    yield event
            else:
                yield json.loads(await response.aread())

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
