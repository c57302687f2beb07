"""The GraphQL input types for completions."""

from decimal import Decimal
from enum import StrEnum
from typing import Any

import strawberry
from strawberry import ID
from strawberry.scalars import JSON

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.completion_input import checked
from resolvers.vetting import Vetted
from schema.base import described, enum, optional
from schema.inputs import WHEN_LEFT, checked_cost
from schema.parts import ContentPartInput
from schema.stream_enums import OnDisconnect


class ChatRole(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


enum(
    ChatRole,
    "The author of a message in a completion request.",
    SYSTEM="Instructions to the model.",
    DEVELOPER="Instructions to the model. OpenAI's newer models use this role instead of `SYSTEM`.",
    USER="The user.",
    ASSISTANT="The model.",
    TOOL="The result of a tool call. `toolCallId` names the call.",
)


class ReasoningEffort(StrEnum):
    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


enum(
    ReasoningEffort,
    "How much a model reasons before it answers. Each model supports only some of the values.",
    NONE="The model does not reason.",
    MINIMAL="Very little reasoning, for the fastest first token.",
    LOW="Little reasoning.",
    MEDIUM="A balance of speed and quality.",
    HIGH="Much reasoning.",
    XHIGH="More reasoning than `HIGH`.",
    MAX="As much reasoning as the model supports.",
)


class Verbosity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


enum(
    Verbosity,
    "How detailed a model's answer is.",
    LOW="A short answer.",
    MEDIUM="An answer of medium length.",
    HIGH="A detailed answer.",
)


@strawberry.input(
    description="A tool call that the model requested earlier. The client sends the call back to the model."
)
class ToolCallInput:
    tool_call_id: ID = described("The id of the call. The `TOOL` message with the result has the same `toolCallId`.")
    name: str = described("The tool's name.")
    arguments: str = described("The arguments, as the JSON text that the model wrote.")

    def openai(self) -> dict[str, Any]:
        """Convert the tool call to OpenAI's format."""
        called = {"name": self.name, "arguments": self.arguments}
        return {"id": self.tool_call_id, "type": "function", "function": called}


@strawberry.input(description="One message of a completion request. Set either `content` or `parts`.")
class ChatMessageInput:
    role: ChatRole = described("The author of the message.")
    content: str | None = optional("The message's text. To send images, set `parts` instead.")
    parts: list[ContentPartInput] | None = optional(
        "The message as a list of texts and images. Set `parts` instead of `content`."
    )
    name: str | None = optional("The author's name, which distinguishes several authors with the same role.")
    tool_call_id: ID | None = optional("The id of the tool call that a `TOOL` message answers.")
    tool_calls: list[ToolCallInput] | None = optional(
        "The tool calls of an `ASSISTANT` message, as `complete` returned them."
    )

    def message(self) -> dict[str, Any]:
        """Convert the message to OpenAI's format. Raises BadUserInput."""
        message: dict[str, Any] = {"role": self.role.value, "content": self._said()}
        calls = None if self.tool_calls is None else [call.openai() for call in self.tool_calls]
        optional = {"name": self.name, "tool_call_id": self.tool_call_id, "tool_calls": calls}
        return message | {name: value for name, value in optional.items() if value is not None}

    def _said(self) -> str | list[dict[str, Any]] | None:
        if self.parts is None:
            return self.content
        if self.content is not None or not self.parts:
            raise BadUserInput(
                "A message must have either `content`, or `parts` with at least one part.", reason=Reason.MESSAGE
            )
        return [part.openai() for part in self.parts]


_OPTIONS = (
    *("temperature", "top_p", "max_tokens", "stop", "seed", "reasoning_effort", "verbosity"),
    *("tools", "tool_choice", "response_format"),
)


@strawberry.input(description="A chat completion request.")
class CompletionInput:
    model: str = described("The model's name, as listed by `models`.")
    messages: list[ChatMessageInput] = described("All messages of the chat, oldest first, at most 2,000 messages.")
    temperature: float | None = optional("Sampling temperature, 0 to 2. Default: the model's default.")
    top_p: float | None = optional(
        "Nucleus sampling: the probability mass to sample from, 0 to 1. Default: the model's default."
    )
    max_tokens: int | None = optional("Maximum number of tokens to generate.")
    stop: list[str] | None = optional(
        "1 to 16 stop sequences. The answer ends before the first stop sequence that the model generates."
    )
    seed: int | None = optional("Seed for reproducible sampling. Not all models support a seed.")
    reasoning_effort: ReasoningEffort | None = optional(
        "How much the model reasons before it answers. Only reasoning models support this field. "
        "Default: the model's default."
    )
    verbosity: Verbosity | None = optional(
        "How detailed the answer is. Only some models support this field. Default: the model's default."
    )
    tools: list[JSON] | None = optional("Tools that the model can call, at most 128, in OpenAI's format.")
    tool_choice: JSON | None = optional("The rule for the model's choice of a tool, in OpenAI's format.")
    response_format: JSON | None = optional("The answer's format, such as JSON, as an OpenAI `response_format` object.")
    on_disconnect: OnDisconnect | None = optional(WHEN_LEFT, default=OnDisconnect.CANCEL)
    max_cost_usd: Decimal | None = optional(
        "Maximum cost of the answer in US dollars, at most 1,000,000. The gateway estimates the cost while the model "
        "answers. If the estimate exceeds `maxCostUsd`, the gateway stops the model, and the stream ends with "
        "`FAILED` and the reason `MAX_COST`. The model must have prices."
    )
    idempotency_key: str | None = optional(
        "A key of 1 to 200 characters, which `startCompletion` and `complete` require. A repeated request with the "
        "same key makes no second model call. The `completion` subscription ignores this field and uses `streamKey`."
    )

    def when_left(self) -> OnDisconnect:
        """Return ``on_disconnect``, or ``CANCEL`` if the client sent null."""
        return self.on_disconnect or OnDisconnect.CANCEL

    def max_cost(self) -> Decimal | None:
        """Return ``max_cost_usd``. Raises BadUserInput if it is not a positive number."""
        return checked_cost(self.max_cost_usd)

    def body(self) -> Vetted:
        """Convert the input to the body of an OpenAI request. Raises BadUserInput if the input is invalid."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        body = {"model": self.model, "messages": [message.message() for message in self.messages]}
        return checked(body | {name: value for name, value in options.items() if value is not None})
