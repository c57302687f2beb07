"""Estimates tokens of model requests and answers. Only a model's tokenizer knows the exact numbers."""

from collections.abc import Sequence
from typing import Any

import msgspec

from clients.usage import Usage
from resolvers.streams.events import Event, TextDelta, ToolCallDelta, utf8_size

PROMPT_BYTES = 4
"""The bytes of a prompt per token. English texts have about 4.4 bytes per token."""

ANSWER_BYTES = 3
"""The bytes of an answer per token. Estimates of costs must not be too low, so the number is below the average."""

IMAGE_TOKENS = 1000
"""The tokens of an image, file, audio or video, whose base64 data is not text."""

OUTPUT_TOKENS = 1024
"""The output tokens that are reserved for a request without a maximum. The model may generate more tokens."""

MAX_TOKENS = ("max_completion_tokens", "max_tokens")
"""The parameters with the maximum of output tokens. The first has precedence."""

_VALUES = ("tools", "functions", "response_format", "input")
_TEXT_TYPES = ("text", "input_text", "refusal", "thinking", None)
"""The types of content parts whose tokens are those of their text."""


class Need(msgspec.Struct, frozen=True):
    """The tokens that a model request needs.

    Attributes:
        prompt: the estimated number of prompt tokens.
        output: the maximum number of output tokens, or ``None`` if the request has no maximum.
        choices: the number of answers that the request asks for.
    """

    prompt: int
    output: int | None = None
    choices: int = 1

    @property
    def least(self) -> int:
        """The tokens that must be reserved."""
        return self.prompt + (self.output or 0) * self.choices

    @property
    def more(self) -> int:
        """The tokens to reserve in addition, if the limit permits."""
        return OUTPUT_TOKENS * self.choices if self.output is None else 0

    @property
    def estimate(self) -> int:
        """The tokens that count if the used tokens remain unknown."""
        return self.least + self.more


def need_of(body: dict[str, Any]) -> Need:
    """Estimate the tokens of a chat completion request."""
    output = next((body[name] for name in MAX_TOKENS if body.get(name) is not None), None)
    return Need(prompt_tokens(body), None if output is None else max(0, output), max(1, body.get("n") or 1))


def embedding_need(body: dict[str, Any]) -> Need:
    """Estimate the tokens of an embeddings request. The input may consist of tokens."""
    return Need(prompt_tokens(body), 0)


def prompt_tokens(body: dict[str, Any]) -> int:
    """Estimate the prompt tokens of a model request. The estimate is at least 1."""
    size = sum(_size(body[name]) for name in _VALUES if body.get(name))
    media = 0
    for message in body.get("messages", ()):
        content = message.get("content")
        if isinstance(content, list):
            kinds = [part.get("type") for part in content if isinstance(part, dict)]
            media += sum(kind not in _TEXT_TYPES for kind in kinds)
            size += sum(_text_size(part) for part in content)
        elif content:
            size += _text_size(content)
        if message.get("tool_calls"):
            size += _size(message["tool_calls"])
    return max(1, -(-size // PROMPT_BYTES)) + media * IMAGE_TOKENS


def _text_size(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) else part
    return utf8_size(text) if isinstance(text, str) else 0


def _size(value: Any) -> int:
    """Return the bytes of a value as JSON. A number in the input of embeddings is a token."""
    if isinstance(value, str):
        return utf8_size(value)
    if isinstance(value, list) and isinstance(value[0], int):
        return PROMPT_BYTES * len(value)
    if isinstance(value, list) and isinstance(value[0], list):
        return PROMPT_BYTES * sum(len(one) for one in value if isinstance(one, list))
    return len(msgspec.json.encode(value))


_DELTAS = (TextDelta, ToolCallDelta)


class Tally:
    """Estimates the tokens of an answer while it streams. Each delta has at least one token."""

    __slots__ = ("_bytes", "_deltas")

    def __init__(self) -> None:
        self._bytes = 0
        self._deltas = 0

    def add(self, events: Sequence[Event], *, joined: int = 1) -> None:
        """Count the tokens of events. Each delta was joined of ``joined`` deltas."""
        for event in events:
            if isinstance(event, _DELTAS):
                self._deltas += joined
                self._bytes += event.size
                if isinstance(event, ToolCallDelta) and event.name is not None:
                    self._bytes += utf8_size(event.name)

    @property
    def tokens(self) -> int:
        """The estimated number of tokens so far."""
        return max(self._deltas, -(-self._bytes // ANSWER_BYTES))


def used_tokens(usage: Usage | None) -> int | None:
    """Return the input and output tokens that a service reported, or ``None`` if the service reported none."""
    if usage is None or (usage.total_tokens is None and usage.prompt_tokens is None):
        return None
    parts = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    return max(usage.total_tokens or 0, parts)
