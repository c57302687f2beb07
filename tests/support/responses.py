"""Requests to LiteLLM's Responses API, of a model whose provider serves it (native), or bridged to completions."""

from __future__ import annotations

from typing import Any

from app.embedded.seed import CHAT_ONLY
from tests.support.embedded import events_of
from tests.support.upstreams import Json, Upstreams

PATH = "/v1/responses"
NATIVE, BRIDGED = "native", "bridged"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TEXT_EVENTS = [
    *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
    *("output_text.done", "content_part.done", "output_item.done", "completed"),
]


def ask(up: Upstreams, kind: str, said: Any, **more: Any) -> Json:
    """Return a request's body for a model of a kind. A list is ``input`` itself."""
    if up.real:
        model: Json = {"model": "native" if kind == NATIVE else "resp-flag"}
    else:
        model = {"model": up.chat_model} if kind == NATIVE else {"model": CHAT_ONLY, "use_chat_completions_api": True}
    return {**model, "input": said, **more}


def without_provider(up: Upstreams, text: str, **more: Any) -> Json:
    """Return a request's body for a model whose provider does not serve the API."""
    return {"model": "fake-chat" if up.real else CHAT_ONLY, "input": text, **more}


async def whole(up: Upstreams, body: Json, key: dict[str, str]) -> Json:
    answer = await up.litellm.post(PATH, json=body, headers=key)
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response


async def streamed(up: Upstreams, body: Json, key: dict[str, str]) -> list[Json]:
    """Return a stream's events. Check their names, numbers and models, and that nothing follows the last."""
    answer = await up.litellm.post(PATH, json=body | {"stream": True}, headers=key)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events: list[Json] = events_of(answer.text)
    names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event.get("model") for event in events if event["type"] != "response.failed"] == [body["model"]] * (
        len(events) - names.count("response.failed")
    )
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    return events


def types(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def text_of(response: Json) -> str:
    """Return the text of a response's messages."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"]).strip()
