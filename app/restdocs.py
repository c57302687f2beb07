"""Describes the REST endpoints in OpenAPI. FastAPI makes the description, and serves no request."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from app.rest.requests import Chat, Embeddings
from app.rest.response_requests import Responses
from app.rest.table import TABLE, Row, Work
from app.version import VERSION
from clients.origin import Origin
from resolvers.checks import MAX_KEY

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "string", "nullable": True},
                "code": {"type": "string"},
                "retry_after_seconds": {
                    "type": "number",
                    "description": "Seconds to wait before a retry, with decimals. Absent if there is no known time.",
                },
            },
        }
    },
}


def openapi(operators: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of ``operators`` and of the REST endpoints."""
    api = FastAPI()
    for route in operators:
        summary = inspect.getdoc(route.endpoint)
        api.add_api_route(route.path, route.endpoint, methods=["GET"], tags=["operations"], summary=summary)
    document = get_openapi(title="agentgraph", version=VERSION, routes=api.routes)
    components = document.setdefault("components", {})
    components["schemas"] = components.get("schemas", {}) | _SHAPES
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "The user's access token."},
        "agentSecret": {"type": "http", "scheme": "bearer", "description": "The user's agent secret."},
    }
    document["paths"] |= _paths()
    return document


(_CHAT, _EMBEDDINGS, _RESPONSES), _SHAPES = msgspec.json.schema_components(
    (Chat, Embeddings, Responses), ref_template="#/components/schemas/{name}"
)
_REQUESTS = {
    Work.CHAT: _CHAT,
    Work.EMBEDDINGS: _EMBEDDINGS,
    Work.RESPONSES: _RESPONSES,
    Work.BY_BODY: {"oneOf": [_CHAT, _EMBEDDINGS]},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
    "description": "A repeated request with the same key and body returns the first request's "
    "answer, without a second model call.",
}
_CONVERSATION = {
    "name": "X-Conversation-Id",
    "in": "header",
    "schema": {"type": "string"},
    "description": "If the model is an agent: the id of one of the agent's conversations. By default, the agent's "
    "default conversation.",
}
_CONTINUE = {
    "name": "X-Stream-Continue",
    "in": "header",
    "schema": {"type": "string", "enum": ["true"]},
    "description": "The streamed answer continues if the client disconnects.",
}
_SUMMARIES = {
    Work.CHAT: "Create a chat completion, optionally streamed (OpenAI's API). The model can be the user's agent.",
    Work.EMBEDDINGS: "Create embeddings (OpenAI's API).",
    Work.RESPONSES: "Create a response, optionally streamed (OpenAI's API). The model can be the user's agent.",
    Work.RESPONSE: "Retrieve a stored response (OpenAI's API).",
    Work.DELETE_RESPONSE: "Delete a stored response (OpenAI's API).",
    Work.INPUT_ITEMS: "List the input items of a stored response (OpenAI's API).",
    Work.BY_BODY: "Create a chat completion if the body has `messages`, or embeddings if it has `input`.",
    Work.MODELS: "List the models that the user can call with the user's LiteLLM key, and the user's agents (OpenAI's "
    "API).",
    Work.NO_MODELS: "Return an empty list, because Letta reads its models from LiteLLM.",
}


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for row in TABLE:
        paths.setdefault(row.path, {})[row.method.lower()] = _described(row)
    return paths


def _described(row: Row) -> dict[str, Any]:
    operation = _operation(_SUMMARIES[row.work] if "{model}" not in row.path else "Retrieve a model (OpenAI's API).")
    if row.origin is Origin.LETTA:
        operation |= {"tags": ["Calls from Letta"], "security": [{"agentSecret": []}]}
    names = re.findall(r"\{(\w+)\}", row.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    elif row.work in _REQUESTS:
        of_chat = [_CONTINUE, _CONVERSATION] if row.work in {Work.CHAT, Work.RESPONSES} else []
        operation["parameters"] = [_KEY, *of_chat]
    if (request := _REQUESTS.get(row.work)) is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": request}}}
    if row.work in {Work.CHAT, Work.RESPONSES, Work.BY_BODY}:
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return operation


def _operation(summary: str) -> dict[str, Any]:
    failure = {"description": "An error, in OpenAI's format.", "content": {"application/json": {"schema": _ERROR}}}
    answer = {
        "description": "The response, in OpenAI's format.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    return {
        "tags": ["openai"],
        "summary": summary,
        "security": [{"token": []}],
        "responses": {"200": answer, "401": failure, "4XX": failure, "5XX": failure},
    }
