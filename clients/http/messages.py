"""Types for HTTP requests and answers, and the interface of a client that sends the requests."""

import math
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

import msgspec

RawHeaders = list[tuple[bytes, bytes]]
"""The names and values of headers, in the order in which they were received."""


class Origin(NamedTuple):
    """A server's scheme, host and port. ``host`` is ASCII, and an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int


class Timeouts(NamedTuple):
    """Timeouts in seconds. ``None`` means no timeout.

    Attributes:
        connect: the time to resolve the host name, to connect and for the TLS handshake.
        read: the time without a received byte while the client waits for the answer or for the answer's body.
        write: the time in which the server must read a part of the request that does not fit into the buffers.
        pool: the time to wait for a free connection.
    """

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None


class RawRequest(msgspec.Struct, frozen=True):
    """An HTTP request whose bytes are ready to be sent.

    Attributes:
        method: the method in upper case.
        head: the request line and the headers, each with CRLF, without the empty line that ends them.
        fresh: whether the request needs a new connection, which then is closed after the answer.
        deadline: the value of ``time.monotonic()``, in seconds, at which the call fails with TimeoutError.
    """

    origin: Origin
    method: str
    head: bytes
    body: bytes = b""
    timeouts: Timeouts = Timeouts()
    fresh: bool = False
    deadline: float = math.inf


class RawAnswer(Protocol):
    """An HTTP answer whose head has arrived. Iterating over the answer returns the parts of the body as they arrive.

    The caller must read the body to the end, or call ``aclose``. Reading the body raises httpx.TransportError, or
    TimeoutError at ``deadline``.

    Attributes:
        deadline: a value of ``time.monotonic()``, in seconds. The caller may change the deadline.
    """

    status: int
    deadline: float

    def take_headers(self) -> RawHeaders:
        """Return the answer's headers. The answer then no longer holds them."""

    async def read(self, limit: int) -> bytes:
        """Read the whole body. Raises TooLarge if the body has more than ``limit`` bytes."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Close the answer. If the body has not arrived completely, the connection is closed."""


class Sender(Protocol):
    """Sends HTTP requests."""

    async def send(self, request: RawRequest) -> RawAnswer:
        """Send one request once, and return the answer when the answer's head has arrived.

        Raises IdleConnectionDropped or another httpx.TransportError, or TimeoutError at the request's deadline.
        httpx.ConnectError, httpx.ConnectTimeout and httpx.PoolTimeout mean that no byte was sent.
        """

    async def aclose(self) -> None:
        """Close all connections."""


class Failure(NamedTuple):
    """Why an answer cannot be received.

    The exception is made when it is raised. An exception that is kept would refer to the answer by its traceback, and
    only the garbage collector would free both.
    """

    kind: type[Exception]
    message: str
    cause: BaseException | None = None

    def error(self) -> Exception:
        """Return the exception to raise."""
        error = self.kind(self.message)
        error.__cause__ = self.cause
        return error
