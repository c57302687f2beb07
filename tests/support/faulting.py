"""A proxy in front of a service that answers chosen requests with faults, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.support.lossy import request_body

MARK = "SECRET-OF-THE-UPSTREAM"
"""A text in all faulty answers. No client may get it."""

AT_ONCE = ("cut", "garbage", "429", "500", "503", "huge", "wrong type", "wrong shape", "redirect")
"""The faults that a caller notices without a timeout."""
LATE = ("hang before headers", "hang in body", "drip")
CONNECTION = ("refused", "slow connect")
FAULTS = (*CONNECTION, *LATE[:2], *AT_ONCE, LATE[2])
"""All faults, in the order of the table."""

REFUSALS = ("429", "503", "redirect")
"""The faults in which the service does not carry out the request. In the others, only the answer is wrong."""

HUGE_BYTES = 1_500_000
DRIP_SECONDS = 0.1
"""The time between two bytes of a dripping answer, so that no event is complete within the timeouts."""

_STATUS = {"429": "", "500": "", "503": "retry-after: 7\r\n", "redirect": f"location: http://{MARK}.test/\r\n"}


class Planned(NamedTuple):
    """The fault of a request's calls. Only calls with this method and end of the path have the fault."""

    fault: str
    method: str
    path: str


class _Answer(NamedTuple):
    media_type: str
    body: bytes


@dataclass
class FaultyService:
    """The proxy.

    Attributes:
        plans: the faults, by the request id that the caller sends.
        seen: the number of calls that a plan's method and path match, by the request id.
        patience: how much slower an answer drips.
    """

    target: str = ""
    port: int = 0
    plans: dict[str, Planned] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    patience: float = 1.0
    _server: asyncio.Server | None = None
    _stalled: list[socket.socket] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Accept connections, at the same port as before."""
        self._release()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self, *, stall: bool = False) -> None:
        """Refuse connections, or with ``stall``, let them hang: the queue of the listening socket is full."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)  # a connection that has arrived gets its task
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not stall:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(0)
        self._stalled = [listener, *(_connecting(self.port) for _ in range(3))]

    def _release(self) -> None:
        while self._stalled:
            self._stalled.pop().close()

    async def aclose(self) -> None:
        self._release()
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await self._one(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await request_body(reader, fields)
        method, path, _ = lines[0].split(" ", 2)
        request_id = fields.get("x-request-id", "")
        plan = self.plans.get(request_id)
        matches = plan is not None and (plan.method == method and path.partition("?")[0].endswith(plan.path))
        if plan is not None and matches:
            self.seen[request_id] += 1
        fault = plan.fault if plan is not None and matches else ""
        if fault in REFUSALS:
            _reply(writer, fault, is_stream=False)
        else:
            await self._pass(fault, (lines, body), reader, writer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def _pass(
        self, fault: str, request: tuple[list[str], bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Let the service carry out the request, and then damage its answer."""
        lines, body = request
        where = urlsplit(self.target)
        theirs, ours = await asyncio.open_connection(where.hostname, where.port)
        try:
            dropped = ("connection:", "transfer-encoding:", "content-length:")
            kept = [line for line in lines if line and not line.lower().startswith(dropped)]
            framing = ["connection: close", f"content-length: {len(body)}", "", ""]
            ours.write("\r\n".join([*kept, *framing]).encode("latin-1") + body)
            if not fault:
                while data := await theirs.read(65536):
                    writer.write(data)
                    await writer.drain()
                return
            answer = await _whole(theirs)
        finally:
            ours.transport.abort()
        if fault in {"500", "huge", "wrong type", "wrong shape"}:
            _reply(writer, fault, is_stream="event-stream" in answer.media_type)
        elif fault == "garbage":
            writer.write(f"\x00\xff {MARK}\r\n\r\n".encode("latin-1"))
        else:
            await _damage(fault, answer, reader, writer, DRIP_SECONDS * self.patience)


async def _whole(reader: asyncio.StreamReader) -> _Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    body = await reader.read() if "chunked" not in fields.get("transfer-encoding", "") else await _chunks(reader)
    return _Answer(fields.get("content-type", "application/json"), body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return body


async def _damage(
    fault: str, answer: _Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip_seconds: float
) -> None:
    if fault == "hang before headers":
        await reader.read()  # until the caller leaves
        return
    writer.write(_head(200, answer.media_type))
    if fault == "drip":
        for at in range(len(answer.body)):
            _chunk(writer, answer.body[at : at + 1])
            await writer.drain()
            await asyncio.sleep(drip_seconds)
        writer.write(b"0\r\n\r\n")
        return
    _chunk(writer, answer.body[: len(answer.body) // 2])
    await writer.drain()
    if fault == "hang in body":
        await reader.read()
        return
    await asyncio.sleep(0.02)  # a reset discards what the peer has not read yet
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _reply(writer: asyncio.StreamWriter, fault: str, *, is_stream: bool) -> None:
    """Answer instead of the service."""
    if fault in _STATUS:
        status = 302 if fault == "redirect" else int(fault)
        writer.write(_head(status, "application/json", _STATUS[fault]))
        _chunk(writer, b'{"detail":"%b"}' % MARK.encode())
    elif fault == "wrong type":
        writer.write(_head(200, "text/html"))
        _chunk(writer, b"<html>%b</html>" % MARK.encode())
    elif is_stream:
        writer.write(_head(200, "text/event-stream"))
        is_huge = fault == "huge"
        _chunk(writer, b'data: {"x":"' + b"x" * HUGE_BYTES if is_huge else b'data: {"unexpected":"event"}\n\n')
    else:
        writer.write(_head(200, "application/json"))
        _chunk(writer, b'{"unexpected":"%b"}' % MARK.encode() + b" " * (HUGE_BYTES if fault == "huge" else 0))
    writer.write(b"0\r\n\r\n")


def _head(status: int, media_type: str, more: str = "") -> bytes:
    framing = "transfer-encoding: chunked\r\nconnection: close\r\n"
    return f"HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\n{framing}{more}\r\n".encode()


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _connecting(port: int) -> socket.socket:
    """Return a socket that fills the queue of a listening socket."""
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(("127.0.0.1", port))
    return filler


@asynccontextmanager
async def faulty_service() -> AsyncIterator[FaultyService]:
    service = FaultyService()
    await service.listen()
    try:
        yield service
    finally:
        await service.aclose()
