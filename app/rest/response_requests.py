"""Classes for the JSON request bodies of OpenAI's Responses API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from app.rest.parameters import Metadata

_Object = dict[str, Any]


class ItemPart(msgspec.Struct):
    """A part of an item's content, such as text or an image."""

    type: str
    text: str | None = None
    image_url: str | None = None


class Item(msgspec.Struct):
    """One item of a request's input, such as a message or the result of a tool call."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ItemPart] | None = None
    output: str | list[ItemPart] | _Object | None = None
    arguments: str | None = None


class ResponseTool(msgspec.Struct):
    """A tool that the model may call."""

    type: str
    name: str | None = None


class Responses(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a response. Only some models and providers support all fields."""

    model: str
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    stream_options: _Object | None = None
    store: bool | None = None
    background: bool | None = None
    metadata: Metadata | None = None
    include: list[str] | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: str | _Object | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    max_output_tokens: int | None = None
    text: _Object | None = None
    reasoning: _Object | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    truncation: str | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: _Object | None = None


UNSENT = ("background", "metadata", "stream_options")
"""Parameters that LiteLLM does not get.

LiteLLM reads routing tags from ``metadata`` (decision 0019). ``stream_options`` has only options of the event stream.
"""

ADVICE = {
    "background": "Request a stream, which you can resume by its X-Stream-Id.",
    "conversation": "Use previous_response_id.",
    "prompt": "Send the prompt in instructions and input.",
    "context_management": "Shorten the input.",
}
"""What to do instead of OpenAI's parameters that the gateway does not support."""
