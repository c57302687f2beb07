"""Helpers for Letta's routes: request bodies, refusals and pages. The statuses and texts of refusals are Letta's."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.embedded.state import Agent, Json, State

Handler = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, str, Handler]]
"""The methods, paths and handlers of routes."""

_AGENT_ID = re.compile(r"agent-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_MIN_ID = 41


class Refused(Exception):
    """The error for a request that Letta refuses."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def refused(status: int, text: str) -> Refused:
    """Make a refusal whose detail is the given text."""
    return Refused(status, {"detail": text})


def missing(kind: str, key: str) -> Refused:
    """Make the refusal for an id that does not exist."""
    return refused(404, f"{kind} not found with id='['{key}']'")


def invalid(kind: str, location: tuple[str, ...], message: str, value: Any) -> Refused:
    """Make the refusal for an invalid part of a request."""
    problem = {"type": kind, "loc": location, "msg": message, "input": value}
    return Refused(422, {"trace_id": "", "detail": str([problem])})


NUL = "A database error occurred."
"""Letta's error for a text that contains the character NUL."""


async def body_of(request: Request) -> Json:
    """Read a request's body as a JSON object. An empty body counts as ``{}``. Raises Refused."""
    raw = await request.body()
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise invalid("json_invalid", ("body", "1"), "JSON decode error", {}) from error
    if b"\\u0000" in raw:
        raise refused(500, NUL)
    if not isinstance(body, dict):
        raise invalid("model_attributes_type", ("body",), "Input should be a valid dictionary", body)
    return body


def agent_of(state: State, agent_id: str) -> Agent:
    """Return an agent. Raises Refused."""
    if not _AGENT_ID.match(agent_id):
        message = "String should match pattern 'agent-{uuid4}'"
        raise invalid("string_pattern_mismatch", ("path", "agent_id"), message, agent_id)
    agent = state.agents.get(agent_id)
    if agent is None:
        raise refused(404, f"Agent with ID {agent_id} not found")
    return agent


def conversation_of(state: State, conversation_id: str) -> tuple[Agent, Json]:
    """Return a conversation and its agent. Raises Refused."""
    if len(conversation_id) < _MIN_ID:
        message = f"String should have at least {_MIN_ID} characters"
        raise invalid("string_too_short", ("path", "conversation_id"), message, conversation_id)
    found = state.conversation(conversation_id)
    if found is None:
        raise missing("Conversation", conversation_id)
    return found


def scope_of(state: State, conversation_id: str, agent_id: str | None) -> tuple[Agent, str]:
    """Return a conversation's agent and scope. Raises Refused.

    The scope is the conversation's id. For the id ``default``, the scope is the agent's id.
    """
    if conversation_id == "default":
        return agent_of(state, agent_id or ""), agent_id or ""
    return conversation_of(state, conversation_id)[0], conversation_id


def limit_of(request: Request, default: int) -> int:
    """Return the maximum size of the requested page. Raises Refused.

    As in Letta, a negative size causes a database error.
    """
    limit = number_of(request.query_params.get("limit", default), ("query", "limit"))
    if limit < 0:
        raise refused(500, NUL)
    return limit


def number_of(value: Any, location: tuple[str, ...]) -> int:
    """Parse an integer from a request. Raises Refused."""
    try:
        return int(value)
    except (ValueError, TypeError) as error:
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise invalid("int_parsing", location, message, value) from error


def order_of(request: Request, default: str = "desc") -> str:
    """Return the sort order that a request asks for. Raises Refused."""
    order = request.query_params.get("order", default)
    if order not in {"asc", "desc"}:
        raise invalid("literal_error", ("query", "order"), "Input should be 'asc' or 'desc'", order)
    return order


def page(items: Sequence[Json], request: Request, *, default: int, order: str = "desc") -> list[Json]:
    """Return one page of items that are sorted oldest first. An unknown ``after`` or ``before`` is ignored."""
    query = request.query_params
    ordered = list(items) if order_of(request, order) == "asc" else list(items)[::-1]
    ids = [item["id"] for item in ordered]
    after, before = query.get("after"), query.get("before")
    begin = ids.index(after) + 1 if after in ids else 0
    end = ids.index(before) if before in ids else len(ids)
    limit = limit_of(request, default)
    return ordered[begin:end][:limit] if before not in ids else ordered[begin:end][-limit:]


def page_by_age(
    items: Sequence[Json], request: Request, *, order: str, default: int = 100, newer: str = "after"
) -> list[Json]:
    """Return one page of items that are sorted oldest first. An unknown cursor is ignored.

    As in Letta, in either order, ``after`` means newer and ``before`` means older. ``newer="before"`` reverses this. A
    page begins at the start of the order. Only ``before`` can therefore continue a page of the newest items.
    """
    query = request.query_params
    ids = [item["id"] for item in items]
    after, before = query.get(newer), query.get("after" if newer == "before" else "before")
    begin = ids.index(after) + 1 if after in ids else 0
    end = ids.index(before) if before in ids else len(ids)
    chosen = list(items)[begin:end]
    return (chosen if order == "asc" else chosen[::-1])[: limit_of(request, default)]


def truth(value: str | None) -> bool:
    """Parse a boolean query parameter."""
    return (value or "").lower() in {"1", "true", "yes", "on"}


def ok(body: Any) -> JSONResponse:
    """Make a successful response."""
    return JSONResponse(body)
