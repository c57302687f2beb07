"""Limits the number and size of a request's headers, and checks ``Host``."""

from __future__ import annotations

import re

MAX_HEAD_BYTES = 64 * 1024
"""Maximum total size of the request line, headers, trailers and chunk lines, in bytes.

Minimal chunk lines do not count.
"""

MAX_HEADERS = 128
"""Maximum number of header lines of a request."""

MAX_READ_HEADER_BYTES = 2048
"""Maximum size of a header that the gateway parses, in bytes. Headers with the same name count as one."""

MAX_SOCKET_LINE_BYTES = 8192
"""Maximum size of a line in a WebSocket handshake, in bytes. The websockets library has the same limit."""

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
    """Raised if the gateway refuses a request's headers. The gateway answers with ``status`` and ``text``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def head_too_large() -> HeadRefused:
    """Return the error for a request head above ``MAX_HEAD_BYTES``."""
    return HeadRefused(
        431, f"The request line, headers and trailers exceed {MAX_HEAD_BYTES} bytes in total. Shorten the headers."
    )


def check_head(headers: Headers, *, version: str, size: int) -> None:
    """Check a request's headers.

    Header names must be in lower case. ``size`` is an upper bound on the size of the request line and headers, in
    bytes.

    Raises:
        HeadRefused: status 400 if ``Host`` is missing, repeated or invalid (RFC 9112, 3.2); status 431 if headers are
            too many or too long.
    """
    if len(headers) > MAX_HEADERS:
        raise HeadRefused(431, f"The request has more than {MAX_HEADERS} headers. Send fewer headers.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise HeadRefused(400, "The request must have exactly one Host header.")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise HeadRefused(400, "The Host header must be a host name or address, with an optional port.")
    if size > MAX_READ_HEADER_BYTES:
        _check_lengths(headers)


def _check_lengths(headers: Headers) -> None:
    lengths = dict.fromkeys(_PARSED, 0)
    for name, value in headers:
        if name in lengths:
            lengths[name] += len(value) + 2
            if lengths[name] - 2 > MAX_READ_HEADER_BYTES:
                limit = MAX_READ_HEADER_BYTES
                raise HeadRefused(431, f"The header {name.decode()} is longer than {limit} bytes. Shorten the header.")


def check_socket_head(headers: Headers, url: bytes) -> None:
    """Raise HeadRefused if a line of a WebSocket handshake is too long."""
    longest = max((len(name) + len(value) for name, value in headers), default=0) + len(": \r\n")
    if max(longest, len(b"GET " + url + b" HTTP/1.1\r\n")) > MAX_SOCKET_LINE_BYTES:
        raise HeadRefused(
            431, f"A line of the WebSocket handshake is longer than {MAX_SOCKET_LINE_BYTES} bytes. Shorten the line."
        )
