"""The input of a message, and the check of required idempotency keys."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry import ID, UNSET

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.vetting import MAX_ADDRESSES
from schema.base import described, optional
from schema.parts import ContentPartInput
from schema.stream_enums import OnDisconnect

MAX_TEXT = 200_000
OPTIONAL_KEY = "Optional; 1 to 200 characters. A repeated request with the same key returns the first result."


@strawberry.input(one_of=True, description="The recipient of a message. Set exactly one field.")
class MessageTarget:
    agent_id: ID | None = optional("Sends the message to this agent's default conversation.", default=UNSET)
    conversation_id: ID | None = optional("Sends the message to this conversation.", default=UNSET)


@strawberry.input(description="A message to an agent. It starts a turn.")
class SendMessageInput:
    to: MessageTarget = described("The recipient.")
    content: list[ContentPartInput] = described("The message, as parts of text and images.")
    on_disconnect: OnDisconnect | None = optional(
        "What happens to the stream when its last reader detaches. The run continues in either case.",
        default=OnDisconnect.CONTINUE,
    )
    wait_seconds: int | None = optional(
        "How long `sendMessage` waits for the turn to end, in seconds, up to the gateway's LLM_TIMEOUT_SECONDS. 0 "
        "returns as soon as the run exists. If the wait ends first, the payload's run is `RUNNING`, without an error.",
        default=0,
    )
    idempotency_key: str | None = optional(
        "Required by `sendMessage`; 1 to 200 characters. A repeated request with the same key sends no second message. "
        "The `message` subscription uses its `streamKey` instead."
    )

    def when_left(self) -> OnDisconnect:
        """Return ``on_disconnect``, or its default if it is null."""
        return self.on_disconnect or OnDisconnect.CONTINUE

    def parts(self) -> list[dict[str, Any]]:
        """Return the content in Letta's format. Raises BadUserInput."""
        said = [part.text or "" for part in self.content]
        if not any(text.strip() for text in said) and not any(part.image for part in self.content):
            raise BadUserInput("The message is empty.", reason=Reason.EMPTY)
        if sum(map(len, said)) > MAX_TEXT:
            raise BadUserInput(f"The message has more than {MAX_TEXT} characters.", reason=Reason.TOO_LONG)
        images = [part.image.image() for part in self.content if part.image]
        if sum(image.data is None for image in images) > MAX_ADDRESSES:
            raise BadUserInput(f"The message has more than {MAX_ADDRESSES} addresses of images.", reason=Reason.RANGE)
        return [part.letta() for part in self.content]


def required_key(key: str | None) -> str:
    """Return the key of a mutation that requires one. Raises BadUserInput if it is missing."""
    if key is None:
        raise BadUserInput("This mutation requires an `idempotencyKey`.", reason=Reason.KEY)
    return key
