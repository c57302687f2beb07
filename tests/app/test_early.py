from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from app.connections.early import MAX_CONNECTIONS, EarlyProbes

PROBE = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as made:
        yield made


def connected(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname(), timeout=10)


def answer(listener: socket.socket, request: bytes) -> bytes:
    """Send a request, and read until the connection ends."""
    with connected(listener) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(4096), b""))


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [(b"/ping", b"200 OK", b'{"status":"ok"}'), (b"/readyz", b"503 Service Unavailable", b'{"status":"starting"}')],
)
def test_probes_are_answered(listener: socket.socket, path: bytes, status: bytes, body: bytes) -> None:
    probes = EarlyProbes([listener])
    probes.start()
    got = answer(listener, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    assert got.startswith(b"HTTP/1.1 %b\r\n" % status)
    assert got.endswith(b"\r\n\r\n" + body)
    assert probes.stop() == {listener: []}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHo",
        b"GET /pingpong HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n",
        b"GET /ping\r\nHost: x\r\n\r\n",
        b"",
    ],
)
def test_other_connections_are_kept_with_all_their_bytes(listener: socket.socket, request_bytes: bytes) -> None:
    probes = EarlyProbes([listener])
    probes.start()
    with connected(listener) as client:
        client.sendall(request_bytes)
        assert answer(listener, PROBE).startswith(b"HTTP/1.1 200")
        (kept,) = probes.stop()[listener]
        with kept:
            kept.setblocking(True)
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: kept.recv(4096), b"")) == request_bytes


def test_a_connection_that_ends_is_not_kept(listener: socket.socket) -> None:
    probes = EarlyProbes([listener])
    probes.start()
    with connected(listener):
        pass
    assert answer(listener, PROBE).startswith(b"HTTP/1.1 200")
    until(lambda: probes.kept == 0)
    assert probes.stop() == {listener: []}


def test_connections_above_the_maximum_wait_in_the_queue(listener: socket.socket) -> None:
    probes = EarlyProbes([listener])
    probes.start()
    clients = [connected(listener) for _ in range(MAX_CONNECTIONS + 5)]
    until(lambda: probes.kept == MAX_CONNECTIONS)
    kept = probes.stop()[listener]
    assert len(kept) == MAX_CONNECTIONS
    waiting = [listener.accept()[0] for _ in range(5)]
    for one in (*clients, *kept, *waiting):
        one.close()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_stop_without_a_start_keeps_nothing(listener: socket.socket) -> None:
    assert EarlyProbes([listener]).stop() == {listener: []}


class _Counting(socket.socket):
    accepts = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.accepts += 1
        return super().accept()


def test_without_free_file_descriptors_connections_wait_in_the_queue() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with _Counting() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        probes = EarlyProbes([listener])
        probes.start()
        with connected(listener) as first:
            until(lambda: probes.kept == 1)
            with socket.socket() as second:
                free = os.dup(second.fileno())
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
                try:
                    second.connect(listener.getsockname())
                    until(lambda: listener.accepts >= 2)
                    first.sendall(PROBE)
                    assert first.recv(4096).startswith(b"HTTP/1.1 200")
                    assert listener.accepts == 2, "the thread does not try again and again"
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                    probes.stop()
