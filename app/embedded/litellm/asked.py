"""What a completion's body must look like for a model to answer it; providers refuse others by a 400."""

from __future__ import annotations

from typing import Any

import msgspec

from app.embedded.litellm.answers import Refused, invalid
from app.embedded.state import Json

_NOT_TAKEN = ("api_base", "base_url", "user_config", "model_list", "vertex_credentials", "azure_ad_token")
"""Some of what LiteLLM takes from nobody: it would send its own keys wherever a caller likes."""


class _Function(msgspec.Struct):
    name: str
    parameters: Json | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Schema(msgspec.Struct):
    schema: Json | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _Choice(msgspec.Struct):
    function: Json | None = None


class _Asked(msgspec.Struct):
    messages: list[Json]
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    functions: list[_Function] | None = None
    function_call: str | Json | None = None
    response_format: _Format | None = None
    stream_options: dict[str, Any] | None = None


def check_completion(body: Json) -> None:
    """Raises Refused."""
    if "messages" not in body:
        raise invalid("/chat/completions: Missing required parameter: 'messages'.", "messages")
    try:
        msgspec.convert(body, _Asked)
    except msgspec.ValidationError as error:
        raise invalid(f"litellm.BadRequestError: OpenAIException - {error}") from error


def check_safe(body: Json) -> None:
    """Raises Refused, the way that LiteLLM does it: as if the key were wrong."""
    for name in _NOT_TAKEN:
        if name in body:
            text = f"Authentication Error, Rejected Request: {name} is not allowed in request body."
            raise Refused(401, "auth_error", text, param="None")
