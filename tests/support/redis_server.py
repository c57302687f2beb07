"""A real Redis server for tests, which tests can stop, pause and restart."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.capabilities import redis_path
from tests.support.serving import free_port

DATABASES = 8192


class RedisServer:
    """A Redis server on a loopback port. ``folder`` is the server's working directory."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self._options = options
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count()

    def url(self) -> str:
        """Return the URL of a database that no other test uses."""
        return f"redis://127.0.0.1:{self.port}/{next(self._databases) % DATABASES}"

    def start(self) -> None:
        """Start the server, and wait until the server accepts connections."""
        self._process = subprocess.Popen(
            [
                str(redis_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--databases", str(DATABASES), "--dir", str(self._folder), *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 10
        while not self._listens():
            assert time.monotonic() < end, "Redis does not listen"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server. A server without ``DURABLE`` loses its data."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server. A server without ``DURABLE`` loses its data."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let the server hang until ``resume``."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End ``pause``."""
        self._running.send_signal(signal.SIGCONT)

    def run(self, *command: str) -> bytes:
        """Execute a command of the server's administrator in database 0, and return the reply's first line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [part.encode() for part in command]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in parts))
            return connection.makefile("rb").readline().strip()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _end(self, sent: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(sent)
            self._process.wait(10)
            self._process = None

    def _listens(self) -> bool:
        try:
            return self.run("PING") == b"+PONG"
        except OSError:
            return False


DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")
"""Options of a server that keeps its data when the server's process is killed."""


@contextmanager
def redis_server(*options: str, is_started: bool = True) -> Iterator[RedisServer]:
    """Run a Redis server for one test that stops, pauses or fills the server."""
    with TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), options)
        if is_started:
            server.start()
        try:
            yield server
        finally:
            server.kill()
