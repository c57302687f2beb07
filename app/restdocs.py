"""The REST door in OpenAPI: ``/openapi.json``, ``/docs``, ``/redoc``. The routes themselves are bare ASGI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

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
            },
        }
    },
}


def describe(api: FastAPI) -> None:
    """Add the OpenAI door to the description that FastAPI makes of its own routes."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = get_openapi(title=api.title, version=api.version, routes=api.routes)
            document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["paths"] |= _paths()
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def _paths() -> dict[str, Any]:
    completion = {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": {"type": "string"},
            "messages": {"type": "array", "items": {"type": "object"}},
            "stream": {"type": "boolean", "default": False},
        },
        "additionalProperties": True,
    }
    post = _operation("A chat completion, whole or streamed (OpenAI's API).")
    post["requestBody"] = {"required": True, "content": {"application/json": {"schema": completion}}}
    post["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    one = _operation("One model.")
    one["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "/v1/chat/completions": {"post": post},
        "/v1/models": {"get": _operation("The models your key may call (OpenAI's API).")},
        "/v1/models/{model}": {"get": one},
    }


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
