"""Writes the heads of HTTP requests."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlencode

import httpx

from clients.http.messages import Origin

_PORTS = {"http": 80, "https": 443}
_PLAIN_PATH = re.compile(r"/(?!/)[!$-;=@-_a-z|~]*")
_PLAIN_QUERY = re.compile(r"[0-9A-Za-z_.~-]*")
_BAD_VALUE = re.compile(rb"[\0\r\n]")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-~]+")
_HAS_LENGTH = {"POST", "PUT", "PATCH"}


def origin_of(url: httpx.URL) -> Origin:
    """Return a URL's origin. Raises httpx.UnsupportedProtocol if the URL is neither http nor https."""
    port = url.port or _PORTS.get(url.scheme)
    if port is None or url.scheme not in _PORTS or not url.raw_host:
        raise httpx.UnsupportedProtocol(f"The URL {url.scheme}://{url.host} is neither an http nor an https URL.")
    return Origin(url.scheme, url.raw_host.decode("ascii"), port)


def header_line(name: bytes, value: bytes) -> bytes:
    """Return a header's line. Raises httpx.LocalProtocolError if the name or the value contains invalid characters."""
    if _NAME.fullmatch(name) is None:
        raise httpx.LocalProtocolError(f"The header name {name!r} is not valid.")
    if _BAD_VALUE.search(value) is not None:
        raise httpx.LocalProtocolError(f"The value of the header {name!r} contains CR, LF or NUL.")
    return b"%b: %b\r\n" % (name, value)


def request_line(method: str, target: bytes) -> bytes:
    """Return the first line of a request. Raises httpx.LocalProtocolError if the method or the target is not valid."""
    name = method.encode("ascii", "replace")
    if _NAME.fullmatch(name) is None or _TARGET.fullmatch(target) is None:
        raise httpx.LocalProtocolError(f"The method {method!r} or the target {target!r} is not valid.")
    return b"%b %b HTTP/1.1\r\n" % (name, target)


def encoded_query(params: Sequence[tuple[str, str]]) -> bytes:
    """Encode query parameters as httpx does, and group parameters of the same name.

    Parameters of unreserved characters, as most are, are joined without ``urlencode``, which takes 10 µs.
    """
    order: dict[str, int] = {}
    text = ""
    for name, value in params:
        order.setdefault(name, len(order))
        text += name + value
    if len(order) < len(params):
        params = sorted(params, key=lambda param: order[param[0]])
    if _PLAIN_QUERY.fullmatch(text) is not None:
        return "&".join([f"{name}={value}" for name, value in params]).encode("ascii")
    return urlencode(params).encode("ascii")


class Heads:
    """Encodes the heads of requests to one base URL. The fixed headers are encoded once.

    Args:
        base_url: the URL that precedes each path.
        headers: the headers of each request. A request's header replaces a fixed header of the same name.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        url = httpx.URL(base_url)
        self.url = url
        self._path = url.raw_path.partition(b"?")[0].rstrip(b"/")
        fixed = {"host": url.netloc.decode("ascii"), **{name.lower(): value for name, value in headers.items()}}
        self._lines = {name: _line(name, value) for name, value in fixed.items()}
        self._blocks: dict[tuple[str, ...], bytes] = {(): b"".join(self._lines.values())}

    def head(
        self, method: str, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str], length: int
    ) -> bytes:
        """Return the request line and the headers of one request, without the empty line that ends them.

        Args:
            method: the method in upper case.
            path: the path below the base URL.
            params: the query parameters. If there are any, they replace the query in ``path``.
            headers: the request's headers.
            length: the length of the body in bytes.

        Raises:
            httpx.LocalProtocolError: a value contains characters that are invalid at its position.
        """
        target = self._target(path)
        if params:
            target = b"%b?%b" % (target.partition(b"?")[0], encoded_query(params))
        lines: dict[str, bytes] = {}
        replaced: tuple[str, ...] = ()
        for name, value in headers.items():
            lower = name.lower()
            if lower in self._lines and lower not in lines:
                replaced += (lower,)
            lines[lower] = _line(lower, value)
        parts = [_first_line(method, target), self._blocks.get(replaced) or self._block(replaced), *lines.values()]
        if length or method in _HAS_LENGTH:
            parts.append(b"content-length: %d\r\n" % length)
        return b"".join(parts)

    def _target(self, path: str) -> bytes:
        """Encode a path as httpx does."""
        if _PLAIN_PATH.fullmatch(path) is not None and "/." not in path:
            return self._path + path.encode("ascii")
        try:
            return self.url.copy_with(raw_path=self._path + httpx.URL(path).raw_path).raw_path
        except httpx.InvalidURL as error:
            raise httpx.LocalProtocolError(f"The path {path!r} is not valid: {error}") from error

    def _block(self, replaced: tuple[str, ...]) -> bytes:
        block = b"".join(line for name, line in self._lines.items() if name not in replaced)
        if len(self._blocks) < len(self._lines) ** 2:  # callers have few combinations of headers
            self._blocks[replaced] = block
        return block


_first_line = lru_cache(256)(request_line)  # the two checks take as long as the rest of a head

_KNOWN: set[str] = set()
"""Header names that have been checked. The gateway sends few different names."""

_MAX_KNOWN = 64


def _line(name: str, value: str) -> bytes:
    if name in _KNOWN and value.isascii() and value.isprintable():  # takes a third of the time of the checks below
        return f"{name}: {value}\r\n".encode("ascii")
    try:
        line = header_line(name.encode("ascii"), value.encode("ascii"))
    except UnicodeEncodeError as error:
        raise httpx.LocalProtocolError(f"The header {name!r} is not ASCII.") from error
    if len(_KNOWN) < _MAX_KNOWN:
        _KNOWN.add(name)
    return line
