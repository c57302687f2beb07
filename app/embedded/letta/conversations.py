"""Conversations, except the agents' default conversations."""

from __future__ import annotations

import copy
import re

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.letta.answers import (
    Routes,
    agent_of,
    body_of,
    conversation_of,
    limit_of,
    ok,
    order_of,
    refused,
    scope_of,
)
from app.embedded.letta.shapes import CONVERSATION
from app.embedded.letta.views import system_message
from app.embedded.state import Agent, Json, State, new_id, now

_PATCHABLE = frozenset({"summary", "model", "model_settings", "last_message_at"})


class Conversations:
    """The routes of conversations. The class ``Messages`` has the routes of messages."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Routes:
        """Return the routes."""
        one = "/v1/conversations/{id}"
        return [
            ("GET", "/v1/conversations/", self._list),
            ("POST", "/v1/conversations/", self._create),
            ("GET", one, self._get),
            ("PATCH", one, self._patch),
            ("DELETE", one, self._delete),
            ("POST", one + "/fork", self._fork),
            ("POST", one + "/cancel", self._cancel),
        ]

    def make(self, agent: Agent, summary: str | None, conversation_id: str | None = None) -> Json:
        """Make a conversation as ``POST /v1/conversations/`` does."""
        at = now()
        fields = {"id": conversation_id or new_id("conv"), "agent_id": agent.id, "summary": summary}
        body: Json = {**CONVERSATION, **fields, "created_at": at, "updated_at": at}
        with self._state.store.together():
            self._state.keep_conversation(agent, body)
            self._state.add_messages(agent, body["id"], [[system_message(agent)]])
        return body

    async def _list(self, request: Request) -> Response:
        agent = self._state.agents.get(request.query_params.get("agent_id", ""))
        if agent is None:
            return ok([])
        conversations = list(agent.conversations.values())
        after, search = request.query_params.get("after"), request.query_params.get("summary_search")
        if after is not None and after not in agent.conversations:
            conversations.append(conversation_of(self._state, after)[1])
            conversations.sort(key=lambda one: one["created_at"])
        # measured: a deleted conversation is a valid cursor, as is a conversation of another agent
        listed = [one for one in conversations if one["id"] == after or _is_listed(one, search)]
        return ok(_page(listed, request, after))

    async def _create(self, request: Request) -> Response:
        agent, body = agent_of(self._state, request.query_params.get("agent_id", "")), await body_of(request)
        made = self.make(agent, body.get("summary"))
        made |= {name: body[name] for name in ("model", "model_settings") if name in body}
        self._state.keep_conversation(agent, made)
        return ok(made)

    async def _get(self, request: Request) -> Response:
        agent, conversation = conversation_of(self._state, request.path_params["id"])
        ids = [group[0]["id"] for group in agent.messages[conversation["id"]]]
        return ok({**conversation, "in_context_message_ids": ids})

    async def _patch(self, request: Request) -> Response:
        agent, conversation = conversation_of(self._state, request.path_params["id"])
        fields = (await body_of(request)).items()
        changes = {name: value for name, value in fields if name in _PATCHABLE and value is not None}
        changed = {**conversation, **changes, "updated_at": now()}
        self._state.keep_conversation(agent, changed)
        return ok(changed)

    async def _delete(self, request: Request) -> Response:
        agent, conversation = conversation_of(self._state, request.path_params["id"])
        # measured: Letta only hides a deleted conversation, whose run continues
        self._state.keep_conversation(agent, {**conversation, "is_deleted": True})
        return ok(None)

    async def _fork(self, request: Request) -> Response:
        """Copy a conversation with its messages, but without its summary. The messages keep their ids."""
        agent, scope = scope_of(self._state, request.path_params["id"], request.query_params.get("agent_id"))
        with self._state.store.together():
            made = self.make(agent, None)
            self._state.add_messages(agent, made["id"], copy.deepcopy(agent.messages[scope][1:]))
        return ok(made)

    async def _cancel(self, request: Request) -> Response:
        agent, scope = scope_of(self._state, request.path_params["id"], request.query_params.get("agent_id"))
        run = self._state.active_run(scope)
        if run is None or run.task is None:
            kind = "conversation" if scope in agent.conversations else "agent"
            raise refused(409, f"CONFLICT: No active runs to cancel for {kind} {scope}")
        run.task.cancel()
        return ok({run.id: "cancelled"})


def _page(conversations: list[Json], request: Request, after: str | None) -> list[Json]:
    ordered = conversations if order_of(request) == "asc" else conversations[::-1]
    begin = next((number for number, one in enumerate(ordered, 1) if one["id"] == after), 0)
    return ordered[begin:][: limit_of(request, 50)]


def _is_listed(conversation: Json, search: str | None) -> bool:
    """Return whether to list a conversation.

    A listed conversation is not deleted, and its summary matches a pattern of SQL's ``LIKE``.
    """
    if conversation.get("is_deleted"):
        return False
    if not search:
        return True
    signs = {"%": ".*", "_": "."}
    tokens = re.findall(r"\\?.", search, re.DOTALL)
    pattern = "".join(signs.get(token) or re.escape(token[-1]) for token in tokens)
    return re.search(pattern, conversation["summary"] or "", re.DOTALL) is not None
