"""Readers of streams at a gateway that is stopped by a signal, at each endpoint."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from tests.support.stack import until
from tests.support.websocket import PROTOCOL

SLACK = 4.0
"""How much longer an operation can take on a busy machine, in seconds."""

LONG = "[[tokens=5000 delay=0.02]]"
SUBSCRIPTION = """subscription($k: ID!, $t: String!) {
  completion(streamKey: $k, input: {model: "gpt-4o-mini", messages: [{role: USER, content: $t}]}) {
    __typename cursor
    ... on TextDelta { text }
    ... on ReaderDetached { reason }
    ... on StreamEnded { outcome }
  }
}"""


def asked(text: str) -> dict[str, Any]:
    return {"query": SUBSCRIPTION, "variables": {"k": uuid.uuid4().hex, "t": text}}


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
    """A client that reads a stream. ``began`` is set when tokens have come."""

    def __init__(self, gateway: Gateway, text: str) -> None:
        self.gateway = gateway
        self.text = text
        self.began = asyncio.Event()
        self.heard = ""

    async def read(self) -> str:
        """Read to the end, and return everything that came."""
        raise NotImplementedError

    def hear(self, piece: str) -> None:
        self.heard += piece
        if "tok1" in self.heard:
            self.began.set()

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
    async def read(self) -> str:
        async with signed_in(self.gateway) as socket:
            await tell(socket, id="1", type="subscribe", payload=asked(self.text))
            while "tok1" not in self.heard:
                self.hear(str(await socket.recv()))
            messages, self.code = await rest_of(socket)
        self.messages = messages
        self.heard += json.dumps(messages)
        return self.heard

    def check_detached(self) -> None:
        detached, complete, ping = self.messages[-3:]
        assert detached["payload"]["data"]["completion"]["reason"] == "DRAINING"
        assert int(detached["payload"]["data"]["completion"]["cursor"]) > 1
        assert complete == {"id": "1", "type": "complete"}
        assert ping == {"type": "ping", "payload": {"reason": "DRAINING"}}
        assert self.code == 1001


class SseReader(Reader):
    async def read(self) -> str:
        return await self.post("/graphql", asked(self.text), accept="text/event-stream")

    def check_detached(self) -> None:
        *_, last, end = self.heard.removesuffix("\n\n").split("\n\n")
        assert ('"reason":"DRAINING"' in last, end.endswith("event: complete\ndata:")) == (True, True)


class MultipartReader(Reader):
    async def read(self) -> str:
        accept = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json'
        return await self.post("/graphql", asked(self.text), accept=accept)

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
            await asyncio.wait([began, task], return_when=asyncio.FIRST_COMPLETED)
            began.cancel()
            assert reader.began.is_set(), task.result()
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
