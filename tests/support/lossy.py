"""A proxy in front of an embedded service that loses, delays or replaces answers after the service was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.support.stack import Stack, embedded_stack


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How an answer is lost or changed.

    Attributes:
        late: seconds before the request is forwarded, also if its sender has disconnected.
        asks: whether the request is forwarded at all.
        instead: bytes sent instead of the answer, before the connection closes.
        head: whether the answer's head is forwarded.
        hangs: whether the connection stays open afterwards; otherwise it is cut.
        edit: changes the answer's bytes; nothing is lost then.
    """

    late: float = 0.0
    asks: bool = True
    instead: bytes | None = None
    head: bool = False
    hangs: bool = False
    edit: Callable[[bytes], bytes] | None = None


SEND_PATH = "/messages"
"""The end of the path of a request that sends a message to Letta."""
CUT = Loss()
MUTE = Loss(hangs=True)
HEAD_THEN_CUT = Loss(head=True)
HEAD_THEN_NOTHING = Loss(head=True, hangs=True)


def answered(status: int, body: bytes = b"", *, asks: bool = True, **headers: str) -> Loss:
    """Return a loss with another answer, with or without forwarding the request."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Loss(asks=asks, instead="\r\n".join([*lines, "", ""]).encode() + body)


def cut_after(chunks: int) -> Loss:
    """Return a loss that cuts a streamed answer after a number of chunks."""
    left = chunks

    def cutting(data: bytes) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError
        return data

    return Loss(edit=cutting)


@dataclass
class Lossy:
    """The proxy. ``losses`` has the losses by the end of the path; each is used once."""

    target: str = ""
    url: str = ""
    losses: list[tuple[str, Loss]] = field(default_factory=list)
    edits: list[tuple[str, Loss]] = field(default_factory=list)

    def lose(self, path: str, loss: Loss, times: int = 1) -> None:
        """Lose the answers to the next POST requests with this end of the path."""
        (self.edits if loss.edit else self.losses).extend([(path, loss)] * times)

    def take(self, method: str, path: str) -> Loss | None:
        path = path.partition("?")[0]
        for waiting in (self.losses, self.edits):
            for one in waiting:
                if method == "POST" and path.endswith(one[0]):
                    waiting.remove(one)
                    return one[1]
        return None


@asynccontextmanager
async def lossy_stack(**settings: Any) -> AsyncIterator[tuple[Stack, Lossy]]:
    """Run an embedded stack with the proxy in front of Letta or another ``service``."""
    service = settings.pop("service", "letta")
    async with lossy_proxy() as proxy, embedded_stack(**{f"{service}_base_url": proxy.url}, **settings) as stack:
        proxy.target = stack.servers[service].url
        yield stack, proxy


@asynccontextmanager
async def lossy_proxy() -> AsyncIterator[Lossy]:
    proxy, tasks = Lossy(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await _one(proxy, reader, writer)
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(proxy: Lossy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one request of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = await request_body(reader, fields)
    method, path, _ = lines[0].split(" ", 2)
    loss = proxy.take(method, path)
    if loss is not None and loss.late:
        await asyncio.sleep(loss.late)
    if loss is not None and not loss.asks:
        writer.write(loss.instead or b"")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        return
    kept = [
        line
        for line in lines[1:]
        if line and not line.lower().startswith(("connection:", "transfer-encoding:", "content-length:"))
    ]
    asked = "\r\n".join([lines[0], *kept, "connection: close", f"content-length: {len(body)}", "", ""]).encode(
        "latin-1"
    )
    where = urlsplit(proxy.target)
    theirs, ours = await asyncio.open_connection(where.hostname, where.port)
    try:
        ours.write(asked + body)
        answer_head = await theirs.readuntil(b"\r\n\r\n")
        await _answer(loss, theirs, writer, answer_head)
    finally:
        ours.transport.abort()


async def _answer(loss: Loss | None, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    if loss is None or loss.edit is not None:
        await (_passed(theirs, writer, head) if loss is None else _edited(loss, theirs, writer, head))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        return
    if loss.instead is not None:
        await theirs.read()
        writer.write(loss.instead)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        return
    if loss.head:
        writer.write(head)
        await writer.drain()
    if loss.hangs:
        await asyncio.sleep(3600)


async def _passed(theirs: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(head)
    while data := await theirs.read(65536):
        writer.write(data)
        await writer.drain()


async def _edited(loss: Loss, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    """Forward a chunked answer, edited chunk by chunk, as one that ends with its connection."""
    assert loss.edit is not None
    assert b"transfer-encoding: chunked" in head.lower()
    lines = [
        line for line in head.split(b"\r\n") if not line.lower().startswith((b"transfer-encoding:", b"connection:"))
    ]
    writer.write(b"\r\n".join([lines[0], b"connection: close", *lines[1:]]))
    while size := int(await theirs.readuntil(b"\r\n"), 16):
        writer.write(loss.edit(await theirs.readexactly(size)))
        await writer.drain()
        await theirs.readexactly(2)


async def request_body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    """Read a request's body. ``fields`` has the headers, with names in lower case."""
    if "chunked" not in fields.get("transfer-encoding", ""):
        return await reader.readexactly(int(fields.get("content-length", 0)))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
