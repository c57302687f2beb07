"""Checks the content of a message to an agent, and converts it to Letta's format."""

from collections.abc import Sequence
from typing import Any

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.images import Image
from resolvers.vetting import MAX_ADDRESSES

MAX_TEXT = 200_000
"""The maximum number of characters in all texts of a message."""


def message_parts(content: Sequence[str | Image]) -> list[dict[str, Any]]:
    """Convert a message's texts and images to Letta's format.

    Raises BadUserInput (``EMPTY``, ``TEXT``, ``TOO_LONG`` or ``RANGE``).
    """
    texts = [part for part in content if isinstance(part, str)]
    images = [part for part in content if isinstance(part, Image)]
    if not images and not any(text.strip() for text in texts):
        raise BadUserInput("The message is empty. Write a text or add an image.", reason=Reason.EMPTY)
    if any("\0" in text for text in texts):  # Letta's database refuses NUL after Letta has begun the run
        raise BadUserInput("The message has the character NUL (U+0000). Remove the character.", reason=Reason.TEXT)
    if sum(map(len, texts)) > MAX_TEXT:
        raise BadUserInput(
            f"The message has more than {MAX_TEXT:,} characters. Shorten the message.", reason=Reason.TOO_LONG
        )
    if sum(image.data is None for image in images) > MAX_ADDRESSES:
        raise BadUserInput(
            f"The message has more than {MAX_ADDRESSES} image URLs. Send fewer URLs.", reason=Reason.RANGE
        )
    return [{"type": "text", "text": part} if isinstance(part, str) else part.letta() for part in content]
