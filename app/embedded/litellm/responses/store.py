"""The responses that a provider stores, and the provider's refusals.

A provider that serves the Responses API stores each response with its context: the items of the conversation before
the response's output. So a later response can continue the conversation, even if earlier responses are deleted.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.datastructures import QueryParams

from app.embedded.litellm.answers import Refused
from app.embedded.state import Json, State

_NAMES = {400: "BadRequestError", 404: "NotFoundError"}
_KINDS = frozenset({"message", "function_call", "function_call_output", "reasoning"})
_MAX_PAGE = 100


def provider_error(model: str, status: int, message: str, param: str | None = None, code: str | None = None) -> Refused:
    """Make LiteLLM's refusal for a provider's error, which is in the message as JSON."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return _failed(model, status, f"litellm.{_NAMES[status]}: OpenAIException - {_json({'error': error})}")


def no_responses(model: str) -> Refused:
    """Make LiteLLM's refusal for a model whose provider does not serve the Responses API."""
    return _failed(model, 404, "litellm.NotFoundError: NotFoundError: OpenAIException - Not Found")


def _failed(model: str, status: int, text: str) -> Refused:
    tail = f"LiteLLM: model group '{model}' failed with the error above. No fallback was attempted."
    return Refused(status, "invalid_request_error", f"{text}\n\n{tail}")


def _json(value: Json) -> str:
    return orjson.dumps(value).decode()


class StoredResponses:
    """The stored responses. All methods take the provider's id of a response."""

    def __init__(self, state: State) -> None:
        self._state = state

    def keep(self, provider_id: str, owner: str, body: Json, context: list[Json]) -> None:
        """Store a response's body and its context."""
        self._state.keep_response(provider_id, {"owner": owner, "body": body, "context": context})

    def context(self, model: str, previous: str | None, owner: str, items: list[Json]) -> list[Json]:
        """Return the context of a new response: the items of the conversation, the last of which are ``items``.

        Raises:
            Refused: there is no such previous response, or the provider refuses an item.
        """
        before: list[Json] = []
        if previous is not None:
            if (stored := self._state.responses.get(previous)) is None:
                text = f"Previous response with id '{previous}' not found."
                raise provider_error(model, 400, text, "previous_response_id", "previous_response_not_found")
            before = [*stored["context"], *stored["body"]["output"]]
        context = [*before, *(self._resolved(model, owner, item) for item in items)]
        _check(model, context)
        return context

    def body(self, model: str, provider_id: str) -> Json:
        """Return a response's body. Raises Refused."""
        body: Json = self._found(model, provider_id)["body"]
        return body

    def drop(self, model: str, provider_id: str) -> None:
        """Delete a response. Raises Refused."""
        self._found(model, provider_id)
        self._state.drop_response(provider_id)

    def page(self, model: str, provider_id: str, query: QueryParams) -> Json:
        """Return a page of a response's context, newest first unless ``order`` is ``asc``. Raises Refused."""
        items = self._found(model, provider_id)["context"]
        ordered = items if query.get("order") == "asc" else items[::-1]
        text, after = query.get("limit", "20"), query.get("after")
        if not text.isdecimal() or not 1 <= int(text) <= _MAX_PAGE:
            raise provider_error(model, 400, f"Invalid 'limit': expected a value from 1 to {_MAX_PAGE}.", "limit")
        start = next((at + 1 for at, item in enumerate(ordered) if item["id"] == after), 0)
        data = ordered[start : start + int(text)]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return {"object": "list", "data": data, **ends, "has_more": start + len(data) < len(ordered)}

    def _found(self, model: str, provider_id: str) -> Json:
        stored = self._state.responses.get(provider_id)
        if stored is None:
            raise provider_error(model, 404, f"Response with id '{provider_id}' not found.")
        return stored

    def _resolved(self, model: str, owner: str, item: Json) -> Json:
        """Return the item that an item reference names."""
        if item["type"] != "item_reference":
            return item
        for stored in self._state.responses.values():
            if stored["owner"] == owner:
                for one in (*stored["context"], *stored["body"]["output"]):
                    if one["id"] == item["id"]:
                        found: Json = one
                        return found
        raise provider_error(model, 404, f"Item with id '{item['id']}' not found.", "input")


def _check(model: str, context: list[Json]) -> None:
    """Raise Refused for an unknown item, for a call without a result, and for a result without a call."""
    calls: dict[Any, None] = {}
    results = {item.get("call_id") for item in context if item["type"] == "function_call_output"}
    for item in context:
        kind, call_id = item["type"], item.get("call_id")
        if kind not in _KINDS:
            raise provider_error(model, 400, f"Invalid value: '{kind}'.", "input", "invalid_value")
        if kind == "function_call":
            calls[call_id] = None
            if call_id not in results:
                raise provider_error(model, 400, f"No tool output found for function call {call_id}.", "input")
        if kind == "function_call_output" and call_id not in calls:
            text = f"No tool call found for function call output with call_id {call_id}."
            raise provider_error(model, 400, text, "input")
