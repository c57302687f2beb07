"""Sends single requests to an address, whatever server answers there. ``agentgraph doctor`` makes its calls with it."""

import ssl
import time
from collections.abc import Mapping, Sequence

import httpx

from clients.calls import Answer
from clients.causes import cause_of
from clients.encoding import EncodingUnreadable, TooLarge
from clients.http.heads import Heads, origin_of
from clients.http.messages import Origin, RawRequest, Timeouts
from clients.http.transport import HttpTransport
from clients.wire import PLAIN, headers_of

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""The maximum size of an answer, in bytes."""


class NoAnswer(Exception):
    """The server did not answer a request. The message gives the cause, for example ``connection refused``.

    Attributes:
        connected: whether the gateway had connected to the server.
        timed_out: whether the time limit has passed.
    """

    def __init__(self, cause: str, *, connected: bool, timed_out: bool = False) -> None:
        super().__init__(cause)
        self.connected = connected
        self.timed_out = timed_out


class Site:
    """The server at one base URL. A request has only the headers that its caller passes, and is never repeated.

    Args:
        url: the base URL.
        seconds: the time limit of a request, in seconds.
        tls: replaces the default TLS context.
    """

    def __init__(self, url: str, *, seconds: float, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.seconds = seconds
        self._heads = Heads(url, PLAIN)
        self._transport = HttpTransport(tls=tls)

    @property
    def origin(self) -> Origin:
        """The URL's scheme, host and port."""
        return origin_of(self._heads.url)

    async def answer(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Return the answer to one request, whatever its status. Redirects are not followed. Raises NoAnswer."""
        request = RawRequest(
            origin=self.origin,
            method=method,
            head=self._heads.head(method, path, params, headers or {}, len(body)),
            body=body,
            timeouts=Timeouts(connect=self.seconds),
            fresh=True,
            deadline=time.monotonic() + self.seconds,
        )
        try:
            return await self._sent(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            connected = not isinstance(error, httpx.ConnectTimeout)
            raise NoAnswer(f"no answer within {self.seconds:g} s", connected=connected, timed_out=True) from error
        except httpx.ConnectError as error:
            raise NoAnswer(cause_of(error) or "the connection failed", connected=False) from error
        except TooLarge as error:
            raise NoAnswer(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes", connected=True) from error
        except (httpx.TransportError, EncodingUnreadable) as error:
            raise NoAnswer("the server closed the connection, or does not speak HTTP", connected=True) from error

    async def _sent(self, request: RawRequest) -> Answer:
        answer = await self._transport.send(request)
        try:
            headers = headers_of(answer.take_headers())
            return Answer(answer.status, headers, await answer.read(MAX_ANSWER_BYTES))
        finally:
            await answer.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()
