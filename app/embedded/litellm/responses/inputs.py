"""Translates a request of the Responses API to a completion's request, as LiteLLM does for a model without that API.

An *item* is a message, a function call, the result of a function call, or reasoning. The items of a conversation
become the completion's messages.
"""

from __future__ import annotations

import uuid
from typing import Any

from app.embedded.litellm.answers import Refused, invalid
from app.embedded.state import Json

_TEXTS = frozenset({"input_text", "output_text", "text", "refusal"})
_ROLES = {"developer": "system"}
_PREFIXES = {"message": "msg", "reasoning": "rs"}
_UNKNOWN_PARTS: Json = {"type": "text", "text": ""}


def new_id(kind: str) -> str:
    """Make an item's id in OpenAI's format."""
    return f"{_PREFIXES.get(kind, 'fc')}_{uuid.uuid4().hex}"


def items_of(value: Any) -> list[Json]:
    """Return the items of ``input``, which is a text or a list, each with its type, status and id.

    Raises:
        Refused: ``input`` is something else, or an item's type, id or call's id is not a text.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    items = [_complete(item) for item in _objects(value, "input")]
    for item in items:
        if not all(isinstance(item.get(name, ""), str) for name in ("type", "id", "call_id")):
            raise _wrong_type("input")
    return items


def _objects(value: Any, param: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _wrong_type(param)
    return value


def _wrong_type(param: str) -> Refused:
    return invalid(f"litellm.BadRequestError: OpenAIException - Invalid type for '{param}'.", param)


def _complete(item: Json) -> Json:
    kind = item.get("type") or "message"
    whole = {"status": "completed", **item, "type": kind, "id": item.get("id") or new_id(str(kind))}
    if kind == "message" and isinstance(text := item.get("content"), str):
        form = "output_text" if item.get("role") == "assistant" else "input_text"
        whole["content"] = [{"type": form, "text": text}]
    return whole


def chat_of(body: Json, items: list[Json]) -> Json:
    """Return the body of the completion that answers the items of a conversation. Raises Refused."""
    head = [{"role": "system", "content": text}] if isinstance(text := body.get("instructions"), str) else []
    chat: Json = {"messages": [*head, *_messages(items)], "tools": _tools(body.get("tools"))}
    chat |= {"tool_choice": body.get("tool_choice"), "parallel_tool_calls": body.get("parallel_tool_calls")}
    chat["max_completion_tokens"] = body.get("max_output_tokens")
    text = body.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}:
        schema = {"name": form.get("name"), "schema": form.get("schema")}
        chat["response_format"] = {"type": form["type"], **({"json_schema": schema} if "schema" in form else {})}
    return chat


def _messages(items: list[Json]) -> list[Json]:
    """Return the messages. Successive function calls are the calls of one message; reasoning has no message."""
    messages: list[Json] = []
    for item in items:
        match item["type"]:
            case "message":
                role = str(item.get("role") or "user")
                messages.append({"role": _ROLES.get(role, role), "content": _content(item.get("content"))})
            case "function_call":
                if not (messages and messages[-1].get("tool_calls")):
                    messages.append({"role": "assistant", "content": None, "tool_calls": []})
                function = {"name": item.get("name"), "arguments": item.get("arguments")}
                messages[-1]["tool_calls"].append({"id": item.get("call_id"), "type": "function", "function": function})
            case "function_call_output":
                call_id, output = item.get("call_id"), _content(item.get("output"))
                messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
    return messages


def _content(value: Any) -> str | list[Json]:
    if not isinstance(value, list):
        return value if isinstance(value, str) else ""
    return [_part(part) for part in value if isinstance(part, dict)]


def _part(part: Json) -> Json:
    kind = str(part.get("type"))
    if kind in _TEXTS:
        return {"type": "text", "text": part.get("text") or part.get("refusal") or ""}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url"), "detail": part.get("detail")}}
    if kind == "input_file":
        return {"type": "file", "file": {name: part.get(name) for name in ("file_data", "file_id", "filename")}}
    return _UNKNOWN_PARTS


def _tools(tools: Any) -> list[Json]:
    """Return the function tools. The model cannot call the provider's own tools."""
    names = ("name", "description", "parameters", "strict")
    return [
        {"type": "function", "function": {name: tool[name] for name in names if name in tool}}
        for tool in _objects([] if tools is None else tools, "tools")
        if tool.get("type") == "function"
    ]
