"""The two APIs with which Letta calls models: their requests, and the events of their streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from app.embedded.letta.shapes import USER
from app.embedded.model import ModelFailure
from app.embedded.state import Json

_RESPONSES_MODELS = ("o1", "o3", "o4", "gpt-5")
"""The beginnings of the names of the models that Letta 0.16.8 calls with OpenAI's Responses API."""


@dataclass(frozen=True)
class Api:
    """An API of a model endpoint.

    Attributes:
        path: the path of requests, after the endpoint's URL.
        body: makes a request's body from the agent's model configuration, the messages, and the name of a tool.
        words: yields the texts in an answer's events, and adds the token counts to a dict. Raises ModelFailure.
    """

    path: str
    body: Callable[[Json, list[Json], str | None], Json]
    words: Callable[[httpx.Response, Json], AsyncIterator[str]]


def api_of(model: str) -> Api:
    """Return the API with which Letta calls a model."""
    return _RESPONSES if model.startswith(_RESPONSES_MODELS) else _CHAT


def _chat(config: Json, messages: list[Json], tool: str | None) -> Json:
    function = {"name": tool, "parameters": {"type": "object"}}
    tools = {} if tool is None else {"tools": [{"type": "function", "function": function}]}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": config["model"], "messages": messages, **tools, **options}


async def _chat_words(answer: httpx.Response, used: Json) -> AsyncIterator[str]:
    async for chunk in _events(answer):
        if chunk is None:
            return
        if chunk.get("error"):
            raise ModelFailure("cut")
        if usage := chunk.get("usage"):
            used |= {name: usage[name] for name in ("prompt_tokens", "completion_tokens")}
        for choice in chunk["choices"]:
            if content := choice["delta"].get("content"):
                yield content
    raise ModelFailure("cut")


def _responses(config: Json, messages: list[Json], tool: str | None) -> Json:
    function = {"type": "function", "name": tool, "description": None, "parameters": {"type": "object"}, "strict": None}
    effort = config.get("reasoning_effort") or "none"
    return {
        "include": ["reasoning.encrypted_content"],
        "input": [_item(message) for message in messages],
        "model": config["model"],
        "parallel_tool_calls": False,
        "store": False,
        "temperature": None,
        "tool_choice": None if tool is None else "auto",
        "tools": None if tool is None else [function],
        "user": USER,
        "stream": True,
        **({} if config.get("max_tokens") is None else {"max_output_tokens": config["max_tokens"]}),
        **({} if effort == "none" else {"reasoning": {"effort": effort, "summary": "detailed"}}),
    }


def _item(message: Json) -> Json:
    role, content = message["role"], message["content"]
    if role == "user":
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        return {"role": role, "content": [_part(part) for part in parts]}
    return {"role": "developer" if role == "system" else role, "content": content}


def _part(part: Json) -> Json:
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": part["image_url"]["detail"]}
    return {"type": "input_text", "text": part["text"]}


async def _responses_words(answer: httpx.Response, used: Json) -> AsyncIterator[str]:
    async for event in _events(answer):
        match event and event["type"]:
            case "response.output_text.delta":
                yield event["delta"]
            case "response.completed" | "response.incomplete":
                usage = event["response"]["usage"]
                used |= {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
                return
            case "response.failed" | "error":
                break
    raise ModelFailure("cut")


async def _events(answer: httpx.Response) -> AsyncIterator[Any]:
    """Yield the data of each event, and ``None`` for ``[DONE]``."""
    async for line in answer.aiter_lines():
        data = line.removeprefix("data: ")
        if data != line:
            yield None if data == "[DONE]" else orjson.loads(data)


_CHAT = Api("chat/completions", _chat, _chat_words)
_RESPONSES = Api("responses", _responses, _responses_words)
