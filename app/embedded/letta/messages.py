"""Messages: listed as Letta lists them, quirks and all, and sent, which starts a turn."""

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
from app.embedded.letta.images import kept
from app.embedded.letta.runs import frames
from app.embedded.letta.shapes import RUN
from app.embedded.letta.turns import play
from app.embedded.letta.voice import Voice
from app.embedded.state import Agent, Json, Run, State, new_id, now

_NO_REDIS = "INTERNAL_SERVER_ERROR: Background streaming requires Redis to be running."
_WAITS = (
    "CONFLICT: Cannot send a new message: The agent is waiting for approval on a tool call. "
    "Please approve or deny the pending request before continuing."
)
_NOTHING_WAITS = (
    "Cannot process approval response: No tool call is currently awaiting approval. "
    "Please send a regular message to interact with the agent."
)
_STATUS = {"llm_rate_limit": 429}


class Messages:
    """The routes of messages. Without ``redis`` background runs are refused, as Letta refuses them."""

    def __init__(self, state: State, voice: Voice, *, words_per_second: float, redis: bool) -> None:
        self._state = state
        self._voice = voice
        self._words_per_second = words_per_second
        self._redis = redis

    def routes(self) -> Routes:
        """Method, path, handler."""
        return [
            ("GET", "/v1/conversations/{id}/messages", self._of_conversation),
            ("POST", "/v1/conversations/{id}/messages", self._to_conversation),
            ("GET", "/v1/agents/{id}/messages", self._of_agent),
            ("POST", "/v1/agents/{id}/messages", self._to_agent),
            ("POST", "/v1/agents/{id}/messages/stream", self._to_agent_streamed),
            ("GET", "/v1/messages/{id}", self._by_id),
        ]

    async def _of_conversation(self, request: Request) -> Response:
        asked, agent_id = request.path_params["id"], request.query_params.get("agent_id")
        if asked == "default" and agent_id is None:
            return ok([])
        agent, scope = scope_of(self._state, asked, agent_id)
        groups, newest = self._window(agent.messages[scope], request, agent)
        # Measured: the default conversation answers oldest first whatever the order.
        return ok(_flat(groups[::-1] if newest and scope.startswith("conv-") else groups))

    async def _of_agent(self, request: Request) -> Response:
        """The messages of all the agent's conversations, or of one; oldest first whatever the order: recorded."""
        agent, wanted = agent_of(self._state, request.path_params["id"]), request.query_params.get("conversation_id")
        scopes = [scope for scope in agent.messages if wanted in {None, scope}]
        every = sorted(
            (group for scope in scopes for group in agent.messages[scope]), key=lambda group: group[0]["date"]
        )
        return ok(_flat(self._window(every, request, agent)[0]))

    def _window(self, groups: list[list[Json]], request: Request, agent: Agent) -> tuple[list[list[Json]], bool]:
        """The groups asked for, oldest first, and whether the newest were wanted.

        A place that is not known is a 404, but for a conversation, where it is ignored: measured.
        """
        query, in_conversation = request.query_params, request.path_params["id"].startswith("conv-")
        for side in ("before", "after"):
            if side in query:
                place = _place(groups, query[side]) if in_conversation else self._place(groups, query[side])
                if place is None and not in_conversation:
                    raise refused(404, f"No message found with id '{query[side]}' for agent '{agent.id}'.")
                if place is not None:
                    groups = groups[: place[0]] if side == "before" else groups[place[1] :]
        limit = limit_of(request, 100)
        newest = order_of(request) == "desc" and not truth(query.get("ascending"))
        return (groups[max(0, len(groups) - limit) :] if newest else groups[:limit]), newest

    def _place(self, groups: list[list[Json]], wanted: str) -> tuple[int, int] | None:
        """The same for what any message may be the place in, whoever's it is: it counts when it was kept."""
        if (own := _place(groups, wanted)) is not None:
            return own
        if self._group(wanted) is None:
            return None
        order = self._state.order
        earlier = sum(order[group[0]["id"]] < order[wanted] for group in groups)
        return earlier, earlier

    async def _by_id(self, request: Request) -> Response:
        message_id = request.path_params["id"]
        if (group := self._group(message_id)) is None:
            raise refused(404, f"Message with id {message_id} not found.")
        return ok(group)

    def _group(self, message_id: str) -> list[Json] | None:
        every = (groups for agent in self._state.agents.values() for groups in agent.messages.values())
        return next((group for groups in every for group in groups if group[0]["id"] == message_id), None)

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
        """Start a turn and answer with its stream, or with its outcome.

        An ``exclusive`` scope takes one turn at a time. An agent's own endpoint lets a second one through, as measured.
        """
        sent, lost = await _with_images(_first_message(body))
        body = {**body, "messages": [sent]}
        busy = self._state.busy(scope)
        if exclusive and busy is not None:
            raise _is_busy(busy)
        refusal = _approval_refused(agent, scope, sent) or lost
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
            agent, scope, body, background=background, streaming=streaming, followed=streaming or not exclusive
        )
        if streaming:
            return StreamingResponse(frames(run, 0), media_type="text/event-stream")
        await _over(run)
        return _outcome(run)

    def _start(self, agent: Agent, scope: str, body: Json, *, background: bool, streaming: bool, followed: bool) -> Run:
        """Begin a run. One that is not ``followed`` stays ``created`` for ever, in no conversation: measured."""
        in_conversation = scope in agent.conversations
        kind = "send_conversation_message" if in_conversation else "send_message"
        own = {
            "id": new_id("run"),
            "status": "running" if followed else "created",
            "created_at": now(),
            "agent_id": agent.id,
            "conversation_id": scope if in_conversation and followed else None,
            "background": background,
            "metadata": {"run_type": f"{kind}_streaming" if streaming else kind},
        }
        run = Run({**RUN, **own}, scope)
        self._state.keep_run(run)
        run.task = asyncio.create_task(play(self._state, self._voice, agent, run, body, self._words_per_second))
        return run


def _first_message(body: Json) -> Json:
    """The message a turn starts with: the first of ``messages``, or ``input``. Raises Refused."""
    if body.get("input") is not None:
        return {"role": "user", "content": body["input"]}
    messages: Any = body.get("messages")
    if not isinstance(messages, list):
        raise invalid("list_type", ("body", "messages"), "Input should be a valid list", messages)
    if not messages:
        raise refused(422, "Messages must not be empty")
    if not isinstance(messages[0], dict):
        raise invalid("model_attributes_type", ("body", "messages", "0"), "Input should be an object", messages[0])
    return messages[0]


async def _with_images(sent: Json) -> tuple[Json, Refused | None]:
    """The message as it is kept, and the refusal of one whose images cannot be had."""
    try:
        return {**sent, "content": await kept(sent.get("content"))}, None
    except Refused as lost:
        return sent, lost


def _approval_refused(agent: Agent, scope: str, sent: Json) -> Refused | None:
    """A pending call wants a decision and nothing else; a decision wants its pending call."""
    pending = agent.pending.get(scope)
    if sent.get("type") != "approval":
        return None if pending is None else refused(409, _WAITS)
    if pending is None:
        return refused(400, _NOTHING_WAITS)
    request, call_id = pending["request"], pending["use"]["call_id"]
    given = [one.get("tool_call_id") for one in sent.get("approvals") or []]
    if given and given != [call_id]:
        return refused(400, f"Invalid tool call IDs. Expected '['{call_id}']', but received '{given}'.")
    named = sent.get("approval_request_id")
    if named not in {None, request["id"]}:
        return refused(400, f"Invalid approval request ID. Expected '{request['id']}', got '{named}'")
    return None


def _is_busy(run: Run) -> Refused:
    text = (
        f"CONFLICT: Cannot send a new message: Another request (run_id={run.id}) is currently being processed "
        "for this conversation. Please wait for it to complete."
    )
    return Refused(409, {"detail": text, "run_id": run.id})


async def _over(run: Run) -> None:
    while not run.over:
        await run.changed.wait()


def _outcome(run: Run) -> Response:
    """A turn's answer to whoever does not stream."""
    if run.error is not None:
        return JSONResponse(run.error, _STATUS.get(run.error["error"]["type"], 500))
    reason = {"message_type": "stop_reason", "stop_reason": run.reason}
    usage = {**run.usage, "message_type": "usage_statistics", "step_count": len(run.steps), "run_ids": None}
    zeros = dict.fromkeys(("cached_input_tokens", "cache_write_tokens", "reasoning_tokens"), 0)
    usage |= {**zeros, "context_tokens": run.steps[-1]["total_tokens"] if run.steps else 0}
    return ok({"messages": run.said, "stop_reason": reason, "usage": usage, "logprobs": None, "turns": None})


def _place(groups: list[list[Json]], wanted: str) -> tuple[int, int] | None:
    """How many groups stand before a message's, and how many up to it."""
    return next(((n, n + 1) for n, group in enumerate(groups) if group[0]["id"] == wanted), None)


def _flat(groups: list[list[Json]]) -> list[Json]:
    return [message for group in groups for message in group]
