"""Images in requests. An image is a data URL, or a URL that a service fetches."""

import binascii
import re
from typing import Any

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.public_urls import is_public

MAX_DATA_URL = 20 * 1024 * 1024
"""The maximum length of an image's data URL in characters, as in OpenAI's API."""

_DATA = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,(?=[A-Za-z0-9+/])")


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image in a request. ``media_type`` and ``data`` (base64) are set only for a data URL."""

    url: str
    detail: str | None = None
    media_type: str | None = None
    data: str | None = None

    def openai(self) -> dict[str, Any]:
        """Return the image as a message part in OpenAI's format."""
        detail = {} if self.detail is None else {"detail": self.detail}
        return {"type": "image_url", "image_url": {"url": self.url, **detail}}

    def letta(self) -> dict[str, Any]:
        """Return the image as a message part in Letta's format. The format has no ``detail`` for https URLs."""
        if self.data is None:
            return {"type": "image", "source": {"type": "url", "url": self.url}}
        source = {"type": "base64", "media_type": self.media_type, "data": self.data}
        return {"type": "image", "source": source if self.detail is None else {**source, "detail": self.detail}}


def image(url: str, detail: str | None) -> Image:
    """Create an image from a public https URL or a data URL. Other URLs raise BadUserInput, to prevent SSRF."""
    match = _DATA.match(url)
    if match is not None:
        media_type, data = match[1], url[match.end() :]
        if len(url) > MAX_DATA_URL or not _is_base64(data):
            raise _bad(f"An image's data URL must have valid base64 data and at most {MAX_DATA_URL:,} characters.")
        return Image(url=url, detail=detail, media_type=media_type, data=data)
    if not is_public(url):
        raise _bad("An image must be a public https URL, or a base64 data URL of a PNG, JPEG, GIF or WebP image.")
    return Image(url=url, detail=detail)


def is_image(url: str) -> bool:
    """Return whether a URL is a public https URL or an image's data URL. The base64 data is not checked."""
    return (_DATA.match(url) is not None and len(url) <= MAX_DATA_URL) or is_public(url)


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return False
    return True


def _bad(message: str) -> BadUserInput:
    return BadUserInput(message, reason=Reason.IMAGE)
