"""Requests to the endpoints in OpenAI's format."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import openai
import pytest
from starlette.requests import Request

from app.embedded import http_client
from app.embedded.litellm import chat
from app.embedded.litellm.answers import body_of
from tests.support.stack import Stack

EMBEDDING = {"model": "text-embedding-3-small", "input": "hi"}


def asking(stack: Stack, directive: str, **more: Any) -> dict[str, Any]:
    """Return the body of a request for a completion."""
    return {"model": stack.chat_model, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], **more}


def sdk_client(base_url: str, api_key: str | Callable[[], Awaitable[str]], **options: Any) -> openai.AsyncOpenAI:
    """Return a client of OpenAI's SDK that uses no proxy."""
    http = http_client.client(timeout=30)
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key, http_client=http, **options)


async def ask(stack: Stack, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    """Send a request as the user, or as the user's agents if the path begins with ``proxy``."""
    if path.startswith("proxy"):
        url, secret = stack.proxy() + path.removeprefix("proxy"), stack.agent_secret()
    else:
        url, secret = path, stack.token()
    content = json.dumps(body)
    return await stack.client.post(url, content=content, headers={**headers, "authorization": f"Bearer {secret}"})


class Received:
    """The bodies that the model has received: a real LiteLLM's model, or else the embedded LiteLLM."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self._bodies: list[dict[str, Any]] = []

        async def recorded(request: Request) -> dict[str, Any]:
            body = await body_of(request)
            self._bodies.append(body)
            return body

        monkeypatch.setattr(chat, "body_of", recorded)

    async def one(self, text: str) -> dict[str, Any]:
        """Return the newest body that contains a text."""
        bodies = await self._logged() if self._stack.real else self._bodies
        return next(body for body in reversed(bodies) if text in json.dumps(body))

    async def _logged(self) -> list[dict[str, Any]]:
        async with http_client.client() as client:
            answer = await client.get(os.environ.get("MODEL_URL", "http://127.0.0.1:19301") + "/_log")
        return [entry["body"] for entry in answer.json()["log"]]
