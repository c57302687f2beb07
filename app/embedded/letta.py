"""The embedded Letta: agents, conversations, messages, runs, as 0.16.8 answers them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.embedded.state import Agent, Json, Run, State, new_id, now
from app.embedded.turns import play

PING_SECONDS = 5.0
_MIN_ID = 41


class EmbeddedLetta:
    """Letta's routes. Without ``redis`` background runs are refused, as Letta refuses them."""

    def __init__(self, state: State, *, key: str, words_per_second: float, redis: bool) -> None:
        self._state = state
        self._key = key
        self._words_per_second = words_per_second
        self._redis = redis

    def app(self) -> Starlette:
        """The service."""
        routes = [
            ("/v1/agents/", self._agents, "GET"),
            ("/v1/agents/", self._create_agent, "POST"),
            ("/v1/agents/{id}", self._agent, "GET"),
            ("/v1/agents/{id}/messages/cancel", self._cancel, "POST"),
            ("/v1/conversations/", self._conversations, "GET"),
            ("/v1/conversations/", self._create_conversation, "POST"),
            ("/v1/conversations/{id}", self._conversation, "GET"),
            ("/v1/conversations/{id}/messages", self._messages, "GET"),
            ("/v1/conversations/{id}/messages", self._send, "POST"),
            ("/v1/runs/", self._runs, "GET"),
            ("/v1/runs/{id}", self._run, "GET"),
            ("/v1/runs/{id}/stream", self._resume, "POST"),
        ]
        guarded = [Route(path, self._guarded(handler), methods=[method]) for path, handler, method in routes]
        health = Route("/v1/health/", lambda _: JSONResponse({"version": "0.16.8", "status": "ok"}))
        return Starlette(routes=[health, *guarded])

    async def stop(self) -> None:
        """End every run that is still going."""
        tasks = [run.task for run in self._state.runs.values() if run.task is not None and not run.over]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self._key}":
                return _detail(401, "Unauthorized")
            response: Response = await handler(request)
            return response

        return guarded

    async def _agents(self, request: Request) -> Response:
        tags = request.query_params.getlist("tags")
        found = [a.body for a in self._state.agents.values() if not tags or set(tags) & set(a.body["tags"])]
        return JSONResponse(_page(found, request, default=50))

    async def _create_agent(self, request: Request) -> Response:
        return JSONResponse(self.make_agent(await request.json()).body)

    def make_agent(self, body: Json) -> Agent:
        """Make an agent as ``POST /v1/agents/`` does."""
        at, agent_id = now(), body.get("id") or new_id("agent")
        model = str(body["model"])
        agent = Agent(
            {
                "id": agent_id,
                "name": body["name"],
                "description": body.get("description"),
                "system": body.get("system", "You are a helpful agent."),
                "agent_type": "letta_v1_agent",
                "model": model,
                "llm_config": {"model": model.split("/", 1)[-1], "handle": model, "context_window": 30000},
                "embedding": body.get("embedding"),
                "tags": body.get("tags", []),
                "blocks": [_block(block) for block in body.get("memory_blocks", [])],
                "tools": body.get("tools", []),
                "created_at": at,
                "updated_at": at,
            }
        )
        agent.messages[agent.id] = [[_system_message(agent)]]
        self._state.agents[agent.id] = agent
        return agent

    async def _agent(self, request: Request) -> Response:
        agent = self._state.agents.get(request.path_params["id"])
        return _missing("Agent", request) if agent is None else JSONResponse(agent.body)

    async def _conversations(self, request: Request) -> Response:
        agent = self._state.agents.get(request.query_params.get("agent_id", ""))
        if agent is None:
            return JSONResponse([])
        return JSONResponse(_page(list(agent.conversations.values()), request, default=50))

    async def _create_conversation(self, request: Request) -> Response:
        agent = self._state.agents.get(request.query_params.get("agent_id", ""))
        if agent is None:
            return _missing("Agent", request)
        return JSONResponse(self.make_conversation(agent, (await request.json()).get("summary")))

    def make_conversation(self, agent: Agent, summary: str | None, conversation_id: str | None = None) -> Json:
        """Make a conversation as ``POST /v1/conversations/`` does."""
        at = now()
        body: Json = {
            "id": conversation_id or new_id("conv"),
            "agent_id": agent.id,
            "summary": summary,
            "created_at": at,
            "updated_at": at,
            "in_context_message_ids": [],
            "last_message_at": None,
        }
        agent.conversations[body["id"]] = body
        agent.messages[body["id"]] = [[_system_message(agent)]]
        return body

    async def _conversation(self, request: Request) -> Response:
        if len(request.path_params["id"]) < _MIN_ID:
            return _detail(422, "[{'type': 'string_too_short', 'loc': ('path', 'conversation_id')}]")
        found = self._state.conversation(request.path_params["id"])
        return _missing("Conversation", request) if found is None else JSONResponse(found[1])

    def _scope(self, conversation_id: str, agent_id: str | None) -> tuple[Agent, str] | None:
        if conversation_id == "default":
            agent = self._state.agents.get(agent_id or "")
            return None if agent is None else (agent, agent.id)
        found = self._state.conversation(conversation_id)
        return None if found is None else (found[0], conversation_id)

    async def _messages(self, request: Request) -> Response:
        query = request.query_params
        found = self._scope(request.path_params["id"], query.get("agent_id"))
        if found is None:
            return _missing("Conversation", request)
        agent, scope = found
        groups = agent.messages[scope]
        for side in ("before", "after"):
            if side in query:
                place = next((n for n, group in enumerate(groups) if group[0]["id"] == query[side]), None)
                if place is None:
                    return _detail(404, f"No message found with id '{query[side]}'.")
                groups = groups[:place] if side == "before" else groups[place + 1 :]
        limit, newest = int(query.get("limit", 100)), query.get("order", "desc") == "desc"
        groups = groups[max(0, len(groups) - limit) :] if newest else groups[:limit]
        if newest and scope.startswith("conv-"):
            groups = groups[::-1]
        return JSONResponse([message for group in groups for message in group])

    async def _send(self, request: Request) -> Response:
        body = await request.json()
        found = self._scope(request.path_params["id"], body.get("agent_id"))
        if found is None:
            return _missing("Conversation", request)
        agent, scope = found
        if (busy := self._state.busy(scope)) is not None:
            run_id = busy.body["id"]
            text = (
                f"CONFLICT: Cannot send a new message: Another request (run_id={run_id}) is currently being processed"
            )
            return JSONResponse({"detail": text, "run_id": run_id}, 409)
        background = bool(body.get("background"))
        if background and not self._redis:
            return _detail(503, "INTERNAL_SERVER_ERROR: Background streaming requires Redis to be running.")
        run = self._start(agent, scope, body, background=background)
        return StreamingResponse(_frames(run, 0), media_type="text/event-stream")

    def _start(self, agent: Agent, scope: str, body: Json, *, background: bool) -> Run:
        run = Run(
            {
                "id": new_id("run"),
                "status": "running",
                "agent_id": agent.id,
                "conversation_id": scope if scope.startswith("conv-") else None,
                "background": background,
                "created_at": now(),
                "completed_at": None,
                "stop_reason": None,
                "ttft_ns": None,
            },
            scope,
        )
        self._state.runs[run.body["id"]] = run
        run.task = asyncio.create_task(play(self._state, agent, run, body, self._words_per_second))
        return run

    async def _runs(self, request: Request) -> Response:
        wanted = {*request.query_params.getlist("agent_ids"), *request.query_params.getlist("agent_id")}
        found = [run.body for run in self._state.runs.values() if run.body["agent_id"] in wanted]
        return JSONResponse(_page(found, request, default=100))

    async def _run(self, request: Request) -> Response:
        run = self._state.runs.get(request.path_params["id"])
        return _missing("Run", request) if run is None else JSONResponse(run.body)

    async def _resume(self, request: Request) -> Response:
        run = self._state.runs.get(request.path_params["id"])
        if run is None:
            return _missing("Run", request)
        if not run.body["background"]:
            return _detail(400, "INVALID_ARGUMENT: Run was not created in background mode, so it cannot be retrieved.")
        after = int((await request.json()).get("starting_after") or 0)
        return StreamingResponse(_frames(run, after), media_type="text/event-stream")

    async def _cancel(self, request: Request) -> Response:
        agent_id = request.path_params["id"]
        body = orjson.loads(await request.body() or b"{}")
        wanted = body.get("run_ids")
        active = [
            run
            for run in self._state.runs.values()
            if not run.over and run.body["agent_id"] == agent_id and (wanted is None or run.body["id"] in wanted)
        ]
        if not active:
            return _detail(409, f"CONFLICT: No active runs to cancel for agent {agent_id}")
        for run in active:
            if run.task is not None:
                run.task.cancel()
        return JSONResponse({run.body["id"]: "cancelled" for run in active})


async def _frames(run: Run, after: int) -> AsyncIterator[str]:
    """A run's frames after a number of them, as they are said, with pings in between. The run does not need us."""
    sent = after
    while True:
        changed = run.changed
        while sent < len(run.frames):
            sent += 1
            yield run.frames[sent - 1]
        if run.over:
            return
        try:
            async with asyncio.timeout(PING_SECONDS):
                await changed.wait()
        except TimeoutError:
            ping = {"id": new_id("ping"), "date": now(), "message_type": "ping", "run_id": run.body["id"]}
            yield f"data: {orjson.dumps(ping).decode()}\n\n"


def _page(items: list[Json], request: Request, *, default: int) -> list[Json]:
    query = request.query_params
    ordered = items if query.get("order") == "asc" else items[::-1]
    ids = [item["id"] for item in ordered]
    after = query.get("after")
    begin = ids.index(after) + 1 if after in ids else 0
    return ordered[begin : begin + int(query.get("limit", default))]


def _block(block: Json) -> Json:
    shape = {"id": new_id("block"), "limit": 100000, "description": None, "read_only": False}
    return {**shape, **block}


def _system_message(agent: Agent) -> Json:
    return {
        "id": new_id("message"),
        "date": now(),
        "message_type": "system_message",
        "otid": None,
        "step_id": None,
        "run_id": None,
        "content": agent.body["system"],
    }


def _detail(status: int, text: str) -> JSONResponse:
    return JSONResponse({"detail": text}, status)


def _missing(kind: str, request: Request) -> JSONResponse:
    return _detail(404, f"{kind} not found with id='{request.path_params.get('id')}'")
