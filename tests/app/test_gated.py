"""Refusals that a connection sends itself: the same bytes as the application's, and no request is lost."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send

from app.embedded.people import ADA, GRACE
from tests.support.rawhttp import Raw, raw
from tests.support.serving import served
from tests.support.settings import settings_of
from tests.support.stack import Stack, embedded_stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOTS = 8
SHARE = SLOTS // 4
QUERY = b'{"query": "{ viewer { id } }"}'
JSON = f"content-type: application/json\r\ncontent-length: {len(QUERY)}"
CHAT = b'{"model": "gpt-4o-mini", "messages": []}'
PING = b"GET /ping HTTP/1.1\r\nhost: x\r\nx-request-id: ping\r\nconnection: close\r\n\r\n"


@dataclass
class Site:
    """A gateway with two listeners. The application itself admits the requests of ``plain``."""

    stack: Stack
    plain: tuple[str, int]
    tokens: dict[str, str]
    hosts: Iterator[int] = field(default_factory=itertools.count)

    @property
    def gated(self) -> tuple[str, int]:
        return address(self.stack.url)

    def head(self, line: str, *fields: str, user: str | None = ADA) -> bytes:
        token = None if user is None else self.tokens.get(user) or self.stack.token(user)
        signed = [] if token is None else [f"authorization: Bearer {token}"]
        return "\r\n".join([line, "host: x", *signed, *fields, "", ""]).encode()

    def query(self, *fields: str, user: str | None = ADA) -> bytes:
        return self.head("POST /graphql HTTP/1.1", JSON, *fields, user=user) + QUERY

    async def shed(self, reason: str) -> float:
        """Return how many requests were refused."""
        return await self.metric(rf'requests_shed_total{{reason="{reason}"}}')

    async def metric(self, name: str) -> float:
        text = (await self.stack.client.get("/metrics")).text
        found = re.search(rf"^agentgraph_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @asynccontextmanager
    async def held(self, user: str | None, *fields: str) -> AsyncIterator[Raw]:
        """Hold a slot with a request whose body is incomplete."""
        async with raw(self.gated) as connection:
            await connection.send(self.query("expect: 100-continue", *fields, user=user)[: -len(QUERY)])
            assert await connection.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
            await connection.reader.readline()
            yield connection

    @asynccontextmanager
    async def full(self) -> AsyncIterator[list[Raw]]:
        """Hold all slots of the load shedding, but not all slots of users."""
        async with AsyncExitStack() as holding:
            held = []
            for number in range(SLOTS):  # unknown owners, whose requests have the weight 1
                user, address = str(uuid.uuid4()), f"x-forwarded-for: 192.0.2.{next(self.hosts)}"
                one = self.held(user) if number >= SHARE else self.held(None, address)
                held.append(await holding.enter_async_context(one))
            yield held
        await until(self.is_free)

    async def is_free(self) -> bool:
        kinds = ("requests", "anonymous_requests")
        return not any([await self.metric(f'slots_in_use{{kind="{kind}"}}') for kind in kinds])


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with embedded_stack(max_concurrent_requests=SLOTS, hsts_seconds=60) as stack:

        async def plain(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "lifespan":
                await stack.app(scope, receive, send)
                return
            for event in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{event}"
                await send({"type": f"lifespan.{event}.complete"})

        async with served(plain, settings_of(**stack.given)) as url:
            running = Site(stack, address(url), {user: stack.token(user) for user in (ADA, GRACE)})
            for user in running.tokens:  # a connection itself admits only requests with verified tokens
                assert b"viewer" in await answers(running.gated, running.query(user=user))
            yield running


async def answers(place: tuple[str, int], request: bytes) -> bytes:
    """Send a request, and after a complete one a health check. Return all bytes without their dates and new ids."""
    async with raw(place) as connection:
        await connection.send(request + PING if request.endswith((b"}", b"\r\n\r\n")) else request)
        data = await connection.rest()
    data = re.sub(rb"\r\ndate: [^\r]+", b"\r\ndate: now", data)
    data = re.sub(rb"\nretry: \d+", b"\nretry: random", data)
    return re.sub(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", b"new-id", data)


def requests(site: Site) -> dict[str, bytes]:
    """Return requests that are refused while ADA holds all her slots."""
    chat = f"content-type: application/json\r\ncontent-length: {len(CHAT)}"
    lines = ("GET /graphql?query=%7B__typename%7D HTTP/1.1", "HEAD /graphql HTTP/1.1", "GET /v1/models HTTP/1.1")
    v1 = site.head("POST /v1/chat/completions HTTP/1.1", chat) + CHAT
    old = site.head("POST /graphql HTTP/1.0", JSON, "connection: keep-alive") + QUERY
    return {
        "json": site.query(),
        "response": site.query("accept: application/graphql-response+json"),
        "event stream": site.query("accept: text/event-stream"),
        "multipart": site.query('accept: multipart/mixed;subscriptionSpec="1.0"'),
        "allowed origin": site.query("origin: http://localhost:5173"),
        "other origin": site.query("origin: https://evil.example"),
        "its own id": site.query("x-request-id: mine"),
        "an invalid id": site.query("x-request-id: not~valid"),
        "https": site.query("x-forwarded-proto: https", "x-forwarded-for: 203.0.113.9"),
        "close": site.query("connection: close"),
        "incomplete": site.query()[:-1],
        "expect": site.query("expect: 100-continue")[: -len(QUERY)] + QUERY[:1],
        "chunked": site.head("POST /graphql HTTP/1.1", "transfer-encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
        "chat": v1,
        "HTTP/1.0": old,
        "HTTP/1.0 stream": old.replace(b"host: x", b"host: x\r\naccept: text/event-stream"),
        "other upgrade": site.query("connection: upgrade", "upgrade: h2c"),
        **{line: site.head(line) for line in lines},
    }


async def test_the_connection_and_the_application_refuse_with_the_same_bytes(site: Site) -> None:
    async with AsyncExitStack() as holding:
        for _ in range(SHARE):
            await holding.enter_async_context(site.held(ADA))
        before = await site.shed("REQUESTS")
        sent = requests(site)
        for name, request in sent.items():
            expected = await answers(site.plain, request)
            assert b"REQUESTS" in expected or b'"requests"' in expected or name.startswith("HEAD"), (name, expected)
            for _ in range(2):  # the second time, the answer is prepared
                assert await answers(site.gated, request) == expected, name
        assert await site.shed("REQUESTS") - before == 3 * len(sent)
        assert await site.metric('slots_in_use{kind="requests"}') == SHARE
    await until(site.is_free)
    assert '"event":"shed"' in site.stack.log.getvalue()


async def test_a_repeated_request_is_refused_with_the_same_bytes(site: Site) -> None:
    closing = {"close", "incomplete", "expect", "HTTP/1.0", "HTTP/1.0 stream", "HEAD /graphql HTTP/1.1"}
    chunked = {"event stream", "multipart"}
    async with AsyncExitStack() as holding:
        for _ in range(SHARE):
            await holding.enter_async_context(site.held(ADA))
        for name, request in requests(site).items():
            if name in closing | chunked:
                continue
            sent = [request, request, site.query("x-request-id: different"), request]
            expected = await exchanged(site.plain, sent)
            assert {status for status, _, _ in expected} == {429}, name
            assert await exchanged(site.gated, sent) == expected, name
    await until(site.is_free)


async def test_a_repeated_request_is_served_with_its_body_once_a_slot_is_free(site: Site) -> None:
    async with raw(site.gated) as connection:
        async with AsyncExitStack() as holding:
            for _ in range(SHARE):
                await holding.enter_async_context(site.held(ADA))
            for _ in range(3):
                await connection.send(site.query())
                assert (await connection.answer())[0] == 429
        await until(site.is_free)
        for _ in range(2):
            await connection.send(site.query())
            status, _, body = await connection.answer()
            assert (status, b"viewer" in body) == (200, True)


async def test_a_request_after_a_refused_one_is_read_in_any_pieces(site: Site) -> None:
    request = site.query()
    async with raw(site.gated) as connection:
        async with AsyncExitStack() as holding:
            for _ in range(SHARE):
                await holding.enter_async_context(site.held(ADA))
            await connection.send(request)
            assert (await connection.answer())[0] == 429
            for sent in ([request[:9], request[9:]], [request * 2], [request + request[:9], request[9:]]):
                for piece in sent:
                    await connection.send(piece)
                    await asyncio.sleep(0.01)  # the pieces must not arrive together
                answers = [(await connection.answer())[0] for _ in range(b"".join(sent).count(b"POST"))]
                assert set(answers) == {429}
        await until(site.is_free)
        await connection.send(request)
        assert (await connection.answer())[0] == 200


async def test_a_repeated_request_whose_token_has_expired_is_not_served(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw(site.gated) as connection:
        async with AsyncExitStack() as holding:
            for _ in range(SHARE):
                await holding.enter_async_context(site.held(ADA))
            await connection.send(site.query())
            assert (await connection.answer())[0] == 429
        await until(site.is_free)
        now = time.time()
        monkeypatch.setattr("app.signin.authenticator.time.time", lambda: now + 10**9)
        await connection.send(site.query())
        status, _, body = await connection.answer()
        assert (status, b"TOKEN_EXPIRED" in body) == (401, True)


async def exchanged(place: tuple[str, int], sent: list[bytes]) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Send each request after the previous answer. Return the answers without dates and new ids."""
    found = []
    async with raw(place) as connection:
        for request in sent:
            await connection.send(request)
            status, headers, body = await connection.answer()
            for name in (b"date", b"x-request-id"):
                headers[name] = re.sub(rb".+(?<!mine)(?<!different)", b"new", headers[name])
            body = re.sub(rb"retry: \d+", b"retry: random", body)
            found.append((status, headers, re.sub(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"new-id", body)))
    return found


async def test_a_refusal_keeps_the_connection_only_if_the_body_was_received(site: Site) -> None:
    async with AsyncExitStack() as holding:
        for _ in range(SHARE):
            await holding.enter_async_context(site.held(ADA))
        assert (await answers(site.gated, site.query())).count(b"HTTP/1.1 ") == 2
        closed = await answers(site.gated, site.query()[:-1])
        assert closed.startswith(b"HTTP/1.1 429")
        assert closed.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in closed
    await until(site.is_free)


async def test_the_reconnection_time_of_refused_streams_is_random(site: Site) -> None:
    async with AsyncExitStack() as holding:
        for _ in range(SHARE):
            await holding.enter_async_context(site.held(ADA))
        client, headers = site.stack.client, site.stack.headers() | {"accept": "text/event-stream"}
        refused = [(await client.post("/graphql", json={"query": "{ a }"}, headers=headers)).text for _ in range(8)]
    await until(site.is_free)
    assert len({text.partition("\n")[0] for text in refused}) > 1


async def test_a_request_that_waits_too_long_is_refused_with_the_same_bytes(site: Site) -> None:
    async with site.full():
        request = site.query("origin: http://localhost:5173")
        seen, expected = await asyncio.gather(answers(site.gated, request), answers(site.plain, request))
        assert seen == expected
        assert seen.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nretry-after: 1\r\n" in seen
        assert seen.count(b"HTTP/1.1 ") == 2, "the connection is kept"


async def test_a_request_in_the_queue_is_served_once_a_slot_is_free(site: Site) -> None:
    async with site.full() as held, raw(site.gated) as connection, raw(site.gated) as late:
        await connection.send(site.query(user=GRACE))
        await late.send(site.query(user=GRACE)[:-9])
        await until(lambda: waits(site, 2))
        await late.send(QUERY[-9:])
        held[0].writer.close()
        held[1].writer.close()
        for one in (connection, late):
            status, _, body = await one.answer()
            assert (status, b"viewer" in body) == (200, True)


async def test_a_client_that_disconnects_leaves_the_queue(site: Site) -> None:
    async with site.full():
        before = await site.shed("BUSY")
        async with raw(site.gated) as connection:
            await connection.send(site.query())
            await until(lambda: waits(site, 1))
        await until(lambda: waits(site, 0))
        assert await site.shed("BUSY") == before


async def test_an_invalid_body_of_a_waiting_request_is_refused(site: Site) -> None:
    async with site.full(), raw(site.gated) as connection:
        await connection.send(site.head("POST /graphql HTTP/1.1", "transfer-encoding: chunked"))
        await until(lambda: waits(site, 1))
        await connection.send(b"no chunk\r\n")
        data = await connection.rest()
        assert data.startswith(b"HTTP/1.1 400")
        assert data.count(b"HTTP/1.1 ") == 1


async def waits(site: Site, number: int) -> bool:
    """Return whether this many requests of users have a slot and wait."""
    return await site.metric('slots_in_use{kind="requests"}') == SLOTS - SHARE + number
