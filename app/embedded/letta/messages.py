"""The routes that list messages or start a turn. The lists have Letta's peculiarities."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.embedded.letta.answers import (
    Refused,
    Routes,
    agent_of,
    body_of,
    invalid,
    limit_of,
    ok,
    order_of,
    refused,
    scope_of,
    truth,
)
from app.embedded.letta.images import stored
from app.embedded.letta.model_calls import ModelCalls
from app.embedded.letta.runs import frames
from app.embedded.letta.shapes import RUN
from app.embedded.letta.tools import as_approval
from app.embedded.letta.turns import play
from app.embedded.state import Agent, Json, Run, State, new_id, now

_NO_REDIS = "INTERNAL_SERVER_ERROR: Background streaming requires Redis to be running."
_AWAITS_APPROVAL = (
    "CONFLICT: Cannot send a new message: The agent is waiting for approval on a tool call. "
    "Please approve or deny the pending request before continuing."
)
_NO_PENDING_CALL = (
    "Cannot process approval response: No tool call is currently awaiting approval. "
    "Please send a regular message to interact with the agent."
)
_STATUS = {"llm_rate_limit": 429}


class Messages:
    """The routes of messages. If ``redis`` is false, background runs are refused, as in Letta."""

    def __init__(self, state: State, model_calls: ModelCalls, *, words_per_second: float, redis: bool) -> None:
        self._state = state
        self._model_calls = model_calls
        self._words_per_second = words_per_second
        self._redis = redis

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            ("GET", "/v1/conversations/{id}/messages", self._of_conversation),
            ("POST", "/v1/conversations/{id}/messages", self._to_conversation),
            ("GET", "/v1/agents/{id}/messages", self._of_agent),
            ("POST", "/v1/agents/{id}/messages", self._to_agent),
            ("POST", "/v1/agents/{id}/messages/stream", self._to_agent_streamed),
            ("GET", "/v1/messages/{id}", self._by_id),
        ]

    async def _of_conversation(self, request: Request) -> Response:
        conversation_id, agent_id = request.path_params["id"], request.query_params.get("agent_id")
        if conversation_id == "default" and agent_id is None:
            return ok([])
        agent, scope = scope_of(self._state, conversation_id, agent_id)
        groups, newest = self._window(agent.messages[scope], request, agent)
        # measured: Letta lists the default conversation oldest first, whatever the ``order``
        return ok(_flat(groups[::-1] if newest and scope.startswith("conv-") else groups))

    async def _of_agent(self, request: Request) -> Response:
        """List an agent's or a conversation's messages.

        As in Letta, the oldest message comes first, even with ``order=desc``.
        """
        agent = agent_of(self._state, request.path_params["id"])
        conversation_id = request.query_params.get("conversation_id")
        scopes = [scope for scope in agent.messages if conversation_id in {None, scope}]
        groups = sorted(
            (group for scope in scopes for group in agent.messages[scope]), key=lambda group: group[0]["date"]
        )
        return ok(_flat(self._window(groups, request, agent)[0]))

    def _window(self, groups: list[list[Json]], request: Request, agent: Agent) -> tuple[list[list[Json]], bool]:
        """Return a page's groups of messages, oldest first.

        The second result says whether the client requests the newest groups.

        For an unknown cursor, Letta answers 404 for an agent, and ignores the cursor for a conversation.
        """
        query, in_conversation = request.query_params, request.path_params["id"].startswith("conv-")
        for side in ("before", "after"):
            if side in query:
                cursor = query[side]
                span = _span(groups, cursor) if in_conversation else self._span(groups, cursor)
                if span is None and not in_conversation:
                    raise refused(404, f"No message found with id '{cursor}' for agent '{agent.id}'.")
                if span is not None:
                    groups = groups[: span[0]] if side == "before" else groups[span[1] :]
        limit = limit_of(request, 100)
        newest = order_of(request) == "desc" and not truth(query.get("ascending"))
        return (groups[max(0, len(groups) - limit) :] if newest else groups[:limit]), newest

    def _span(self, groups: list[list[Json]], message_id: str) -> tuple[int, int] | None:
        """Return where a message's group starts and ends in the list of groups.

        For a message of another agent, return the position at which the message would be inserted by age.
        """
        if (span := _span(groups, message_id)) is not None:
            return span
        if self._group(message_id) is None:
            return None
        order = self._state.order
        earlier = sum(order[group[0]["id"]] < order[message_id] for group in groups)
        return earlier, earlier

    async def _by_id(self, request: Request) -> Response:
        message_id = request.path_params["id"]
        if (group := self._group(message_id)) is None:
            raise refused(404, f"Message with id {message_id} not found.")
        return ok(group)

    def _group(self, message_id: str) -> list[Json] | None:
        lists = (groups for agent in self._state.agents.values() for groups in agent.messages.values())
        return next((group for groups in lists for group in groups if group[0]["id"] == message_id), None)

    async def _to_conversation(self, request: Request) -> Response:
        body = await body_of(request)
        agent, scope = scope_of(self._state, request.path_params["id"], body.get("agent_id"))
        return await self._send(agent, scope, body, streaming=body.get("streaming", True), exclusive=True)

    async def _to_agent(self, request: Request) -> Response:
        agent, body = agent_of(self._state, request.path_params["id"]), await body_of(request)
        return await self._send(agent, agent.id, body, streaming=body.get("streaming", False), exclusive=False)

    async def _to_agent_streamed(self, request: Request) -> Response:
        agent, body = agent_of(self._state, request.path_params["id"]), await body_of(request)
        return await self._send(agent, agent.id, body, streaming=True, exclusive=False)

    async def _send(self, agent: Agent, scope: str, body: Json, *, streaming: bool, exclusive: bool) -> Response:
        """Start a turn, and answer with the turn's stream or result.

        If ``exclusive`` is set, the conversation has one turn at a time. As in Letta, an agent's own endpoint admits a
        second turn.
        """
        messages = _messages(body)
        answers = [await _with_images(one) for one in messages]
        sent, invalid_image = answers[0][0], next((refusal for _, refusal in answers if refusal is not None), None)
        body = {**body, "messages": [one for one, _ in answers]}
        active = self._state.active_run(scope)
        if exclusive and active is not None:
            raise _conflict(active)
        refusal = _check_approval(agent, scope, sent) or invalid_image
        if refusal is not None and not streaming:
            raise refusal
        background = streaming and bool(body.get("background"))
        if background and not self._redis:
            raise refused(503, _NO_REDIS)
        if not streaming:
            body = {**body, "stream_tokens": False, "background": False}
        if refusal is not None:
            body["refused"] = refusal.body["detail"]
        elif (pending := agent.pending.pop(scope, None)) is not None:
            body["pending"] = pending
        run = self._start(
            agent, scope, body, background=background, streaming=streaming, tracked=streaming or not exclusive
        )
        if streaming:
            return StreamingResponse(frames(run, 0), media_type="text/event-stream")
        while not run.over:
            await run.changed.wait()
        return _result(run)

    def _start(self, agent: Agent, scope: str, body: Json, *, background: bool, streaming: bool, tracked: bool) -> Run:
        """Start a run.

        As in Letta, a run that is not ``tracked`` keeps the status ``created``, and has no conversation.
        """
        in_conversation = scope in agent.conversations
        kind = "send_conversation_message" if in_conversation else "send_message"
        fields = {
            "id": new_id("run"),
            "status": "running" if tracked else "created",
            "created_at": now(),
            "agent_id": agent.id,
            "conversation_id": scope if in_conversation and tracked else None,
            "background": background,
            "metadata": {"run_type": f"{kind}_streaming" if streaming else kind},
        }
        run = Run({**RUN, **fields}, scope)
        self._state.keep_run(run)
        run.task = asyncio.create_task(play(self._state, self._model_calls, agent, run, body, self._words_per_second))
        return run


def _messages(body: Json) -> list[Json]:
    """Return the messages that start a turn: ``messages`` or ``input``. Raises Refused.

    As in Letta, only the first message can decide a tool call, and other decisions are ignored.
    """
    if body.get("input") is not None:
        return [{"role": "user", "content": body["input"]}]
    messages: Any = body.get("messages")
    if not isinstance(messages, list):
        raise invalid("list_type", ("body", "messages"), "Input should be a valid list", messages)
    if not messages:
        raise refused(422, "Messages must not be empty")
    if not isinstance(messages[0], dict):
        raise invalid("model_attributes_type", ("body", "messages", "0"), "Input should be an object", messages[0])
    more = [one for one in messages[1:] if isinstance(one, dict) and one.get("type", "message") == "message"]
    return [as_approval(messages[0]), *more]


async def _with_images(sent: Json) -> tuple[Json, Refused | None]:
    """Return the message to store. If an image cannot be fetched, also return the refusal."""
    try:
        return {**sent, "content": await stored(sent.get("content"))}, None
    except Refused as refusal:
        return sent, refusal


def _check_approval(agent: Agent, scope: str, sent: Json) -> Refused | None:
    """Return a refusal if a decision is missing or does not match the pending tool call.

    While a tool call waits for a decision, any other message is refused.
    """
    pending = agent.pending.get(scope)
    if sent.get("type") != "approval":
        return None if pending is None else refused(409, _AWAITS_APPROVAL)
    if pending is None:
        return refused(400, _NO_PENDING_CALL)
    request, call_id = pending["request"], pending["use"]["call_id"]
    call_ids = [one.get("tool_call_id") for one in sent.get("approvals") or []]
    if call_ids and call_ids != [call_id]:
        return refused(400, f"Invalid tool call IDs. Expected '['{call_id}']', but received '{call_ids}'.")
    request_id = sent.get("approval_request_id")
    if request_id not in {None, request["id"]}:
        return refused(400, f"Invalid approval request ID. Expected '{request['id']}', got '{request_id}'")
    return None


def _conflict(run: Run) -> Refused:
    text = (
        f"CONFLICT: Cannot send a new message: Another request (run_id={run.id}) is currently being processed "
        "for this conversation. Please wait for it to complete."
    )
    return Refused(409, {"detail": text, "run_id": run.id})


def _result(run: Run) -> Response:
    """Return the response of a turn that is not streamed."""
    if run.error is not None:
        return JSONResponse(run.error, _STATUS.get(run.error["error"]["type"], 500))
    reason = {"message_type": "stop_reason", "stop_reason": run.reason}
    usage = {**run.usage, "message_type": "usage_statistics", "step_count": len(run.steps), "run_ids": None}
    zeros = dict.fromkeys(("cached_input_tokens", "cache_write_tokens", "reasoning_tokens"), 0)
    usage |= {**zeros, "context_tokens": run.steps[-1]["total_tokens"] if run.steps else 0}
    return ok({"messages": run.messages, "stop_reason": reason, "usage": usage, "logprobs": None, "turns": None})


def _span(groups: list[list[Json]], message_id: str) -> tuple[int, int] | None:
    """Return the indexes at which a message's group starts and ends in a list of groups."""
    return next(((n, n + 1) for n, group in enumerate(groups) if group[0]["id"] == message_id), None)


def _flat(groups: list[list[Json]]) -> list[Json]:
    return [message for group in groups for message in group]
