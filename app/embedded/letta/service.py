"""Letta as an ASGI service, with authentication."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.embedded.letta.agents import Agents
from app.embedded.letta.answers import NUL, Handler, Refused, Routes, ok, refused
from app.embedded.letta.conversations import Conversations
from app.embedded.letta.memory import Memory
from app.embedded.letta.messages import Messages
from app.embedded.letta.model_calls import ModelCalls
from app.embedded.letta.providers import Providers
from app.embedded.letta.runs import Runs
from app.embedded.letta.shapes import embedding_model, llm_model
from app.embedded.state import State


class EmbeddedLetta:
    """The embedded Letta. If ``redis`` is false, background runs are refused, as in Letta."""

    def __init__(self, state: State, *, key: str, words_per_second: float, redis: bool, own_key: str | None) -> None:
        self._state = state
        self._key = key
        self.agents = Agents(state)
        self.conversations = Conversations(state)
        self.model_calls = ModelCalls(state, key=own_key)
        messages = Messages(state, self.model_calls, words_per_second=words_per_second, redis=redis)
        memory, rest = Memory(state, self.model_calls), (Runs(state), Providers(state))
        self._parts = (self.agents, self.conversations, messages, memory, *rest)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [route for part in self._parts for route in part.routes()] + self._models()
        guarded = [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in routes]
        health = Route("/v1/health/", lambda _: JSONResponse({"version": "0.16.8", "status": "ok"}))
        return Starlette(routes=[health, *guarded], exception_handlers={HTTPException: _without_route})

    async def stop(self) -> None:
        """Cancel all active runs."""
        tasks = [run.task for run in self._state.runs.values() if run.task is not None and not run.over]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.model_calls.aclose()

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self._key}":
                return JSONResponse({"detail": "Unauthorized"}, 401)
            try:
                if "%00" in request.url.query:
                    raise refused(500, NUL)
                return await handler(request)
            except Refused as refusal:
                return JSONResponse(refusal.body, refusal.status)

        return guarded

    def _models(self) -> Routes:
        def names(mode: str) -> list[str]:
            return [name for name, model in self._state.models.items() if model["mode"] == mode]

        async def models(_: Request) -> Response:
            return ok([llm_model(name) for name in names("chat")])

        async def embeddings(_: Request) -> Response:
            return ok([embedding_model(name) for name in names("embedding")])

        return [("GET", "/v1/models/", models), ("GET", "/v1/models/embedding", embeddings)]


def _without_route(_: Request, error: Exception) -> Response:
    """Answer a request for a path or a method that Letta does not have."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"detail": HTTPStatus(status).phrase}, status)
