"""The GraphQL input types for messages, and the check of required idempotency keys."""

from decimal import Decimal
from typing import Any

import strawberry
from strawberry import ID, UNSET

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.message_parts import message_parts
from schema.base import described, optional
from schema.parts import ContentPartInput
from schema.stream_enums import OnDisconnect

MIN_DOLLARS = Decimal("0.000000001")
MAX_DOLLARS = 1_000_000
FIRST_RESULT = "A repeated request with the same key returns the first request's result."
OPTIONAL_KEY = f"An optional key of 1 to 200 characters. {FIRST_RESULT}"
ASCII_KEY = "An optional key of 1 to 200 printable ASCII characters."
WHEN_LEFT = "What happens to the answer's stream when no client reads the stream any more."
RUN_CONTINUES = f"{WHEN_LEFT} The run continues with `CANCEL` and with `CONTINUE`."
ANSWER_STREAM = "The stream of the answer. Read the stream with the `stream` subscription."


@strawberry.input(one_of=True, description="The recipient of a message. Set exactly one field.")
class MessageTarget:
    agent_id: ID | None = optional(
        "An agent's id. The message is sent to the agent's default conversation.", default=UNSET
    )
    conversation_id: ID | None = optional("The id of the conversation to which the message is sent.", default=UNSET)


@strawberry.input(description="A message to an agent. The message starts a turn, which ends with the agent's answer.")
class SendMessageInput:
    to: MessageTarget = described("The agent or conversation to which the message is sent.")
    content: list[ContentPartInput] = described("The message, as a list of texts and images.")
    on_disconnect: OnDisconnect | None = optional(
        "What happens to the answer's stream when no client reads the stream any more. The run continues with "
        "`CANCEL` and with `CONTINUE`.",
        default=OnDisconnect.CONTINUE,
    )
    wait_seconds: int | None = optional(
        "How many seconds to wait for the end of the turn, up to the gateway's setting LLM_TIMEOUT_SECONDS. With 0, "
        "`sendMessage` returns as soon as the run exists. If the turn takes longer than `waitSeconds`, `sendMessage` "
        "returns the run with the status `RUNNING`, without an error.",
        default=0,
    )
    max_cost_usd: Decimal | None = optional(
        "Maximum cost of the turn in US dollars, at most 1,000,000. The gateway estimates the cost during the turn. If "
        "the estimate exceeds `maxCostUsd`, the gateway cancels the run, and the stream ends with `FAILED` and the "
        "reason `MAX_COST`. A model call's prompt counts when the call has ended. The agent's model must have prices."
    )
    idempotency_key: str | None = optional(
        "A key of 1 to 200 characters, which `sendMessage` requires. A repeated request with the same key sends no "
        "second message. The `message` subscription ignores this field and uses `streamKey`."
    )

    def when_left(self) -> OnDisconnect:
        """Return ``on_disconnect``, or its default if the client sent null."""
        return self.on_disconnect or OnDisconnect.CONTINUE

    def max_cost(self) -> Decimal | None:
        """Return ``max_cost_usd``. Raises BadUserInput if it is not a positive number."""
        return checked_cost(self.max_cost_usd)

    def parts(self) -> list[dict[str, Any]]:
        """Convert the message's content to Letta's format. Raises BadUserInput."""
        return message_parts([part.image.image() if part.image else part.text or "" for part in self.content])


def required_key(key: str | None) -> str:
    """Return a mutation's idempotency key. Raises BadUserInput if the client sent no key."""
    if key is None:
        raise BadUserInput("This mutation requires an `idempotencyKey`. Set a unique key.", reason=Reason.KEY)
    return key


def checked_cost(usd: Decimal | None) -> Decimal | None:
    """Return a maximum cost. Raises BadUserInput if the cost is not an amount within the bounds."""
    if usd is not None and not (usd.is_finite() and MIN_DOLLARS <= usd <= MAX_DOLLARS):
        raise BadUserInput(
            f"`maxCostUsd` is {str(usd)[:40]}: amounts from {MIN_DOLLARS:f} to {MAX_DOLLARS:,} US dollars are allowed.",
            reason=Reason.RANGE,
        )
    return usd
