"""Images that a caller sends along: as bytes in a data URL, or as an address for the upstream to fetch."""

from __future__ import annotations

import binascii
import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from clients.errors import BadUserInput

MAX_URL = 2048
_DATA = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/]+={0,2})")
_INSIDE = re.compile(r"(?:localhost|local|internal|lan|home|arpa|\d+|0x[0-9a-f]*)\Z")
"""Last labels of names that are no names of the public internet; a number is an address in one of its odd spellings."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that may be sent on. ``media_type`` and ``data`` (base64) are those of a data URL."""

    url: str
    detail: str | None = None
    media_type: str | None = None
    data: str | None = None

    def openai(self) -> dict[str, Any]:
        """As a part of an OpenAI message."""
        detail = {} if self.detail is None else {"detail": self.detail}
        return {"type": "image_url", "image_url": {"url": self.url, **detail}}

    def letta(self) -> dict[str, Any]:
        """As a part of a message to Letta, which takes no ``detail`` with an address."""
        if self.data is None:
            return {"type": "image", "source": {"type": "url", "url": self.url}}
        source = {"type": "base64", "media_type": self.media_type, "data": self.data}
        return {"type": "image", "source": source if self.detail is None else {**source, "detail": self.detail}}


def image(url: str, detail: str | None) -> Image:
    """An image by its data URL or its address.

    Whoever is asked next (a model's provider, LiteLLM, Letta) fetches the address from where it stands, so it must be
    one of the public internet, as far as its spelling tells.

    Raises:
        BadUserInput: reason ``IMAGE``.
    """
    if url.startswith("data:"):
        match = _DATA.fullmatch(url)
        if match is None or not _is_base64(match[2]):
            raise _bad("An image's data URL is PNG, JPEG, GIF or WebP in base64.")
        return Image(url=url, detail=detail, media_type=match[1], data=match[2])
    if len(url) > MAX_URL or not is_public(url):
        raise _bad("An image's address is a public https URL.")
    return Image(url=url, detail=detail)


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return False
    return True


def is_public(url: str) -> bool:
    """Whether an address is an https URL of the public internet, as far as its spelling tells."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        well_formed = parts.scheme == "https" and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    if not well_formed or not host or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and _INSIDE.match(host.rpartition(".")[2]) is None


def _bad(message: str) -> BadUserInput:
    return BadUserInput(message, reason="IMAGE")
