"""What mutations and subscriptions take, and what they are unpacked to."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import strawberry
from strawberry import ID, UNSET
from strawberry.scalars import JSON

from clients.errors import BadUserInput
from resolvers.streams.events import OnDisconnect

MAX_TEXT = 200_000


@strawberry.enum(description="Who speaks in a completion's messages.")
class ChatRole(StrEnum):
    """OpenAI's roles."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@strawberry.input(one_of=True, description="Where a message goes: exactly one of the two.")
class MessageTarget:
    """``@oneOf``."""

    agent_id: ID | None = strawberry.field(default=UNSET, description="To the agent's default conversation.")
    conversation_id: ID | None = strawberry.field(default=UNSET, description="To this conversation.")


@strawberry.input(one_of=True, description="One part of what you say: exactly one of the fields.")
class ContentPartInput:
    """``@oneOf``."""

    text: str | None = strawberry.field(default=UNSET, description="Words.")


@strawberry.input(description="A message to an agent.")
class SendMessageInput:
    """What starts a turn."""

    to: MessageTarget = strawberry.field(description="Where it goes.")
    content: list[ContentPartInput] = strawberry.field(description="What you say.")
    on_disconnect: OnDisconnect = strawberry.field(
        default=OnDisconnect.CONTINUE,
        description="What happens to this stream when its last reader leaves. The run itself always goes on.",
    )
    wait_seconds: int = strawberry.field(
        default=0,
        description="How long `sendMessage` waits for the answer. At its end the run is RUNNING, which is no error.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Required by `sendMessage`: sent again with the same key, a message is not sent twice.",
    )

    def parts(self) -> list[dict[str, Any]]:
        """The content as Letta takes it. Raises BadUserInput."""
        parts = [{"type": "text", "text": part.text or ""} for part in self.content]
        size = sum(len(part["text"]) for part in parts)
        if not any(part["text"].strip() for part in parts):
            raise BadUserInput("The message is empty.", reason="EMPTY")
        if size > MAX_TEXT:
            raise BadUserInput(f"The message has more than {MAX_TEXT} characters.", reason="TOO_LONG")
        return parts


@strawberry.input(description="One message of a completion.")
class ChatMessageInput:
    """OpenAI's chat message."""

    role: ChatRole = strawberry.field(description="Who speaks.")
    content: str | None = strawberry.field(default=None, description="What is said.")
    name: str | None = strawberry.field(default=None, description="The speaker's name.")
    tool_call_id: str | None = strawberry.field(default=None, description="Which call a `TOOL` message answers.")
    tool_calls: JSON | None = strawberry.field(default=None, description="The calls an `ASSISTANT` message made.")

    def message(self) -> dict[str, Any]:
        """As OpenAI's API takes it."""
        message: dict[str, Any] = {"role": self.role.value, "content": self.content}
        optional = {"name": self.name, "tool_call_id": self.tool_call_id, "tool_calls": self.tool_calls}
        return message | {name: value for name, value in optional.items() if value is not None}


@strawberry.input(description="A completion to ask a model for.")
class CompletionInput:
    """OpenAI's chat completion request, as far as the graph offers it."""

    model: str = strawberry.field(description="The model's name, as in `models`.")
    messages: list[ChatMessageInput] = strawberry.field(description="The conversation so far.")
    temperature: float | None = strawberry.field(default=None, description="How freely the model chooses, 0 to 2.")
    top_p: float | None = strawberry.field(default=None, description="Choose among the likeliest only, 0 to 1.")
    max_tokens: int | None = strawberry.field(default=None, description="At most so many tokens come out.")
    stop: list[str] | None = strawberry.field(default=None, description="Where to stop.")
    seed: int | None = strawberry.field(default=None, description="The same seed, the same answer, where supported.")
    tools: list[JSON] | None = strawberry.field(default=None, description="Tools the model may call (OpenAI's form).")
    tool_choice: JSON | None = strawberry.field(default=None, description="Which tool to call (OpenAI's form).")
    response_format: JSON | None = strawberry.field(default=None, description="JSON mode and the like (OpenAI's form).")
    on_disconnect: OnDisconnect = strawberry.field(
        default=OnDisconnect.CANCEL, description="What happens upstream when the last reader leaves."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Required by `startCompletion`: asked again with the same key, a completion is not paid twice.",
    )

    def body(self) -> dict[str, Any]:
        """OpenAI's request body."""
        if not self.messages:
            raise BadUserInput("A completion needs a message.", reason="EMPTY")
        names = ("temperature", "top_p", "max_tokens", "stop", "seed", "tools", "tool_choice", "response_format")
        options = {name: getattr(self, name) for name in names}
        body = {"model": self.model, "messages": [message.message() for message in self.messages]}
        return body | {name: value for name, value in options.items() if value is not None}


def required_key(key: str | None) -> str:
    """The idempotency key of a mutation that needs one. Raises BadUserInput."""
    if key is None:
        raise BadUserInput("This mutation needs an idempotencyKey.", reason="KEY")
    return key
