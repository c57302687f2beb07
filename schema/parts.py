"""The parts of a message: text and images."""

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
    AUTO="The model chooses the resolution.",
    LOW="Low resolution.",
    HIGH="High resolution.",
)


@strawberry.input(description="An image. Use a model whose `supports { vision }` is true.")
class ImageInput:
    url: str = described(
        "A public https URL, or a data URL of a PNG, JPEG, GIF or WebP image, such as `data:image/png;base64,…`."
    )
    detail: ImageDetail | None = optional(
        "The resolution at which the model processes the image. Default: the model's default."
    )

    def image(self) -> images.Image:
        """Convert the input to an ``Image``. Raises BadUserInput."""
        return images.image(self.url, None if self.detail is None else self.detail.value)


@strawberry.input(one_of=True, description="One part of a message. Set exactly one field.")
class ContentPartInput:
    text: str | None = optional("A text.", default=UNSET)
    image: ImageInput | None = optional("An image.", default=UNSET)

    def openai(self) -> dict[str, Any]:
        """Convert the part to OpenAI's format. Raises BadUserInput."""
        return self.image.image().openai() if self.image else {"type": "text", "text": self.text or ""}
