"""The content of a message: text, or a list of parts."""

import msgspec


class MessageImage(msgspec.Struct, frozen=True):
    """An image in a message. Letta stores an image as base64, even if the client sent a URL."""

    media_type: str | None = None
    data: str | None = None
    address: str | None = msgspec.field(default=None, name="url")

    @property
    def url(self) -> str | None:
        """The URL of the image. A stored image has a data URL.

        Before Letta stores the image, this is the URL that the client sent.
        """
        return self.address if self.data is None else f"data:{self.media_type or 'image/*'};base64,{self.data}"


class ContentPart(msgspec.Struct, frozen=True):
    """One part of a message's content, such as a text or an image."""

    type: str = "text"
    text: str | None = None
    source: MessageImage | None = None


Content = str | tuple[ContentPart, ...] | None


def text_of(content: Content) -> str | None:
    """Return the text in a message's content. Several text parts are joined."""
    if content is None or isinstance(content, str):
        return content
    return "".join(part.text for part in content if part.text is not None)
