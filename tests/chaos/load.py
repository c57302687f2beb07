"""Mixed load of random users: queries, mutations, streams, clients that leave early, and invalid requests."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException

from app import devtokens
from app.embedded import http_client
from app.embedded.people import ADA, GRACE
from tests.support.resuming import COMPLETION
from tests.support.stack import GraphQLSocket
from tests.support.websocket import connecting

WORKERS = 24


@dataclass
class Answers:
    """What the gateway has answered. ``internal`` has the errors that no client may ever receive."""

    requests: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    internal: list[str] = field(default_factory=list)


def headers(user: str) -> dict[str, str]:
    """Return the headers of a signed-in user."""
    token = devtokens.make_token(devtokens.signing_key(), user_id=user, email="one@example.com")
    return {"authorization": f"Bearer {token}"}


class Load:
    """Random requests of random users to one gateway. Clients also leave early and send invalid requests."""

    def __init__(self, url: str, page: str, answers: Answers) -> None:
        self.url = url
        self._page = page
        self._answers = answers
        self._chance = random.Random(13)
        self._headers = {user: headers(user) for user in (ADA, GRACE)}
        self._acts: list[Callable[[httpx.AsyncClient, str], Awaitable[None]]] = [
            self._query, self._invalid, self._mutation, self._message,
            self._v1, self._v1_stream, self._sse, self._socket,
        ]  # fmt: skip

    async def run(self, seconds: float) -> None:
        """Send requests for a time. Then end all faults."""
        end = time.monotonic() + seconds
        breaking = asyncio.create_task(self._break())
        try:
            await asyncio.gather(*(self._work(end) for _ in range(WORKERS)))
        finally:
            breaking.cancel()
            await asyncio.gather(breaking, return_exceptions=True)
            async with http_client.client() as client:
                await client.delete(f"{self._page}faults")

    async def _work(self, end: float) -> None:
        while time.monotonic() < end:
            user = self._chance.choice([ADA, GRACE])
            act = self._chance.choice(self._acts)
            self._answers.requests[act.__name__.strip("_")] += 1
            try:
                async with (
                    asyncio.timeout(20),
                    http_client.client(base_url=self.url, headers=self._headers[user], timeout=20) as client,
                ):
                    await act(client, user)
            except (httpx.HTTPError, OSError, ConnectionClosed, WebSocketException, TimeoutError) as error:
                self._answers.codes[type(error).__name__] += 1

    async def _break(self) -> None:
        faults: list[dict[str, Any]] = [
            {"down": True}, {"hang": True}, {"latency": 0.5}, {"status": 500}, {"status": 503}, {"cut_after": 20}, {},
        ]  # fmt: skip
        async with http_client.client() as client:
            while True:
                service = self._chance.choice(["ams", "letta", "litellm"])
                await client.put(f"{self._page}faults", json={"service": service, **self._chance.choice(faults)})
                await asyncio.sleep(0.7)
                await client.delete(f"{self._page}faults")
                await asyncio.sleep(0.7)

    def _took(self, body: dict[str, Any]) -> None:
        errors = body.get("errors") or []
        for error in errors:
            code = error.get("extensions", {}).get("code", "?")
            self._answers.codes[code] += 1
            if code == "INTERNAL_ERROR":
                self._answers.internal.append(str(error))
        if not errors:
            self._answers.codes["ok"] += 1

    async def _ask(self, client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
        body: dict[str, Any] = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
        self._took(body)
        return body

    async def _query(self, client: httpx.AsyncClient, _: str) -> None:
        fields = "id name model { id } conversations(first: 3) { nodes { id messages(last: 3) { nodes { id } } } }"
        await self._ask(
            client, f"{{ viewer {{ id budget {{ spentUsd }} agents(first: 5) {{ nodes {{ {fields} }} }} }} }}"
        )

    async def _invalid(self, client: httpx.AsyncClient, _: str) -> None:
        await self._ask(
            client, self._chance.choice(["{ nothing }", "{", "query { viewer { id ", '{ agent(id: "x") { id } }'])
        )

    async def _agent(self, client: httpx.AsyncClient) -> str | None:
        data = (await self._ask(client, "{ viewer { agents(first: 1) { nodes { id } } } }")).get("data") or {}
        nodes = ((data.get("viewer") or {}).get("agents") or {}).get("nodes") or [None]
        return None if nodes[0] is None else str(nodes[0]["id"])

    async def _mutation(self, client: httpx.AsyncClient, _: str) -> None:
        query = """mutation($agent: ID!, $key: String!) {
          createConversation(input: { agentId: $agent, idempotencyKey: $key }) { conversationEdge { node { id } } }
        }"""
        agent = await self._agent(client)
        if agent is None:
            return
        made = await self._ask(client, query, agent=agent, key=str(uuid.uuid4()))
        if made.get("data"):
            delete = (
                "mutation($id: ID!) { deleteConversation(input: { conversationId: $id }) { deletedConversationId } }"
            )
            await self._ask(client, delete, id=made["data"]["createConversation"]["conversationEdge"]["node"]["id"])

    def _chat(self, *, stream: bool) -> dict[str, Any]:
        text = self._chance.choice(
            ["tokens=20 delay=0.01", "tokens=500 delay=0.01", "error=500", "hang", "tokens=5 cut"]
        )
        return {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": f"hi [[{text}]]"}]}

    async def _v1(self, client: httpx.AsyncClient, _: str) -> None:
        async with asyncio.timeout(self._chance.choice([0.2, 2])):
            answer = await client.post("/v1/chat/completions", json=self._chat(stream=False))
            self._answers.codes[str(answer.status_code)] += 1

    async def _v1_stream(self, client: httpx.AsyncClient, _: str) -> None:
        async with client.stream("POST", "/v1/chat/completions", json=self._chat(stream=True)) as answer:
            await self._leave(answer)

    async def _sse(self, client: httpx.AsyncClient, _: str) -> None:
        body = {"query": COMPLETION, "variables": {"key": str(uuid.uuid4()), "input": self._input()}}
        async with client.stream("POST", "/graphql", json=body, headers={"accept": "text/event-stream"}) as answer:
            await self._leave(answer)

    def _input(self) -> dict[str, Any]:
        body = self._chat(stream=False)
        return {"model": body["model"], "messages": [{"role": "USER", "content": body["messages"][0]["content"]}]}

    async def _leave(self, answer: httpx.Response) -> None:
        """Read a random number of chunks."""
        self._answers.codes[str(answer.status_code)] += 1
        left = self._chance.randrange(60)
        async with asyncio.timeout(3):
            async for _ in answer.aiter_bytes():
                left -= 1
                if left < 0:
                    return

    async def _socket(self, _: httpx.AsyncClient, user: str) -> None:
        await self._subscribe(user, COMPLETION, {"key": str(uuid.uuid4()), "input": self._input()})

    async def _message(self, client: httpx.AsyncClient, _: str) -> None:
        query = """mutation($agent: ID!, $key: String!) {
          sendMessage(input: { to: { agentId: $agent }, content: [{ text: "hi" }], idempotencyKey: $key }) {
            run { id }
          }
        }"""
        if (agent := await self._agent(client)) is not None:
            await self._ask(client, query, agent=agent, key=str(uuid.uuid4()))

    async def _subscribe(self, user: str, query: str, variables: dict[str, Any]) -> None:
        async with asyncio.timeout(3), connecting(self.url) as connection:
            socket = GraphQLSocket(connection)
            await socket.tell(type="connection_init", payload=self._headers[user])
            await socket.hear()
            await socket.subscribe(query, variables)
            for _ in range(self._chance.randrange(60)):
                message = await socket.hear()
                if message["type"] == "complete":
                    return
                if message["type"] == "error":
                    self._took({"errors": message["payload"]})
