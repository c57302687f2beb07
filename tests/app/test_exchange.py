"""Responses of an exchange: what uvicorn would write, in one piece if the body has a length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.asgi import run_now
from app.connections.exchange import Exchange
from app.flags import Flag
from tests.support.transports import Transport

START = "http.response.start"


class Writes(Transport):
    """A transport that counts its writes."""

    count = 0

    def write(self, data: bytes) -> None:
        self.count += 1
        super().write(data)


def exchange(method: str = "POST", *, keep_alive: bool = True) -> tuple[Exchange, Writes, dict[str, Any]]:
    transport: Any = Writes()
    connection: Any = SimpleNamespace(
        transport=transport,
        flow=FlowControl(transport),
        logger=None,
        access_logger=None,
        server_state=SimpleNamespace(default_headers=[(b"date", b"now")]),
        on_response_complete=lambda: None,
    )
    scope = {"method": method, "http_version": "1.1"}
    return Exchange(scope, connection, keep_alive=keep_alive), transport, scope


def messages(status: int, headers: list[tuple[bytes, bytes]], bodies: list[bytes]) -> list[dict[str, Any]]:
    start = {"type": START, "status": status, "headers": headers}
    more = [{"type": "http.response.body", "body": body, "more_body": True} for body in bodies[:-1]]
    return [start, *more, {"type": "http.response.body", "body": bodies[-1]}]


NAMES = st.sampled_from([b"X-Id", b"content-type", b"vary", b"connection"])
VALUES = st.sampled_from([b"close", b"keep-alive, Close", b"text/plain", b"a\tb", b"\xe9"])


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from([200, 204, 304, 404]),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.lists(st.binary(max_size=5), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_the_bytes_are_those_of_uvicorn(
    method: str,
    status: int,
    headers: list[tuple[bytes, bytes]],
    bodies: list[bytes],
    has_length: bool,
    keep_alive: bool,
) -> None:
    if status in {204, 304}:
        bodies, has_length = [b""], False
    if has_length:
        headers = [*headers, (b"Content-Length", b"%d" % sum(map(len, bodies)))]
    ours, transport, scope = exchange(method, keep_alive=keep_alive)
    plain: Any = Transport()
    theirs = RequestResponseCycle(
        scope,  # type: ignore[arg-type]
        transport=plain,
        flow=FlowControl(plain),
        logger=None,  # type: ignore[arg-type]
        access_logger=None,  # type: ignore[arg-type]
        access_log=False,
        default_headers=[(b"date", b"now")],
        message_event=Flag(),  # type: ignore[arg-type]
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    for message in messages(status, headers, bodies):
        run_now(ours.send(message))
        run_now(theirs.send(message))  # type: ignore[arg-type]
    assert bytes(transport.sent) == bytes(plain.sent)
    assert (transport.closed, ours.keep_alive) == (plain.closed, theirs.keep_alive)


def test_a_head_and_its_body_are_written_together() -> None:
    ours, transport, _ = exchange()
    for message in messages(200, [(b"content-length", b"3")], [b"one"]):
        run_now(ours.send(message))
    assert transport.count == 1


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\x00b"),
        (b"x", b"\x7f"),
        (b"a b", b"c"),
        (b"a:b", b"c"),
        (b"a\r\nb", b"c"),
    ],
)
def test_an_invalid_header_is_not_sent(field: tuple[bytes, bytes]) -> None:
    ours, transport, _ = exchange()
    with pytest.raises(RuntimeError, match="Invalid HTTP header"):
        run_now(ours.send({"type": START, "status": 200, "headers": [field]}))
    assert not transport.sent
    run_now(ours.send({"type": START, "status": 500, "headers": []}))
    assert transport.sent.startswith(b"HTTP/1.1 500")


@pytest.mark.parametrize("bodies", [[b"four"], [b"on"], [b"on", b"ee"]])
def test_a_body_of_another_length_is_an_error(bodies: list[bytes]) -> None:
    ours, _, _ = exchange()
    *fitting, last = messages(200, [(b"content-length", b"3")], bodies)
    for message in fitting:
        run_now(ours.send(message))
    with pytest.raises(RuntimeError, match="than Content-Length"):
        run_now(ours.send(last))


@pytest.mark.parametrize("message", [{"type": "http.response.body"}, {"type": "http.response.trailers"}])
def test_messages_must_be_in_order(message: dict[str, Any]) -> None:
    ours, _, _ = exchange()
    with pytest.raises(RuntimeError, match="ASGI message"):
        run_now(ours.send(message))
    for one in messages(200, [], [b""]):
        run_now(ours.send(one))
    with pytest.raises(RuntimeError, match="ASGI message"):
        run_now(ours.send(message))
