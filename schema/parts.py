"""The parts of a message: text and images."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import strawberry
from strawberry import UNSET

from resolvers import images
from schema.base import described, enum, optional


class ImageDetail(StrEnum):
    AUTO = "auto"
    LOW = "low"
    HIGH = "high"


enum(
    ImageDetail,
    "The resolution at which the model processes an image. Higher resolution costs more tokens.",
    AUTO="The model chooses.",
    LOW="Low resolution.",
    HIGH="High resolution.",
)


@strawberry.input(description="An image, for models with `supports { vision }`.")
class ImageInput:
    url: str = described("A data URL (`data:image/png;base64,…`; PNG, JPEG, GIF or WebP) or a public https address.")
    detail: ImageDetail | None = optional(
        "The resolution at which the model processes the image. Default: the model's."
    )

    def image(self) -> images.Image:
        """Return the image. Raises BadUserInput."""
        return images.image(self.url, None if self.detail is None else self.detail.value)


@strawberry.input(one_of=True, description="One part of a message. Set exactly one field.")
class ContentPartInput:
    text: str | None = optional("Text.", default=UNSET)
    image: ImageInput | None = optional("An image.", default=UNSET)

    def openai(self) -> dict[str, Any]:
        """Return the part in OpenAI's format. Raises BadUserInput."""
        return self.image.image().openai() if self.image else {"type": "text", "text": self.text or ""}

    def letta(self) -> dict[str, Any]:
        """Return the part in Letta's format. Raises BadUserInput."""
        return self.image.image().letta() if self.image else {"type": "text", "text": self.text or ""}
