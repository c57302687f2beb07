"""Answers probes while the gateway starts.

While the main thread imports the server's modules, a different thread accepts connections (decision 0073). The thread
answers ``/ping`` with 200 and ``/readyz`` with 503, as the gateway does before it is ready. The server later takes over
all other connections, with their unread bytes.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

MAX_CONNECTIONS = 256
"""Maximum number of open connections that the thread has accepted.

Further connections wait in the queue of the listening socket, as they do if no file descriptor is free.
"""

_HEAD_BYTES = 8192
_SERVERS_OWN = frozenset({b"content-length", b"transfer-encoding", b"upgrade", b"expect"})
_ANSWERS = {
    b"/ping": (b"200 OK", b'{"status":"ok"}'),
    b"/readyz": (b"503 Service Unavailable", b'{"status":"starting"}'),
}


class EarlyProbes:
    """Answers probes on listening sockets between ``start`` and ``stop``. The sockets become non-blocking."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._selector = selectors.DefaultSelector()
        self._kept: dict[socket.socket, list[socket.socket]] = {one: [] for one in listeners}
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="early probes", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._selector.register(self._woken, selectors.EVENT_READ)
        for listener in self._kept:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> dict[socket.socket, list[socket.socket]]:
        """Stop accepting connections. Return the kept connections of each listening socket, once."""
        if self._thread.is_alive():
            self._waker.send(b".")
            self._thread.join()
        kept, self._kept = self._kept, {}
        self._selector.close()
        self._waker.close()
        self._woken.close()
        return kept

    @property
    def kept(self) -> int:
        """The number of open connections."""
        return sum(map(len, self._kept.values()))

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                if ready is self._woken:
                    return
                assert isinstance(ready, socket.socket)  # noqa: S101 - for mypy: only sockets are registered
                if ready in self._kept:
                    self._accept(ready)
                else:
                    self._answer(ready, key.data)

    def _accept(self, listener: socket.socket) -> None:
        if self.kept >= MAX_CONNECTIONS:
            self._selector.unregister(listener)
            return
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # the client has disconnected
            return
        except OSError:  # no file descriptor is free, and the listener would be ready again at once
            self._selector.unregister(listener)
            return
        connection.setblocking(False)
        self._kept[listener].append(connection)
        self._selector.register(connection, selectors.EVENT_READ, self._kept[listener])

    def _answer(self, connection: socket.socket, kept: list[socket.socket]) -> None:
        """Answer a probe, and close its connection. Keep the connection of any other request for the server."""
        self._selector.unregister(connection)
        with suppress(OSError):
            head = connection.recv(_HEAD_BYTES, socket.MSG_PEEK)
            answer = _answer_to(head)
            if head and answer is None:
                return
            if answer is not None:
                connection.recv(_HEAD_BYTES)
                connection.send(answer)
        kept.remove(connection)
        connection.close()


def _answer_to(head: bytes) -> bytes | None:
    """Return the answer to a probe with a complete head. Return ``None`` for any other request.

    The server answers probes with a body, and probes without exactly one ``Host`` header.
    """
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if not head.endswith(b"\r\n\r\n") or len(words) != 3 or words[0] != b"GET" or words[1] not in _ANSWERS:
        return None
    names = [line.partition(b":")[0].lower() for line in lines[1:-2]]
    if names.count(b"host") != 1 or not _SERVERS_OWN.isdisjoint(names):
        return None
    status, body = _ANSWERS[words[1]]
    return (
        b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-content-type-options: nosniff\r\n"
        b"connection: close\r\n\r\n%b" % (status, len(body), body)
    )
