"""The REST door in OpenAPI: ``/openapi.json``, ``/docs``, ``/redoc``, none of them in production.

The routes themselves are bare ASGI.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import Lifespan

from app.rest.requests import Chat, Embeddings
from app.rest.table import TABLE, Row, Work
from app.settings import Settings
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
                "retry_after_seconds": {"type": "number", "description": "The true wait, where it is known."},
            },
        }
    },
}


def described_api(settings: Settings, lifespan: Lifespan[FastAPI]) -> FastAPI:
    """Make an application that describes its routes and the OpenAI door, except in production."""
    url = None if settings.is_production else "/openapi.json"  # FastAPI has no /docs and no /redoc without it
    api = FastAPI(title="agentgraph", version=VERSION, lifespan=lifespan, redirect_slashes=False, openapi_url=url)
    _describe(api)
    return api


def _describe(api: FastAPI) -> None:
    """Add the OpenAI door to the description that FastAPI makes of its own routes."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = get_openapi(title=api.title, version=api.version, routes=api.routes)
            components = document.setdefault("components", {})
            components["schemas"] = components.get("schemas", {}) | _SHAPES
            components["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "description": "The user's own token."},
                "agentSecret": {"type": "http", "scheme": "bearer", "description": "The secret of the user's agents."},
            }
            document["paths"] |= _paths()
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


(_CHAT, _EMBEDDINGS), _SHAPES = msgspec.json.schema_components(
    (Chat, Embeddings), ref_template="#/components/schemas/{name}"
)
_REQUESTS = {
    Work.CHAT: _CHAT,
    Work.EMBEDDINGS: _EMBEDDINGS,
    Work.BY_BODY: {"oneOf": [_CHAT, _EMBEDDINGS]},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
    "description": "The same key and request again get the answer of the first one, paid once.",
}
_SUMMARIES = {
    Work.CHAT: "A chat completion, whole or streamed (OpenAI's API).",
    Work.EMBEDDINGS: "Embeddings (OpenAI's API).",
    Work.BY_BODY: "A chat completion for a body with `messages`, embeddings for one with `input`.",
    Work.MODELS: "The models your key may call (OpenAI's API).",
    Work.NO_MODELS: "An empty list: Letta takes its models from LiteLLM.",
}


def _paths() -> dict[str, Any]:
    """The rows of the table."""
    paths: dict[str, Any] = {}
    for row in TABLE:
        paths.setdefault(row.path, {})[row.method.lower()] = _described(row)
    return paths


def _described(row: Row) -> dict[str, Any]:
    operation = _operation(_SUMMARIES[row.work] if "{model}" not in row.path else "One model.")
    if row.origin is Origin.LETTA:
        operation |= {"tags": ["Letta calling back"], "security": [{"agentSecret": []}]}
    names = re.findall(r"\{(\w+)\}", row.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    elif row.work in _REQUESTS:
        operation["parameters"] = [_KEY]
    if (request := _REQUESTS.get(row.work)) is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": request}}}
    if row.work in {Work.CHAT, Work.BY_BODY}:
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return operation


def _operation(summary: str) -> dict[str, Any]:
    failure = {"description": "OpenAI's error body.", "content": {"application/json": {"schema": _ERROR}}}
    answer = {
        "description": "As OpenAI's API answers.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    return {
        "tags": ["openai"],
        "summary": summary,
        "security": [{"token": []}],
        "responses": {"200": answer, "401": failure, "4XX": failure, "5XX": failure},
    }
