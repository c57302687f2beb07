"""Readers of streams at a gateway that is stopped by a signal, at each endpoint."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app import devtokens
from app.embedded import http_client
from app.embedded.people import ADA
from app.rest.secrets import agent_secret
from tests.support.process import Gateway
from tests.support.settings import settings_of
from tests.support.sse import parsed
from tests.support.stack import until
from tests.support.websocket import PROTOCOL

SLACK = 4.0
"""How much longer an operation can take on a busy machine, in seconds."""

BEGIN_SECONDS = 50.0
"""The time in which a stream begins on a busy machine."""

LONG = "[[tokens=5000 delay=0.02]]"
EVENTS = """{
    __typename cursor
    ... on StreamStarted { stream { id } }
    ... on TextDelta { text }
    ... on ReaderDetached { reason }
    ... on StreamEnded { outcome }
  }"""
SUBSCRIPTION = """subscription($k: ID!, $t: String!) {
  completion(streamKey: $k, input: {model: "gpt-4o-mini", messages: [{role: USER, content: $t}]}) EVENTS
}""".replace("EVENTS", EVENTS)
SEND = """subscription($k: ID!, $t: String!, $to: ID!) {
  message(streamKey: $k, input: {to: {conversationId: $to}, content: [{text: $t}]}) EVENTS
}""".replace("EVENTS", EVENTS)
RESUME = f"subscription($id: ID!, $after: String) {{ stream(id: $id, after: $after) {EVENTS} }}"


def asked(text: str) -> dict[str, Any]:
    return {"query": SUBSCRIPTION, "variables": {"k": uuid.uuid4().hex, "t": text}}


def sent(conversation_id: str, text: str) -> dict[str, Any]:
    return {"query": SEND, "variables": {"k": uuid.uuid4().hex, "t": text, "to": conversation_id}}


def chat(text: str, *, stream: bool = True) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": text}]}


def client(gateway: Gateway) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {gateway.token}"}
    return http_client.client(base_url=gateway.url, headers=headers, timeout=30)


@asynccontextmanager
async def signed_in(gateway: Gateway) -> AsyncIterator[ClientConnection]:
    url = gateway.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        await tell(socket, type="connection_init", payload={"authorization": f"Bearer {gateway.token}"})
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        yield socket


async def tell(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def rest_of(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Read messages until the socket closes, and return them with the close code."""
    messages = []
    while True:
        try:
            messages.append(json.loads(await socket.recv()))
        except ConnectionClosed:
            assert socket.close_code is not None
            return messages, socket.close_code


class Reader:
    """A client that reads a stream.

    ``began`` is set when the word ``begins`` has come. ``to`` is the conversation of a turn; without ``to``, the
    operation is a completion.
    """

    resumes = False
    """Whether this client continues what a different client has read."""

    def __init__(self, gateway: Gateway, text: str, *, to: str | None = None, begins: str = "tok1") -> None:
        self.gateway = gateway
        self.text = text
        self.payload = asked(text) if to is None else sent(to, text)
        self.begins = begins
        self.began = asyncio.Event()
        self.heard = ""

    async def read(self) -> str:
        """Read to the end, and return everything that came."""
        raise NotImplementedError

    def hear(self, piece: str) -> None:
        self.heard += piece
        if self.begins in self.heard:
            self.began.set()

    def resumed(self, gateway: Gateway, begins: str) -> Reader:
        """Return a client that continues at a different gateway, after the last cursor."""
        reader = type(self)(gateway, self.text, begins=begins)
        variables = {"id": self.events()[0]["stream"]["id"], "after": self.events()[-1]["cursor"]}
        reader.payload, reader.resumes = {"query": RESUME, "variables": variables}, True
        return reader

    def events(self) -> list[dict[str, Any]]:
        """Return the events that have come at a GraphQL endpoint."""
        return [next(iter(payload["data"].values())) for payload in self.payloads()]

    def payloads(self) -> Iterator[dict[str, Any]]:
        """Return the results that have come at a GraphQL endpoint."""
        raise NotImplementedError

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> str:
        """Read the answer in chunks. A client of httpx takes ten times as long."""
        content = json.dumps(body)
        fields = {"authorization": f"Bearer {self.gateway.token}", **headers, "content-type": "application/json"}
        fields |= {"host": "x", "content-length": str(len(content)), "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.gateway.url.rpartition(":")[2]))
        try:
            writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n{content}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            while size := int(await reader.readline(), 16):
                self.hear((await reader.readexactly(size)).decode())
                await reader.readexactly(2)
        finally:
            writer.close()
        return self.heard

    def check_detached(self) -> None:
        assert "DRAINING" in self.heard


class SocketReader(Reader):
    """A WebSocket, which the client closes after the operation if ``resumes``."""

    async def read(self) -> str:
        self.messages: list[dict[str, Any]] = []
        async with signed_in(self.gateway) as socket:
            await tell(socket, id="1", type="subscribe", payload=self.payload)
            with suppress(ConnectionClosed):
                while not (self.resumes and '"complete"' in self.heard):
                    message = str(await socket.recv())
                    self.messages.append(json.loads(message))
                    self.hear(message)
            self.code = socket.close_code
        return self.heard

    def payloads(self) -> Iterator[dict[str, Any]]:
        return (message["payload"] for message in self.messages if message["type"] == "next")

    def check_detached(self) -> None:
        _, complete, ping = self.messages[-3:]
        assert self.events()[-1]["reason"] == "DRAINING"
        assert int(self.events()[-1]["cursor"]) > 1
        assert complete == {"id": "1", "type": "complete"}
        assert ping == {"type": "ping", "payload": {"reason": "DRAINING"}}
        assert self.code == 1001


class SseReader(Reader):
    async def read(self) -> str:
        return await self.post("/graphql", self.payload, accept="text/event-stream")

    def payloads(self) -> Iterator[dict[str, Any]]:
        return (json.loads(event.data) for event in parsed(self.heard) if event.name == "next")

    def check_detached(self) -> None:
        *_, last, end = parsed(self.heard)
        assert '"reason":"DRAINING"' in last.data
        assert 1000 <= (last.retry or 0) <= 3000
        assert (end.name, end.data) == ("complete", "")


class MultipartReader(Reader):
    async def read(self) -> str:
        accept = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json'
        return await self.post("/graphql", self.payload, accept=accept)

    def payloads(self) -> Iterator[dict[str, Any]]:
        parts = [part.partition("\r\n\r\n")[2] for part in self.heard.split("\r\n--graphql")]
        return (message["payload"] for part in parts if part and (message := json.loads(part)))

    def check_detached(self) -> None:
        *_, last, end = self.heard.split("\r\n--graphql")
        assert '"reason":"DRAINING"' in last
        assert end == "--\r\n"


class OpenAiReader(Reader):
    async def read(self) -> str:
        return await self.post("/v1/chat/completions", chat(self.text))

    def check_detached(self) -> None:
        error = json.loads(self.heard.rstrip().splitlines()[-1].removeprefix("data: "))["error"]
        assert error["code"] == "draining"
        assert error["message"] == "The gateway is stopping. Retry the request."
        assert "[DONE]" not in self.heard


class ProxyReader(OpenAiReader):
    async def read(self) -> str:
        secret = agent_secret(devtokens.master_key(settings_of()) or "", ADA)
        path = f"/api/v1/agents/{ADA}/proxy/chat/completions"
        return await self.post(path, chat(self.text), authorization=f"Bearer {secret}")


READERS = [SocketReader, SseReader, MultipartReader, OpenAiReader, ProxyReader]


@asynccontextmanager
async def reading(*readers: Reader) -> AsyncIterator[list[asyncio.Task[str]]]:
    """Read streams, and begin the context when each stream has begun."""
    tasks = [asyncio.create_task(reader.read()) for reader in readers]
    try:
        for reader, task in zip(readers, tasks, strict=True):
            began = asyncio.create_task(reader.began.wait())
            await asyncio.wait([began, task], timeout=BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            began.cancel()
            assert reader.began.is_set(), task.result() if task.done() else (type(reader), reader.heard)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ended(gateway: Gateway, how: signal.Signals) -> list[dict[str, Any]]:
    """Wait until a signal has ended the process, and return the log, whose lines are JSON."""
    out, _ = await gateway.process.communicate()
    assert gateway.process.returncode in {-how, 128 + how}
    lines = out.decode().splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith("{")), len(lines))
    return [json.loads(line) for line in lines[start:]]


def announced(log: list[dict[str, Any]]) -> str:
    return next(str(line["message"]) for line in log if line["event"] == "stopping")


async def first_agent(gateway: Gateway) -> dict[str, Any]:
    """Return the id of an agent with conversations, and the conversations."""
    query = "{ viewer { agents { nodes { id conversations { nodes { id } } } } } }"
    async with client(gateway) as http:
        nodes = (await http.post("/graphql", json={"query": query})).json()["data"]["viewer"]["agents"]["nodes"]
    agent: dict[str, Any] = next(node for node in nodes if node["conversations"]["nodes"])
    return agent


async def draining(gateway: Gateway) -> None:
    """Wait until the health check says that the gateway drains."""
    async with client(gateway) as http:

        async def says_so() -> bool:
            return (await http.get("/health")).status_code == 503

        await until(says_so)
