"""Images in messages. Letta stores an image's bytes, even if the message has only a URL."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx

from app.embedded import http_client
from app.embedded.letta.answers import refused
from app.embedded.model import text_of
from app.embedded.state import Json, new_id

_SECONDS = 5.0


async def stored(content: Any) -> Any:
    """Return the content that Letta stores for a message. Raises Refused.

    The content is a list if the message has an image or several parts. It is a text if the only part is a text.
    """
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, dict)]
    if len(parts) <= 1 and not any(_is_image(part) for part in parts):
        return text_of({"content": parts})
    return [await _part(part) for part in parts]


def for_model(content: Any) -> Any:
    """Convert stored content to the form that models accept."""
    return [_openai(part) for part in content] if isinstance(content, list) else content


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image"


async def _part(part: Json) -> Json:
    if not _is_image(part):
        return {"type": "text", "text": part.get("text", ""), "signature": None}
    source: Json = part["source"]
    media_type, data = source.get("media_type"), source.get("data")
    if source.get("type") == "url":
        media_type, data = await _fetched(source["url"])
    image = {"media_type": media_type, "data": data, "detail": source.get("detail")}
    return {"type": "image", "source": {"type": "letta", "file_id": new_id("file"), **image}}


async def _fetched(url: str) -> tuple[str, str]:
    try:
        async with http_client.client(timeout=_SECONDS) as client:
            answer = (await client.get(url)).raise_for_status()
    except httpx.HTTPError as error:
        raise refused(400, f"INVALID_ARGUMENT: Failed to fetch image from {url}: {error}") from error
    return answer.headers.get("content-type", "image/png").partition(";")[0], b64encode(answer.content).decode()


def _openai(part: Json) -> Json:
    if not _is_image(part):
        return {"type": "text", "text": part["text"]}
    source = part["source"]
    url = f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "image_url", "image_url": {"url": url, "detail": source["detail"] or "auto"}}
