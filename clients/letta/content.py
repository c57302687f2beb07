"""The content of a message: text, or parts."""

from __future__ import annotations

import msgspec


class MessageImage(msgspec.Struct):
    """An image in a message. Letta stores the bytes (base64), even if it was sent as a URL."""

    media_type: str | None = None
    data: str | None = None
    address: str | None = msgspec.field(default=None, name="url")

    @property
    def url(self) -> str | None:
        """A data URL, or the URL that was sent if Letta has not stored the image yet."""
        return self.address if self.data is None else f"data:{self.media_type or 'image/*'};base64,{self.data}"


class ContentPart(msgspec.Struct):
    """One part of a message's content: text, an image, or another type."""

    type: str = "text"
    text: str | None = None
    source: MessageImage | None = None


Content = str | list[ContentPart] | None


def text_of(content: Content) -> str | None:
    """The text of a message's content: its text parts, joined."""
    if content is None or isinstance(content, str):
        return content
    return "".join(part.text for part in content if part.text is not None)
