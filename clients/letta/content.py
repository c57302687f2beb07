"""What is said in a message: words alone, or parts."""

from __future__ import annotations

import msgspec


class MessageImage(msgspec.Struct):
    """An image in a message. Letta keeps the bytes (base64), also of one that it was given by its address."""

    media_type: str | None = None
    data: str | None = None
    address: str | None = msgspec.field(default=None, name="url")

    @property
    def url(self) -> str | None:
        """Where it can be seen: a data URL, or its address while Letta has not stored it yet."""
        return self.address if self.data is None else f"data:{self.media_type or 'image/*'};base64,{self.data}"


class ContentPart(msgspec.Struct):
    """One part of a message's content: words, an image, or something else."""

    type: str = "text"
    text: str | None = None
    source: MessageImage | None = None


Content = str | list[ContentPart] | None


def text_of(content: Content) -> str | None:
    """The text of a message's content: its text parts, joined."""
    if content is None or isinstance(content, str):
        return content
    return "".join(part.text for part in content if part.text is not None)
