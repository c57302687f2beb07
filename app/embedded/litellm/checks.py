"""Checks of a completion's request body, because providers refuse an invalid body with 400."""

from __future__ import annotations

from typing import Any

import msgspec

from app.embedded.litellm.answers import Refused, invalid
from app.embedded.state import Json

_FORBIDDEN = ("api_base", "base_url", "user_config", "model_list", "vertex_credentials", "azure_ad_token")
"""Fields that LiteLLM refuses, because a client could use them to send LiteLLM's own keys to any address."""


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


class _Completion(msgspec.Struct):
    messages: list[Json]
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    functions: list[_Function] | None = None
    function_call: str | Json | None = None
    response_format: _Format | None = None
    stream_options: dict[str, Any] | None = None


def check_completion(body: Json) -> None:
    """Check the body of a completion. Raises Refused."""
    if "messages" not in body:
        raise invalid("/chat/completions: Missing required parameter: 'messages'.", "messages")
    try:
        msgspec.convert(body, _Completion)
    except msgspec.ValidationError as error:
        raise invalid(f"litellm.BadRequestError: OpenAIException - {error}") from error


def check_safe(body: Json) -> None:
    """Raise Refused for a forbidden field. As in LiteLLM, the refusal is the same as for a wrong key."""
    for name in _FORBIDDEN:
        if name in body:
            text = f"Authentication Error, Rejected Request: {name} is not allowed in request body."
            raise Refused(401, "auth_error", text, param="None")
