"""What a message is made of: words and images."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import strawberry
from strawberry import UNSET

from resolvers import images
from schema.base import enum


class ImageDetail(StrEnum):
    """OpenAI's levels."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"


enum(
    ImageDetail,
    "How closely a model looks at an image; it costs more tokens to look closely.",
    AUTO="As closely as the model chooses.",
    LOW="At a small copy of it.",
    HIGH="At all of it.",
)


@strawberry.input(description="An image for a model that sees (`supports { vision }`).")
class ImageInput:
    """An image by its URL."""

    url: str = strawberry.field(
        description="A data URL (`data:image/png;base64,…`; PNG, JPEG, GIF or WebP), or a public https address."
    )
    detail: ImageDetail | None = strawberry.field(default=None, description="How closely to look.")

    def image(self) -> images.Image:
        """The image. Raises BadUserInput."""
        return images.image(self.url, None if self.detail is None else self.detail.value)


@strawberry.input(one_of=True, description="One part of what you say: exactly one of the fields.")
class ContentPartInput:
    """``@oneOf``."""

    text: str | None = strawberry.field(default=UNSET, description="Words.")
    image: ImageInput | None = strawberry.field(default=UNSET, description="An image.")

    def openai(self) -> dict[str, Any]:
        """As a part of an OpenAI message. Raises BadUserInput."""
        return self.image.image().openai() if self.image else {"type": "text", "text": self.text or ""}

    def letta(self) -> dict[str, Any]:
        """As a part of a message to Letta. Raises BadUserInput."""
        return self.image.image().letta() if self.image else {"type": "text", "text": self.text or ""}
