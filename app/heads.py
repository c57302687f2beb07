"""Checks of the head of a request, before any header is parsed."""

from __future__ import annotations

import re

MAX_HEAD_BYTES = 64 * 1024
"""The request line and headers; of a chunked body, also trailers and chunk lines beyond their minimal length."""

MAX_HEADERS = 128
"""The most header lines of a request."""

MAX_READ_HEADER_BYTES = 2048
"""A header that is parsed as a list or for its parameters, all its lines together."""

MAX_SOCKET_LINE_BYTES = 8192
"""A line of a WebSocket handshake: the limit of the websockets library."""

_PARSED = frozenset(
    {
        b"accept",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"connection",
        b"content-encoding",
        b"content-type",
        b"host",
        b"origin",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"transfer-encoding",
        b"upgrade",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    }
)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")

Headers = list[tuple[bytes, bytes]]


class HeadRefused(Exception):
    """A head that is refused, with the status and text of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def head_too_large() -> HeadRefused:
    """Return the refusal of a head of more than ``MAX_HEAD_BYTES``."""
    return HeadRefused(431, f"The request line and headers, with any trailers, are longer than {MAX_HEAD_BYTES} bytes.")


def check_head(headers: Headers, *, version: str, size: int) -> None:
    """Check the headers of a request.

    Args:
        headers: names in lower case.
        version: of HTTP.
        size: an upper bound of the head's size, in bytes.

    Raises:
        HeadRefused: 400 for a missing, repeated or invalid ``Host`` (RFC 9112, 3.2); 431 for too many or too long
            headers.
    """
    if len(headers) > MAX_HEADERS:
        raise HeadRefused(431, f"The request has more than {MAX_HEADERS} headers.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise HeadRefused(400, "The request must have one Host header.")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise HeadRefused(400, "The Host header is not a host and port.")
    if size > MAX_READ_HEADER_BYTES:
        _check_lengths(headers)


def _check_lengths(headers: Headers) -> None:
    lengths = dict.fromkeys(_PARSED, 0)
    for name, value in headers:
        if name in lengths:
            lengths[name] += len(value) + 2
            if lengths[name] - 2 > MAX_READ_HEADER_BYTES:
                limit = MAX_READ_HEADER_BYTES
                raise HeadRefused(431, f"The header {name.decode()} is longer than {limit} bytes.")


def check_socket_head(headers: Headers, url: bytes) -> None:
    """Check the line lengths of a WebSocket handshake. Raises HeadRefused (431)."""
    longest = max((len(name) + len(value) for name, value in headers), default=0) + len(": \r\n")
    if max(longest, len(b"GET " + url + b" HTTP/1.1\r\n")) > MAX_SOCKET_LINE_BYTES:
        raise HeadRefused(431, f"A line of the handshake is longer than {MAX_SOCKET_LINE_BYTES} bytes.")
