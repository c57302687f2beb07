"""What is said to agents, and the key that a mutation is known by."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry import ID, UNSET

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.streams.events import OnDisconnect
from resolvers.vetting import MAX_ADDRESSES
from schema.parts import ContentPartInput

MAX_TEXT = 200_000


@strawberry.input(one_of=True, description="Where a message goes: exactly one of the two.")
class MessageTarget:
    """``@oneOf``."""

    agent_id: ID | None = strawberry.field(default=UNSET, description="To the agent's default conversation.")
    conversation_id: ID | None = strawberry.field(default=UNSET, description="To this conversation.")


@strawberry.input(description="A message to an agent.")
class SendMessageInput:
    """What starts a turn."""

    to: MessageTarget = strawberry.field(description="Where it goes.")
    content: list[ContentPartInput] = strawberry.field(description="What you say.")
    on_disconnect: OnDisconnect | None = strawberry.field(
        default=OnDisconnect.CONTINUE,
        description="What happens to this stream when its last reader leaves. The run itself always goes on.",
    )
    wait_seconds: int | None = strawberry.field(
        default=0,
        description="How many seconds `sendMessage` waits for the answer, at most the server's LLM_TIMEOUT_SECONDS. At "
        "their end the run is RUNNING, which is no error.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Required by `sendMessage`: sent again with the same key, a message is not sent twice. In the "
        "`message` subscription the `streamKey` serves.",
    )

    def when_left(self) -> OnDisconnect:
        """What happens when the last reader leaves; null is the default."""
        return self.on_disconnect or OnDisconnect.CONTINUE

    def parts(self) -> list[dict[str, Any]]:
        """The content as Letta takes it. Raises BadUserInput."""
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
    """The idempotency key of a mutation that needs one. Raises BadUserInput."""
    if key is None:
        raise BadUserInput("This mutation requires an `idempotencyKey`.", reason=Reason.KEY)
    return key
