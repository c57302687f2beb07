"""A ``Link`` gives the request's body and reports a disconnect without ``receive``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from app.asgi import Disconnected, Link, read_body, run_now, unless_disconnected
from app.connections.exchange import Exchange
from clients.errors import PayloadTooLarge
from tests.support.transports import Transport

pytestmark = pytest.mark.timeout(10)


class Recorded(Link):
    """A ``Link`` that records its calls. ``receive`` returns ``messages`` in order, and then waits."""

    def __init__(
        self, whole: bytes | None = None, *, watches: bool = True, messages: list[dict[str, Any]] | None = None
    ) -> None:
        self.whole = whole
        self.watches = watches
        self.messages = messages or []
        self.calls: list[str] = []
        self.act: Callable[[], None] | None = None

    def whole_body(self) -> bytes | None:
        self.calls.append("whole_body")
        return self.whole

    def watch(self, act: Callable[[], None]) -> bool:
        self.calls.append("watch")
        self.act = act
        return self.watches

    def unwatch(self) -> None:
        self.calls.append("unwatch")

    async def receive(self) -> dict[str, Any]:
        self.calls.append("receive")
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def body_message(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def body_of(link: Recorded, *headers: tuple[bytes, bytes], limit: int = 10) -> tuple[bytes, list[int]]:
    held: list[int] = []
    body = await read_body({"headers": headers}, link.receive, held.append, limit=limit, seconds=5)
    return body, held


def test_a_link_without_all_methods_cannot_be_made() -> None:
    class Incomplete(Link):
        def unwatch(self) -> None:
            """Do nothing."""

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()  # type: ignore[abstract]


async def test_a_whole_body_is_read_without_receive() -> None:
    link = Recorded(b"\xef\xbb\xbfone")
    assert await body_of(link) == (b"one", [6])
    assert link.calls == ["whole_body"]


async def test_a_whole_body_over_the_limit_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        await body_of(Recorded(b"one"), limit=2)


async def test_a_body_that_has_not_arrived_is_received() -> None:
    link = Recorded(messages=[body_message(b"on", more=True), body_message(b"e")])
    assert await body_of(link) == (b"one", [2, 3])
    assert link.calls == ["whole_body", "receive", "receive"]


async def test_an_encoded_body_is_received() -> None:
    link = Recorded(b"one", messages=[body_message(b"one")])
    assert (await body_of(link, (b"content-encoding", b"identity")))[0] == b"one"
    assert link.calls == ["receive"]


async def test_a_receive_that_is_no_method_of_a_link_is_called() -> None:
    async def receive() -> dict[str, Any]:
        return body_message(b"one")

    held: list[int] = []
    assert await read_body({"headers": ()}, receive, held.append, limit=3, seconds=5) == b"one"


async def test_work_that_ends_is_no_longer_watched() -> None:
    link = Recorded()

    async def work() -> str:
        return "done"

    assert await unless_disconnected(link.receive, work()) == "done"
    assert link.calls == ["watch", "unwatch"]


async def test_a_disconnect_that_the_link_reports_cancels_the_work() -> None:
    link = Recorded()

    async def work() -> None:
        assert link.act is not None
        link.act()
        await asyncio.Event().wait()

    with pytest.raises(Disconnected):
        await unless_disconnected(link.receive, work())
    assert link.calls == ["watch", "unwatch"]


async def test_a_link_that_cannot_watch_reports_the_disconnect_by_receive() -> None:
    link = Recorded(watches=False, messages=[{"type": "http.disconnect"}])
    with pytest.raises(Disconnected):
        await unless_disconnected(link.receive, asyncio.Event().wait())
    assert link.calls == ["watch", "receive"]


def exchange(body: bytes | None = None, *, expect_100_continue: bool = False) -> tuple[Exchange, Transport]:
    """Return the link of the gateway's own server. Without ``body``, no byte of the body has arrived."""
    transport: Any = Transport()
    connection: Any = SimpleNamespace(
        transport=transport,
        flow=FlowControl(transport),
        logger=None,
        access_logger=None,
        server_state=SimpleNamespace(default_headers=[]),
        on_response_complete=lambda: None,
    )
    scope = {"method": "POST", "http_version": "1.1"}
    return Exchange(scope, connection, keep_alive=True, expect_100_continue=expect_100_continue, body=body), transport


def arrive(link: Exchange, body: bytes, *, more: bool) -> None:
    """Add a part of the body, as uvicorn's ``on_body`` and ``on_message_complete`` do."""
    link.body, link.more_body = bytearray(body), more
    link.message_event.set()


def test_an_exchange_returns_its_body_once() -> None:
    link, _ = exchange(b"one")
    assert link.whole_body() == b"one"
    assert link.whole_body() is None


@pytest.mark.parametrize("more", [True, False])
def test_an_exchange_returns_only_a_complete_body(more: bool) -> None:
    link, _ = exchange()
    assert link.whole_body() is None
    arrive(link, b"one", more=more)
    assert link.whole_body() == (None if more else b"one")


def test_an_exchange_returns_no_body_if_the_client_waits_for_100_continue() -> None:
    link, _ = exchange(b"one", expect_100_continue=True)
    assert link.whole_body() is None


def test_an_exchange_returns_no_body_after_a_disconnect() -> None:
    link, _ = exchange(b"one")
    link.left()
    assert link.whole_body() is None


def test_an_exchange_reports_a_disconnect_once() -> None:
    link, transport = exchange(b"")
    link.flow.pause_reading()
    acts: list[str] = []
    assert link.watch(lambda: acts.append("left"))
    assert transport.reads
    link.left()
    link.left()
    assert acts == ["left"]


def test_an_exchange_that_is_not_watched_reports_no_disconnect() -> None:
    link, _ = exchange(b"")
    acts: list[str] = []
    assert link.watch(lambda: acts.append("left"))
    link.unwatch()
    link.left()
    assert acts == []


def test_an_exchange_cannot_watch_while_its_body_is_unread() -> None:
    link, _ = exchange(b"one")
    assert not link.watch(lambda: None)
    assert link.whole_body() == b"one"
    assert link.watch(lambda: None)


def test_an_exchange_cannot_watch_after_its_response_or_a_disconnect() -> None:
    answered, _ = exchange(b"")
    headers = [(b"content-length", b"0")]
    run_now(answered.send({"type": "http.response.start", "status": 200, "headers": headers}))
    run_now(answered.send({"type": "http.response.body"}))
    assert not answered.watch(lambda: None)
    left, _ = exchange(b"")
    left.left()
    assert not left.watch(lambda: None)
