"""Limits the number and size of a request's headers, and checks ``Host``."""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools

from app.asgi import NO_SNIFF

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


_ANSWER_HEADERS = (
    f"content-type: text/plain; charset=utf-8\r\n{NO_SNIFF[0].lower()}: {NO_SNIFF[1]}\r\nconnection: close\r\n"
).encode()


class HeadRefused(Exception):
    """Raised if the gateway refuses a request's headers. The gateway answers with ``status`` and ``text``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    def answer(self) -> bytes:
        """Return the bytes of the answer, after which the connection is closed."""
        head = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n".encode()
        text = self.text.encode() + b"\n"
        return head + _ANSWER_HEADERS + f"content-length: {len(text)}\r\n\r\n".encode() + text


def head_too_large() -> HeadRefused:
    """Return the error for a request head above ``MAX_HEAD_BYTES``."""
    return HeadRefused(
        431, f"The request line, headers and trailers exceed {MAX_HEAD_BYTES} bytes in total. Shorten the headers."
    )


def check_head(headers: Headers, *, method: bytes, version: str, size: int) -> None:
    """Check a request's headers.

    Header names must be in lower case. ``size`` is an upper bound on the size of the request line and headers, in
    bytes.

    Raises:
        HeadRefused: status 400 for the method CONNECT, and if ``Host`` is missing, repeated or invalid (RFC 9112, 3.2);
            status 431 if headers are too many or too long.
    """
    if method == b"CONNECT":
        raise HeadRefused(400, "This server is not a proxy: CONNECT is not supported.")
    if len(headers) > MAX_HEADERS:
        raise HeadRefused(431, f"The request has more than {MAX_HEADERS} headers. Send fewer headers.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise HeadRefused(400, "The request must have exactly one Host header.")
    if hosts and not _is_host(hosts[0]):
        raise HeadRefused(400, "The Host header must be a host name or address, with an optional port.")
    if size > MAX_READ_HEADER_BYTES:
        _check_lengths(headers)


@lru_cache(64)  # clients send few different hosts
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _check_lengths(headers: Headers) -> None:
    lengths = dict.fromkeys(_PARSED, 0)
    for name, value in headers:
        if name in lengths:
            lengths[name] += len(value) + 2
            if lengths[name] - 2 > MAX_READ_HEADER_BYTES:
                limit = MAX_READ_HEADER_BYTES
                raise HeadRefused(431, f"The header {name.decode()} is longer than {limit} bytes. Shorten the header.")


def fill(scope: dict[str, Any], parser: httptools.HttpRequestParser, url: bytes, root_path: str) -> None:
    """Add the method, version, path and query of a parsed request line to an ASGI scope, as uvicorn does."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    scope["method"] = parser.get_method().decode("ascii")
    scope["http_version"] = parser.get_http_version()
    scope["path"] = root_path + (unquote(path) if "%" in path else path)
    scope["raw_path"] = root_path.encode("ascii") + parsed.path
    scope["query_string"] = parsed.query or b""


def check_socket_head(headers: Headers, url: bytes) -> None:
    """Raise HeadRefused if a line of a WebSocket handshake is too long."""
    longest = max((len(name) + len(value) for name, value in headers), default=0) + len(": \r\n")
    if max(longest, len(b"GET " + url + b" HTTP/1.1\r\n")) > MAX_SOCKET_LINE_BYTES:
        raise HeadRefused(
            431, f"A line of the WebSocket handshake is longer than {MAX_SOCKET_LINE_BYTES} bytes. Shorten the line."
        )


def without_upgrade(line: bytes, headers: Headers) -> bytes:
    """Return the bytes of a request head without ``Upgrade``. ``line`` is the request line."""
    parts = [line, b"\r\n"]
    for name, value in headers:
        if name == b"connection":
            options = (option for option in value.split(b",") if option.strip().lower() != b"upgrade")
            parts += [name, b": ", b",".join(options), b"\r\n"]
        elif name != b"upgrade":
            parts += [name, b": ", value, b"\r\n"]
    return b"".join([*parts, b"\r\n"])
