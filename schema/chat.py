"""What a completion is asked by."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import strawberry
from strawberry import ID
from strawberry.scalars import JSON

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.asking import checked
from resolvers.streams.events import OnDisconnect
from resolvers.vetting import Vetted
from schema.base import enum
from schema.parts import ContentPartInput


class ChatRole(StrEnum):
    """OpenAI's roles."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


enum(
    ChatRole,
    "Who speaks in a completion's messages.",
    SYSTEM="Whoever instructs the model.",
    DEVELOPER="The same, as newer models of OpenAI's call it.",
    USER="You.",
    ASSISTANT="The model.",
    TOOL="A tool that the model has called; `toolCallId` says by which call.",
)


@strawberry.input(description="A call that the model asked for, given back to it.")
class ToolCallInput:
    """What ``ToolCall`` shows."""

    tool_call_id: ID = strawberry.field(description="The call's id, which ties its return to it.")
    name: str = strawberry.field(description="The tool's name.")
    arguments: str = strawberry.field(description="JSON text as the model wrote it.")

    def openai(self) -> dict[str, Any]:
        """As OpenAI's API takes it."""
        called = {"name": self.name, "arguments": self.arguments}
        return {"id": self.tool_call_id, "type": "function", "function": called}


@strawberry.input(description="One message of a completion.")
class ChatMessageInput:
    """OpenAI's chat message."""

    role: ChatRole = strawberry.field(description="Who speaks.")
    content: str | None = strawberry.field(default=None, description="What is said, where it is words alone.")
    parts: list[ContentPartInput] | None = strawberry.field(
        default=None, description="What is said, words and images; instead of `content`."
    )
    name: str | None = strawberry.field(default=None, description="The speaker's name.")
    tool_call_id: ID | None = strawberry.field(default=None, description="Which call a `TOOL` message answers.")
    tool_calls: list[ToolCallInput] | None = strawberry.field(
        default=None, description="The calls that an `ASSISTANT` message made, as `complete` answers them."
    )

    def message(self) -> dict[str, Any]:
        """As OpenAI's API takes it. Raises BadUserInput."""
        message: dict[str, Any] = {"role": self.role.value, "content": self._said()}
        calls = None if self.tool_calls is None else [call.openai() for call in self.tool_calls]
        optional = {"name": self.name, "tool_call_id": self.tool_call_id, "tool_calls": calls}
        return message | {name: value for name, value in optional.items() if value is not None}

    def _said(self) -> str | list[dict[str, Any]] | None:
        if self.parts is None:
            return self.content
        if self.content is not None or not self.parts:
            raise BadUserInput("A message must have either `content` or `parts`.", reason=Reason.MESSAGE)
        return [part.openai() for part in self.parts]


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
    on_disconnect: OnDisconnect | None = strawberry.field(
        default=OnDisconnect.CANCEL, description="What happens upstream when the last reader leaves."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Required by `startCompletion` and `complete`: with the same key, nothing is paid twice.",
    )

    def when_left(self) -> OnDisconnect:
        """What happens when the last reader leaves; null is the default."""
        return self.on_disconnect or OnDisconnect.CANCEL

    def body(self) -> Vetted:
        """OpenAI's request body. Raises BadUserInput where that cannot be right."""
        names = ("temperature", "top_p", "max_tokens", "stop", "seed", "tools", "tool_choice", "response_format")
        options = {name: getattr(self, name) for name in names}
        body = {"model": self.model, "messages": [message.message() for message in self.messages]}
        return checked(body | {name: value for name, value in options.items() if value is not None})
