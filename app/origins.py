"""The origins in ``ALLOWED_ORIGINS``, whose web pages may read the gateway's answers (CORS)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

ANY = frozenset({"*", "null"})
"""Origins without a host: ``*`` and ``null``.

``*`` means every origin. Browsers send ``null`` for files and sandboxed frames.
"""

LOCALHOST = r"https?://(localhost|127\.0\.0\.1)(:\d+)?"
"""A pattern for the origins of this machine, with any port."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_PORTS = {"http": 80, "https": 443}
_UNUSUAL_PORT = re.compile(r":(0\d+)?\Z")
"""The end of an authority whose port is empty or has leading zeros. Browsers send no such origin."""

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_SUFFIX = re.compile(rf"({_LABEL}\.)+(?!\d+(:|\Z))({_LABEL})(:\d+)?|localhost(:\d+)?")
"""What may follow ``*.``: a host with two labels, since ``*.com`` would allow strangers, or ``localhost``."""


class AllowedOrigins(NamedTuple):
    """The origins that CORS allows, in the form that browsers send.

    Attributes:
        exact: the origins without a pattern.
        pattern: a regular expression for whole origins, or ``None``.
    """

    exact: tuple[str, ...]
    pattern: str | None


def parse(value: str | None) -> AllowedOrigins:
    """Parse comma-separated origins (RFC 6454, 6.2) and patterns.

    In a pattern, such as ``https://*.example.com``, the ``*`` stands for exactly one label, as in TLS certificates (RFC
    9525, 6.3). Raises ValueError if an origin is invalid.
    """
    texts = [text.strip() for text in (value or "").split(",") if text.strip()]
    known = list(dict.fromkeys(text if text in ANY else _origin(text) for text in texts))
    exact = tuple(text for text in known if text in ANY or "*" not in text)
    patterns = [re.escape(text).replace(r"\*", _LABEL, 1) for text in known if text not in exact]
    return AllowedOrigins(exact, "|".join(patterns) or None)


def _origin(text: str) -> str:
    """Normalize an origin as browsers do: in lower case, without a trailing slash, and without the default port."""
    shown = text.rpartition("@")[2][:80]
    if text.startswith("[") or set(text) & set(" ;\"'"):
        raise ValueError(
            f"{shown!r} is not an origin. Separate origins with commas, without spaces, quotes or brackets"
        )
    scheme, separator, authority = text.lower().partition("://")
    if not separator:
        raise ValueError(f"{shown!r} has no scheme. Write {_with_scheme(shown)}")
    authority = authority.removesuffix("/")
    if not _is_origin(scheme, authority.replace("*", "x")):
        raise ValueError(f"{shown!r} is not an origin. Write scheme://host or scheme://host:port, with no path")
    if "*" in text and not (authority.startswith("*.") and _SUFFIX.fullmatch(authority[2:])):
        raise ValueError(
            f"{shown!r} is not a pattern. Write scheme://*.host, where the host has two labels or more and `*` stands "
            "for one label"
        )
    return f"{scheme}://{authority.removesuffix(f':{_PORTS.get(scheme)}')}"


def _with_scheme(text: str) -> str:
    local = text.startswith(("localhost", "127.", "[::1]"))
    return f"{'http' if local else 'https'}://{text.rstrip('/')}"


def _is_origin(scheme: str, authority: str) -> bool:
    if not _SCHEME.fullmatch(scheme) or not authority.isascii() or set(authority) & set("/?#@\\"):
        return False
    if _UNUSUAL_PORT.search(authority):
        return False
    try:
        parts = urlsplit(f"//{authority}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
