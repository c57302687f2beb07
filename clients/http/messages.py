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
        connect: the timeout for DNS, the TCP connection and the TLS handshake together.
        read: the maximum time without a received byte while a caller waits for the answer's head or body.
        write: the maximum time for which the write buffer stays full because the server does not read.
        pool: the timeout for a free connection.
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
        fresh: whether to use a new connection, and to close the connection after the answer.
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
        """Return the answer's headers, and remove them from the answer to free memory."""

    async def read(self, limit: int) -> bytes:
        """Read the whole body. Raises TooLarge if the body has more than ``limit`` bytes."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Close the answer. If the body has not arrived completely, close the connection too."""


class Sender(Protocol):
    """Sends HTTP requests. ``HttpTransport`` implements this interface."""

    async def send(self, request: RawRequest) -> RawAnswer:
        """Send one request once, and return the answer when the answer's head has arrived.

        Raises IdleConnectionDropped or another httpx.TransportError, or TimeoutError at the request's deadline.
        httpx.ConnectError, httpx.ConnectTimeout and httpx.PoolTimeout mean that no byte was sent.
        """

    async def aclose(self) -> None:
        """Close all connections."""


class Failure(NamedTuple):
    """The reason why an answer cannot be received.

    ``error`` creates the exception when it is raised. A stored exception would refer to the answer through its
    traceback, and only the garbage collector could free both.
    """

    kind: type[Exception]
    message: str
    cause: BaseException | None = None

    def error(self) -> Exception:
        """Return the exception to raise."""
        error = self.kind(self.message)
        error.__cause__ = self.cause
        return error
