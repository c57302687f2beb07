"""Runs, with their steps and messages, and the replay of background runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.embedded.letta.answers import (
    Routes,
    body_of,
    invalid,
    missing,
    number_of,
    ok,
    order_of,
    page,
    page_by_age,
    refused,
    truth,
)
from app.embedded.letta.failures import error_frame
from app.embedded.state import Run, State, new_id, now_of_message

PING_SECONDS = 5.0
"""The interval between Letta's pings in a stream."""

_ACTIVE = {"created", "running"}
_NO_USAGE = {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0}


class Runs:
    """The routes of runs."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            ("GET", "/v1/runs/", self._list),
            ("GET", "/v1/runs/active", self._active),
            ("GET", "/v1/runs/{id}", self._get),
            ("GET", "/v1/runs/{id}/usage", self._usage),
            ("GET", "/v1/runs/{id}/steps", self._steps),
            ("GET", "/v1/runs/{id}/messages", self._messages),
            ("GET", "/v1/steps/{id}", self._step),
            ("POST", "/v1/runs/{id}/stream", self._resume),
            ("POST", "/v1/agents/{id}/messages/cancel", self._cancel),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        agents = {*query.getlist("agent_ids"), *query.getlist("agent_id")}
        filters = {name: query[name] for name in ("stop_reason", "conversation_id") if name in query}
        positions = {query.get("after"), query.get("before")}  # measured: any run is a position
        statuses = set(query.getlist("statuses")) or (_ACTIVE if truth(query.get("active")) else set())
        found = [
            run.body
            for run in self._state.runs.values()
            if run.id in positions
            or (
                (not agents or run.body["agent_id"] in agents)
                and (not statuses or run.body["status"] in statuses)
                and ("background" not in query or truth(query["background"]) == run.body["background"])
                and all(run.body[name] == value for name, value in filters.items())
            )
        ]
        if number_of(query.get("limit", 1), ("query", "limit")) < 1:
            message = "Input should be greater than or equal to 1"
            raise invalid("greater_than_equal", ("query", "limit"), message, query["limit"])
        order = order_of(request)
        # measured: Letta swaps ``after`` and ``before`` in ascending order
        return ok(page_by_age(found, request, order=order, newer="before" if order == "asc" else "after"))

    async def _active(self, request: Request) -> Response:
        agents = set(request.query_params.getlist("agent_ids"))
        runs = (run for run in self._state.runs.values() if run.body["status"] in _ACTIVE)
        return ok([run.body for run in runs if not agents or run.body["agent_id"] in agents][::-1])

    async def _get(self, request: Request) -> Response:
        return ok(self._existing(request).body)

    async def _usage(self, request: Request) -> Response:
        usage = self._existing(request).usage
        counts = {name: usage.get(name, 0) for name in _NO_USAGE}
        return ok({**counts, "prompt_tokens_details": None, "completion_tokens_details": None})

    async def _steps(self, request: Request) -> Response:
        return ok(page(self._existing(request).steps, request, default=100))

    async def _step(self, request: Request) -> Response:
        step_id = request.path_params["id"]
        for run in self._state.runs.values():
            for step in run.steps:
                if step["id"] == step_id:
                    return ok(step)
        raise missing("Step", step_id)

    async def _messages(self, request: Request) -> Response:
        run = self._existing(request)
        agent = self._state.agents[run.body["agent_id"]]
        groups = {group[0]["id"]: group for group in agent.messages.get(run.scope, []) if group[0]["run_id"] == run.id}
        firsts = page([group[0] for group in groups.values()], request, default=100, order="asc")
        return ok([message for first in firsts for message in groups[first["id"]]])

    async def _resume(self, request: Request) -> Response:
        run = self._existing(request)
        if not run.body["background"]:
            raise refused(400, "INVALID_ARGUMENT: Run was not created in background mode, so it cannot be retrieved.")
        after = number_of((await body_of(request)).get("starting_after") or 0, ("body", "starting_after"))
        if run.lost:
            return StreamingResponse(iter(_last_frames(run)), media_type="text/event-stream")
        if after >= len(run.frames) and run.over:
            return await _hang(request)
        return StreamingResponse(frames(run, after), media_type="text/event-stream")

    async def _cancel(self, request: Request) -> Response:
        agent_id, run_ids = request.path_params["id"], (await body_of(request)).get("run_ids")
        active = [
            run
            for run in self._state.runs.values()
            if not run.over and run.body["agent_id"] == agent_id and (run_ids is None or run.id in run_ids)
        ]
        if not active:
            raise refused(409, f"CONFLICT: No active runs to cancel for agent {agent_id}")
        for run in active:
            if run.task is not None:
                run.task.cancel()
        return ok({run.id: "cancelled" for run in active})

    def _existing(self, request: Request) -> Run:
        run = self._state.runs.get(request.path_params["id"])
        if run is None:
            raise missing("Run", request.path_params["id"])
        return run


async def frames(run: Run, after: int) -> AsyncIterator[str]:
    """Yield all but the first ``after`` frames of a run. While no frame arrives, yield pings."""
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
            ping = {"id": new_id("ping"), "date": now_of_message(), "message_type": "ping", "run_id": run.id}
            yield f"data: {orjson.dumps(ping).decode()}\n\n"


def _last_frames(run: Run) -> list[str]:
    """Return the frames that end the stream of a run whose own frames were lost."""
    reason = {"message_type": "stop_reason", "stop_reason": run.body["stop_reason"]}
    stop = f"data: {orjson.dumps(reason).decode()}\n\n"
    if run.body["status"] == "failed":
        return [stop, error_frame(run.id, "internal_error", "The server stopped before the run ended.")]
    return [stop, "data: [DONE]\n\n"]


async def _hang(request: Request) -> Response:
    """Wait without a response until the client disconnects, as Letta does after the end of a finished run."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=499)
