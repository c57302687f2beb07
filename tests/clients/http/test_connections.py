"""Connections: reuse, limits, timeouts, cancellation, backpressure, TLS and addresses."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trustme

from clients.causes import cause_of
from clients.http import dialing, pool
from clients.http.answer import MAX_BUFFERED
from clients.http.connection import Connection
from clients.http.errors import IdleConnectionDropped
from clients.http.messages import Origin, RawRequest, Timeouts
from clients.http.transport import FRESH, HttpTransport
from tests.clients.http.calling import call, request
from tests.support.rawserver import RawServer, Talk, raw_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"


async def answering(talk: Talk) -> None:
    while True:
        await talk.request()
        await talk.send(OK)


async def silent(talk: Talk) -> None:
    await talk.request()
    await talk.reader.read()


# Reuse


async def test_a_connection_is_used_again_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.1)
    ended = asyncio.Event()

    async def serve(talk: Talk) -> None:
        with suppress(asyncio.IncompleteReadError):
            await answering(talk)
        ended.set()

    async with raw_server(serve) as server, HttpTransport() as transport:
        for _ in range(5):
            await call(transport, server.url)
        assert [talk.requests for talk in server.talks] == [5]
        await ended.wait()  # the client closes the expired connection by itself
        await call(transport, server.url)
        assert [talk.requests for talk in server.talks] == [5, 1]


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
async def test_a_request_is_sent_once_when_an_idle_connection_is_dropped(
    method: str, is_reset: bool, transport: HttpTransport
) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK)
        await talk.request()
        if is_reset:
            await talk.reset()

    async with raw_server(serve) as server:
        await call(transport, server.url)
        with pytest.raises(IdleConnectionDropped):
            await call(transport, server.url, method)
        assert [talk.requests for talk in server.talks] == [2]


async def test_a_fresh_connection_is_new_and_is_not_kept(transport: HttpTransport) -> None:
    async with raw_server(answering) as server:
        await call(transport, server.url)
        await call(transport, server.url, extensions={FRESH: True})
        await call(transport, server.url)
        assert [talk.requests for talk in server.talks] == [2, 1]


async def test_256_requests_at_once_get_their_own_answers(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        while True:
            head, _ = await talk.request()
            path = head.split(b" ")[1]
            await talk.send(HEAD + b"content-length: %d\r\n\r\n" % len(path), path)

    async with raw_server(serve) as server:
        for _ in range(3):
            seen = await asyncio.gather(*(call(transport, f"{server.url}/{number}") for number in range(256)))
            assert [one.body for one in seen] == [b"/%d" % number for number in range(256)]
        assert len(server.talks) <= 256


# Limits


async def test_waiting_requests_get_connections_in_their_order() -> None:
    order: list[bytes] = []
    go_on = asyncio.Event()

    async def serve(talk: Talk) -> None:
        while True:
            head, _ = await talk.request()
            order.append(head.split(b" ")[1])
            await go_on.wait()
            await talk.send(OK)

    async with raw_server(serve) as server, HttpTransport(limit=1) as transport:
        calls = []
        for number in range(20):
            calls.append(asyncio.create_task(call(transport, f"{server.url}/{number}")))
            await asyncio.sleep(0)
        while not order:
            await asyncio.sleep(0)
        calls[3].cancel()
        go_on.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert order == [b"/%d" % number for number in range(20) if number != 3]
        assert len(server.talks) == 1
        assert transport.in_use == 0


async def test_a_request_that_gets_no_connection_in_time_is_a_pool_timeout() -> None:
    async with raw_server(silent) as server, HttpTransport(limit=1) as transport:
        first = asyncio.create_task(call(transport, server.url))
        while not server.talks:
            await asyncio.sleep(0)
        with pytest.raises(httpx.PoolTimeout):
            await call(transport, server.url, pool=0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert transport.in_use == 0


async def test_a_cancellation_at_the_moment_of_the_pool_timeout_is_a_cancellation() -> None:
    async with raw_server(silent) as server, HttpTransport(limit=1) as transport:
        holding = asyncio.create_task(call(transport, server.url))
        while not (server.talks and server.talks[0].requests):
            await asyncio.sleep(0)
        waiting = asyncio.create_task(call(transport, server.url, pool=0.01))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.012, waiting.cancel)
        time.sleep(0.03)  # noqa: ASYNC251 - both timers are due in the same turn of the loop
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert waiting.cancelled()
        holding.cancel()
        with suppress(asyncio.CancelledError):
            await holding
        assert transport.in_use == 0


async def test_closing_the_transport_opens_no_connection_for_waiting_requests() -> None:
    async with raw_server(silent) as server:
        async with HttpTransport(limit=1) as transport:
            calls = [asyncio.create_task(call(transport, server.url)) for _ in range(3)]
            while not (server.talks and server.talks[0].requests):
                await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [httpx.ReadError, httpx.ConnectError, httpx.ConnectError]
        assert len(server.talks) == 1


async def test_a_fresh_connection_replaces_an_idle_one_at_the_limit() -> None:
    async with raw_server(answering) as server, HttpTransport(limit=1) as transport:
        await call(transport, server.url)
        await call(transport, server.url, extensions={FRESH: True})
        await call(transport, server.url)
        assert [talk.requests for talk in server.talks] == [1, 1, 1]


@pytest.mark.parametrize(("tls", "count"), [(False, 1000), (True, 200)])
async def test_random_cancellations_lose_no_connection(tls: bool, count: int) -> None:
    chance = random.Random(14)
    authority, served, trusted = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(served)
    authority.configure_trust(trusted)

    async def serve(talk: Talk) -> None:
        while True:
            await talk.request()
            for piece in (HEAD + b"content-length: 20\r\n\r\n", b"x" * 10, b"x" * 10):
                for _ in range(chance.randrange(6)):
                    await asyncio.sleep(0)
                talk.writer.write(piece)

    async def one(limited: HttpTransport, url: str) -> None:
        fresh = {FRESH: True} if chance.random() < 0.2 else {}
        seen = await call(limited, url, extensions=fresh, connect=5, read=5, pool=30)
        assert seen.body == b"x" * 20

    cancelled = 0
    async with (
        raw_server(serve, tls=served if tls else None) as server,
        HttpTransport(limit=10, tls=trusted) as limited,
    ):
        while cancelled < count:
            calls = [asyncio.create_task(one(limited, server.url)) for _ in range(100)]
            doomed = chance.sample(calls, 60)
            for task in doomed:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            cancelled += sum(isinstance(end, asyncio.CancelledError) for end in ends)
            assert [end for end in ends if not isinstance(end, asyncio.CancelledError | None)] == []
        assert limited.in_use == 0
        seen = await asyncio.gather(*(call(limited, server.url) for _ in range(20)))
        assert [answer.body for answer in seen] == [b"x" * 20] * 20
        assert limited.in_use == 0


# Timeouts


async def test_a_call_that_is_cancelled_when_it_has_connected_leaves_no_connection(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connections() -> int:
        return sum(type(one) is Connection for one in gc.get_objects())

    async def is_cancelled(url: str) -> bool:
        try:
            await call(transport, url)
        except asyncio.CancelledError:
            return True
        return False

    calls: list[asyncio.Task[bool]] = []
    made = Connection.connection_made

    def cancelling(self: Connection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        calls[0].cancel()

    monkeypatch.setattr(Connection, "connection_made", cancelling)
    async with raw_server(silent) as server:
        gc.collect()
        before = connections()
        gc.disable()
        try:
            calls.append(asyncio.create_task(is_cancelled(server.url)))
            await asyncio.wait(calls)
            assert calls.pop().result()
            for _ in range(5):
                await asyncio.sleep(0)
            assert connections() == before
        finally:
            gc.enable()


async def test_a_silent_server_is_a_read_timeout(transport: HttpTransport) -> None:
    async with raw_server(silent) as server:
        with pytest.raises(httpx.ReadTimeout):
            await call(transport, server.url, read=0.05)


async def test_a_body_that_stops_is_a_read_timeout(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(HEAD + b"content-length: 9\r\n\r\nabc")
        await talk.reader.read()

    async with raw_server(serve) as server:
        with pytest.raises(httpx.ReadTimeout):
            await call(transport, server.url, read=0.05)


async def test_a_slow_body_is_no_read_timeout(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        for byte in HEAD + b"content-length: 9\r\n\r\n123456789":
            await talk.send(bytes([byte]))
            await asyncio.sleep(0.025)

    async with raw_server(serve) as server:
        assert (await call(transport, server.url, read=1.0)).body == b"123456789"


@pytest.mark.parametrize("begun", [b"", HEAD + b"content-length: 9\r\n\r\nabc"])
async def test_a_call_ends_at_its_deadline(begun: bytes, transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(begun)
        await talk.reader.read()

    async with raw_server(serve) as server:
        with pytest.raises(TimeoutError):
            await read(transport, raw(server, deadline=time.monotonic() + 0.05))


async def test_a_deadline_can_be_moved_and_is_checked_late_on_a_kept_connection(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK)
        await silent(talk)

    async with raw_server(serve) as server:
        await read(transport, raw(server, deadline=time.monotonic() + 1000))
        with pytest.raises(TimeoutError):  # the connection's timer was set to the first deadline
            await transport.send(raw(server, deadline=time.monotonic() + 0.05))
        assert [talk.requests for talk in server.talks] == [2]


async def read(transport: HttpTransport, sent: RawRequest) -> bytes:
    return await (await transport.send(sent)).read(100)


def raw(server: RawServer, method: str = "GET", *, scheme: str = "http", **options: Any) -> RawRequest:
    return RawRequest(
        origin=Origin(scheme, "127.0.0.1" if scheme == "http" else "localhost", server.port),
        method=method,
        head=b"%b / HTTP/1.1\r\nhost: x\r\n" % method.encode(),
        **options,
    )


@contextmanager
def full_backlog(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Listen on a port that answers no further connection, and return the port."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_full_backlog_is_a_connect_timeout(transport: HttpTransport) -> None:
    with full_backlog() as port:
        with pytest.raises(httpx.ConnectTimeout):
            await call(transport, f"http://127.0.0.1:{port}", connect=0.1)
        with pytest.raises(TimeoutError):
            await transport.send(
                RawRequest(Origin("http", "127.0.0.1", port), "GET", b"", deadline=time.monotonic() + 0.1)
            )


async def test_a_handshake_that_stops_is_a_connect_timeout(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.reader.read()

    async with raw_server(serve) as server:
        with pytest.raises(httpx.ConnectTimeout):
            await call(transport, server.url.replace("http", "https"), connect=0.1)


async def test_a_server_that_does_not_read_is_a_write_timeout(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with raw_server(serve) as server:
        with pytest.raises(httpx.WriteTimeout):
            await call(transport, server.url, "POST", body=b"x" * 64_000_000, write=0.1)


async def test_a_refused_connection_is_a_connect_error_with_its_cause(transport: HttpTransport) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        await call(transport, "http://127.0.0.1:1/")
    assert cause_of(caught.value) == "connection refused"
    with pytest.raises(httpx.UnsupportedProtocol):
        await call(transport, "ftp://127.0.0.1/")


# Bodies


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 5_000_000])
async def test_a_body_is_sent_whole(size: int, transport: HttpTransport) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def serve(talk: Talk) -> None:
        while True:
            seen.append(await talk.request())
            await talk.send(OK)

    body = random.Random(size).randbytes(size)
    async with raw_server(serve) as server:
        for _ in range(2):
            await call(transport, server.url, "POST", body=body, write=30)
        assert len(server.talks) == 1
    assert [given for _, given in seen] == [body, body]
    assert b"\r\ncontent-length: %d\r\n" % size in seen[0][0].lower()
    assert b"transfer-encoding" not in seen[0][0].lower()


async def test_a_body_that_is_made_while_it_is_sent_has_a_length(transport: HttpTransport) -> None:
    async def made() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    seen: list[tuple[bytes, bytes]] = []

    async def serve(talk: Talk) -> None:
        seen.append(await talk.request())
        await talk.send(OK)

    async with raw_server(serve) as server:
        response = await transport.handle_async_request(httpx.Request("POST", server.url, content=made()))
        await response.aread()
    assert seen[0][1] == b"ab"
    assert b"transfer-encoding" not in seen[0][0].lower()


@pytest.mark.parametrize(("status", "is_read"), [(413, False), (200, True)])
async def test_an_answer_may_arrive_before_the_request_is_written(
    status: int, is_read: bool, transport: HttpTransport
) -> None:
    size, read = 20_000_000, asyncio.Event()

    async def serve(talk: Talk) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        await talk.send(b"HTTP/1.1 %d X\r\ntransfer-encoding: chunked\r\n\r\n" % status)
        if is_read:
            assert len(await talk.reader.readexactly(size)) == size
            read.set()
        await talk.send(b"2\r\nok\r\n0\r\n\r\n")
        await talk.reader.read()

    async with raw_server(serve) as server:
        seen = await call(transport, server.url, "POST", body=b"x" * size, write=30, read=30)
        assert (seen.status, seen.body, read.is_set()) == (status, b"ok", is_read)


async def test_a_reader_that_lags_stops_the_server(transport: HttpTransport) -> None:
    sent, size = 0, 50_000_000

    async def serve(talk: Talk) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(HEAD + b"content-length: %d\r\n\r\n" % size)
        for _ in range(size // 10_000):
            talk.writer.write(b"x" * 10_000)
            await talk.writer.drain()
            sent += 10_000

    async with raw_server(serve) as server:
        response = await transport.handle_async_request(request(server.url))
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < size / 2  # the buffers of the kernel are some megabytes
        total = largest = 0
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            total, largest = total + len(chunk), max(largest, len(chunk))
        assert total == size
        assert largest <= MAX_BUFFERED + 256 * 1024


async def test_closing_an_answer_before_its_end_closes_the_connection(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(HEAD + b"content-length: 9\r\n\r\nabc")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await talk.request()
        closed.set()

    closed = asyncio.Event()
    async with raw_server(serve) as server:
        response = await transport.handle_async_request(request(server.url))
        assert transport.in_use == 1
        await response.aclose()
        assert transport.in_use == 0
        await closed.wait()


async def test_closing_an_answer_ends_the_task_that_reads_it(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(HEAD + b"content-length: 9\r\n\r\nabc")
        await talk.reader.read()

    async with raw_server(serve) as server:
        answer = await transport.send(raw(server))
        reading = asyncio.create_task(answer.read(100))
        await asyncio.sleep(0)
        await answer.aclose()
        with pytest.raises(httpx.ReadError):
            await reading


@pytest.mark.parametrize("begun", [b"", HEAD + b"content-length: 9\r\n\r\nabc"])
async def test_a_cancellation_closes_the_connection(begun: bytes, transport: HttpTransport) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(begun)
        asked.set()
        with suppress(ConnectionError):
            await talk.reader.read()
        closed.set()

    async with raw_server(serve) as server:
        calling = asyncio.create_task(call(transport, server.url))
        await asked.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert transport.in_use == 0
        await closed.wait()


async def test_closing_the_transport_fails_its_calls() -> None:
    async with raw_server(silent) as server:
        transport = HttpTransport()
        calling = asyncio.create_task(call(transport, server.url))
        while not server.talks or not server.talks[0].requests:
            await asyncio.sleep(0)
        await transport.aclose()
        with pytest.raises(httpx.ReadError):
            await calling
        assert transport.in_use == 0
        with pytest.raises(httpx.ConnectError, match="closed"):
            await call(transport, server.url)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\ny", "a\0"])
async def test_a_request_cannot_be_split_by_a_header(value: str, transport: HttpTransport) -> None:
    async with raw_server(answering) as server:
        sent = httpx.Request("GET", server.url, headers=[(b"x", value.encode())])
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(sent)
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(httpx.Request("GET", server.url, headers=[(value.encode(), b"x")]))
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(httpx.Request(f"GET {value}", server.url))
        assert server.talks == []


async def test_a_cookie_of_one_answer_is_not_sent_with_the_next_call(transport: HttpTransport) -> None:
    seen: list[bytes] = []

    async def serve(talk: Talk) -> None:
        while True:
            seen.append((await talk.request())[0].lower())
            await talk.send(b"HTTP/1.1 302 Found\r\nset-cookie: a=b\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")

    async with raw_server(serve) as server:
        for _ in range(2):
            assert (await call(transport, server.url)).status == 302
    assert len(seen) == 2
    assert b"cookie" not in b"".join(seen)


# TLS


def certificates(name: str, **options: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a certificate for a host name, and a context that trusts its authority."""
    authority, served, trusted = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(name, **options).configure_cert(served)
    served.set_alpn_protocols(["h2", "http/1.1"])
    authority.configure_trust(trusted)
    return served, trusted


async def test_a_trusted_certificate_is_accepted_and_http_1_1_is_negotiated() -> None:
    served, trusted = certificates("localhost")
    names: list[str] = []
    served.sni_callback = lambda _sock, name, _context: names.append(str(name))
    protocols: list[str | None] = []

    async def serve(talk: Talk) -> None:
        protocols.append(talk.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(talk)

    async with raw_server(serve, tls=served) as server, HttpTransport(tls=trusted) as transport:
        for _ in range(2):
            assert (await call(transport, server.url)).body == b"ok"
        assert transport.in_use == 0
    assert (names, protocols) == (["localhost"], ["http/1.1"])


@pytest.mark.parametrize(
    ("name", "options", "is_known", "cause"),
    [
        ("other.example", {}, True, "Hostname mismatch"),
        ("localhost", {}, False, "unable to get local issuer certificate"),
        ("localhost", {"not_after": datetime.now(UTC) - timedelta(days=1)}, True, "certificate has expired"),
    ],
    ids=["wrong name", "unknown authority", "expired"],
)
async def test_a_certificate_that_is_not_trusted_is_a_connect_error(
    name: str, options: dict[str, Any], is_known: bool, cause: str
) -> None:
    served, trusted = certificates(name, **options)
    async with (
        raw_server(answering, tls=served) as server,
        HttpTransport(tls=trusted if is_known else None) as transport,
    ):
        with pytest.raises(httpx.ConnectError) as caught:
            await call(transport, server.url)
        assert cause in (cause_of(caught.value) or "")
        assert transport.in_use == 0
        assert not any(talk.requests for talk in server.talks)


@pytest.mark.parametrize("is_lagging", [False, True], ids=["read at once", "read late"])
@pytest.mark.parametrize("has_alert", [True, False], ids=["alert", "no alert"])
async def test_a_body_without_a_length_is_complete_only_after_a_closure_alert(
    has_alert: bool, is_lagging: bool
) -> None:
    served, trusted = certificates("localhost")
    size = 4 * MAX_BUFFERED
    is_sent = asyncio.Event()

    async def serve(talk: Talk) -> None:
        await talk.request()
        talk.writer.write(HEAD + b"\r\n" + b"a" * size)
        if not has_alert:
            await talk.writer.drain()
            with socket.socket(fileno=os.dup(talk.writer.get_extra_info("socket").fileno())) as sock:
                sock.shutdown(socket.SHUT_WR)
        talk.writer.close()
        is_sent.set()

    async with raw_server(serve, tls=served) as server, HttpTransport(tls=trusted) as transport:
        answer = await transport.send(raw(server, scheme="https"))
        if is_lagging:
            await is_sent.wait()
        if has_alert:
            assert len(await answer.read(2 * size)) == size
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await answer.read(2 * size)
        assert transport.in_use == 0


# Addresses


async def test_an_ipv6_address_is_a_host(transport: HttpTransport) -> None:
    heads: list[bytes] = []

    async def serve(talk: Talk) -> None:
        heads.append((await talk.request())[0])
        await talk.send(OK)

    async with raw_server(serve, host="::1") as server:
        assert (await call(transport, server.url)).body == b"ok"
    assert b"host: [::1]:%d\r\n" % server.port in heads[0].lower()


def resolving(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> list[str]:
    """Resolve every name to addresses. Return the names that are looked up."""
    asked: list[str] = []

    async def resolved(origin: Origin) -> list[dialing.Address]:
        asked.append(origin.host)
        await asyncio.sleep(0)
        return [(socket.AF_INET, (one, origin.port)) for one in hosts]

    monkeypatch.setattr(dialing, "resolved", resolved)
    return asked


async def test_the_next_address_is_tried_when_one_refuses(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.1")
    async with raw_server(answering) as server:
        for _ in range(4):
            fresh = {FRESH: True}
            assert (await call(transport, f"http://many.example:{server.port}", extensions=fresh)).body == b"ok"
        await asyncio.gather(*(call(transport, f"http://more.example:{server.port}") for _ in range(20)))
    assert asked == ["many.example", "more.example"]


async def test_a_name_is_looked_up_again_when_its_address_does_not_answer(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(answering) as server:
        with full_backlog("127.0.0.2", server.port):
            resolving(monkeypatch, "127.0.0.2")
            with pytest.raises(httpx.ConnectTimeout):
                await call(transport, f"http://moved.example:{server.port}", connect=0.1)
            resolving(monkeypatch, "127.0.0.1")
            assert (await call(transport, f"http://moved.example:{server.port}", connect=0.1)).body == b"ok"


async def test_calls_that_begin_during_a_lookup_share_it(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, "127.0.0.1")
    async with raw_server(answering) as server:
        calls = []
        for _ in range(20):
            calls.append(asyncio.create_task(call(transport, f"http://many.example:{server.port}")))
            await asyncio.sleep(0)
        assert {seen.body for seen in await asyncio.gather(*calls)} == {b"ok"}
    assert asked == ["many.example"]


async def test_a_name_whose_other_family_refuses_is_reached(transport: HttpTransport) -> None:
    found = await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    async with raw_server(answering) as server:
        for _ in found:
            seen = await call(transport, f"http://localhost:{server.port}", extensions={FRESH: True})
            assert seen.body == b"ok"


async def test_an_address_that_does_not_answer_delays_the_next_one_only_briefly(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "NEXT_ADDRESS_SECONDS", 0.01)
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with raw_server(answering) as server:
        full = socket.socket()
        full.bind(("127.0.0.2", server.port))
        full.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(("127.0.0.2", server.port))
        try:
            seen = await call(transport, f"http://many.example:{server.port}", connect=10)
            assert seen.body == b"ok"
        finally:
            for one in (full, *filling):
                one.close()


async def test_a_name_without_an_address_is_a_connect_error(transport: HttpTransport) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        await call(transport, "http://nowhere.invalid/", connect=10)
    assert cause_of(caught.value) == "the host name cannot be resolved"


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
async def test_a_name_that_cannot_be_looked_up_is_a_connect_error(host: str, transport: HttpTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await call(transport, f"http://{host}")


async def test_small_requests_are_not_delayed(transport: HttpTransport) -> None:
    async with raw_server(answering) as server:
        answer = await transport.send(raw(server, timeouts=Timeouts(connect=5)))
        await answer.read(10)
        [kept] = transport._pools[Origin("http", "127.0.0.1", server.port)]._idle  # noqa: SLF001 - no public view
        opened = kept._transport  # noqa: SLF001
        assert opened is not None
        assert opened.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
