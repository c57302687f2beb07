"""Estimates the tokens of requests to OpenAI's Responses API."""

from typing import Any

from resolvers.tokens import Need, prompt_tokens

_ROLES = {"function_call": "assistant", "custom_tool_call": "assistant", "reasoning": "assistant"}
_TEXTS = ("arguments", "input", "output", "summary")


def response_need(body: dict[str, Any]) -> Need:
    """Estimate the tokens of a request to create a response. The history of a previous response does not count."""
    output = body.get("max_output_tokens")
    chat = {"messages": messages_of(body), "tools": body.get("tools"), "response_format": body.get("text")}
    return Need(prompt_tokens(chat), None if output is None else max(0, output))


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert the input of a request to messages of a chat completion, whose tokens LiteLLM can count."""
    instructions, sent = body.get("instructions"), body["input"]
    messages = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(sent, str):
        return [*messages, {"role": "user", "content": sent}]
    return messages + [_message(item) for item in sent]


def _message(item: dict[str, Any]) -> dict[str, Any]:
    kind = item.get("type")
    content = item.get("content")
    if content is None:
        content = next((item[name] for name in _TEXTS if item.get(name)), "")
    role = item.get("role") or _ROLES.get(kind if isinstance(kind, str) else "", "user")
    return {"role": role, "content": _content(content)}


def _content(value: Any) -> str | list[dict[str, Any]]:
    if not isinstance(value, list):
        return value if isinstance(value, str) else ""
    return [_part(part) for part in value if isinstance(part, dict)]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    text, url = part.get("text") or part.get("refusal"), part.get("image_url")
    if isinstance(text, str):
        return {"type": "text", "text": text}
    return {"type": "image_url", "image_url": {"url": url}} if isinstance(url, str) else {"type": "file"}
