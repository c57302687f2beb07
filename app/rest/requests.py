"""Classes for the JSON request bodies of ``/v1``.

LiteLLM reads its own parameters from the same object, such as the URL and key to call, mock answers, and logging.
Unknown parameters are therefore refused, not forwarded (decision 0019).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from app.rest.parameters import Metadata
from app.rest.response_requests import ADVICE, UNSENT, Responses
from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.vetting import Vetted, vet_chat, vet_embeddings, vet_response

_Object = dict[str, Any]


class ImageUrl(msgspec.Struct):
    """The URL of an image: a data URL or a web address."""

    url: str


class Part(msgspec.Struct):
    """A part of a message's content, such as text or an image."""

    type: str
    text: str | None = None
    image_url: str | ImageUrl | None = None


class Function(msgspec.Struct):
    """The name of a function."""

    name: str


class Call(msgspec.Struct):
    """A tool call that the model made."""

    id: str | None = None
    type: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    """One message of a chat completion request."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None


class Tool(msgspec.Struct):
    """A tool that the model may call."""

    type: str
    function: Function | None = None


class Format(msgspec.Struct):
    """The response format that the client requests."""

    type: str


class Chat(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a chat completion request. Only some models and providers support the last six fields."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _Object | None = None
    user: str | None = None
    safety_identifier: str | None = None
    tools: list[Tool] | None = None
    tool_choice: str | _Object | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | _Object | None = None
    response_format: Format | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    modalities: list[str] | None = None
    audio: _Object | None = None
    prediction: _Object | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    moderation: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: _Object | None = None
    web_search_options: _Object | None = None
    thinking: _Object | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    chat_template_args: _Object | None = None
    chat_template_kwargs: _Object | None = None


class Embeddings(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an embeddings request in OpenAI's format."""

    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


_NAMES = {shape: frozenset(shape.__struct_fields__) for shape in (Chat, Embeddings, Responses)}
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`\Z")
_PARAM = re.compile(r" - at (?:`key` in )?`\$\.(.+?)(?:\[\.\.\.\])?`\Z", re.DOTALL)
_KEPT = ("metadata", "store")
"""Parameters that are checked and not sent to LiteLLM, except for the value false (decision 0086)."""
_SHOWN = 100
"""Maximum number of characters of the request that an error message quotes."""


def check(body: dict[str, Any], shape: type[Chat | Embeddings | Responses]) -> Vetted:
    """Check the types and values of the parameters in a request body.

    Returns:
        The body, without unknown parameters that are null, and without what LiteLLM must not read (decision 0086):
        ``metadata``, and ``store`` if it is true.

    Raises:
        BadUserInput: a parameter is unknown or invalid.
    """
    unknown = body.keys() - _NAMES[shape]
    ignored = {name for name in unknown if body[name] is None or (name == "metadata" and body[name] == {})}
    try:
        msgspec.convert(_without(body, ignored), shape)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from error
    if shape is Responses:
        if body.get("background"):
            raise _unknown("background")
        return vet_response(_without(body, ignored | set(UNSENT)))
    kept = _without(body, ignored | {name for name in _KEPT if name in body and body[name] is not False})
    return vet_chat(kept) if shape is Chat else vet_embeddings(kept)


def _without(body: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names} if names else body


def _refusal(message: str) -> BadUserInput:
    if unknown := _UNKNOWN.match(message):
        return _unknown(unknown[1][:_SHOWN])
    param = _PARAM.search(message) or _MISSING.match(message)
    details = {"param": param[1][:_SHOWN]} if param else None
    return BadUserInput(
        f"The request body is invalid: {message[: 2 * _SHOWN]}.", reason=Reason.REQUEST, details=details
    )


def _unknown(name: str) -> BadUserInput:
    advice = f" {ADVICE[name]}" if name in ADVICE else ""
    message = f"Unknown parameter: {name!r}.{advice}"
    return BadUserInput(message, reason=Reason.UNKNOWN_PARAMETER, details={"param": name})
