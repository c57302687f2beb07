"""Requests to the endpoints in OpenAI's format."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import openai

from app.embedded import http_client
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
