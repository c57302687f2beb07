"""AMS as an ASGI service, with authentication and idempotency."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.embedded.ams.agents import Agents
from app.embedded.ams.answers import Handler, Refused, RequestHandler, ok
from app.embedded.ams.templates import Templates
from app.embedded.state import Json, State, User

_PROFILE = ("id", "email", "name", "litellm_key", "letta_agent_id", "agent_status", "created_at", "updated_at")
_SINCE = "2026-01-05T09:00:00Z"


class EmbeddedAms:
    """The embedded AMS. ``letta`` is an HTTP client of Letta."""

    def __init__(self, state: State, *, key: str, letta: httpx.AsyncClient, model_prefix: str, embedding: str) -> None:
        self._state = state
        self._key = key
        self._templates = Templates(state)
        self.agents = Agents(state, self._templates, letta=letta, model_prefix=model_prefix, embedding=embedding)
        self._locks: dict[str, asyncio.Lock] = {}

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [("GET", "/me", self._me), *self._templates.routes(), *self.agents.routes()]
        guarded = [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in routes]
        return Starlette(routes=[Route("/health", self._health), *guarded])

    def _guarded(self, handler: Handler) -> RequestHandler:
        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self._key}":
                return JSONResponse({"error": "Unauthorized"}, 401)
            caller = request.headers.get("x-user-id")
            if not caller:
                return JSONResponse({"error": "X-User-Id is missing"}, 400)
            try:
                return await self._idempotent(request, handler, self._state.users.get(caller))
            except Refused as refusal:
                return JSONResponse(refusal.body, refusal.status)

        return guarded

    async def _idempotent(self, request: Request, handler: Handler, user: User | None) -> Response:
        """Handle a request. A mutation with an idempotency key runs once, and the response is stored."""
        key = request.headers.get("idempotency-key")
        if key is None or request.method == "GET":
            return await handler(request, user)
        name = f"{user.id if user else ''} {key}"
        fingerprint = hashlib.sha256(await request.body()).hexdigest() + f" {request.method} {request.url.path}"
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                stored = self._state.created.get(name)
                if stored is None:
                    answer = await handler(request, user)
                    stored = {"about": fingerprint, "status": answer.status_code, "body": bytes(answer.body).decode()}
                    self._state.keep("created", self._state.created, name, stored)
        finally:
            self._locks.pop(name, None)
        if stored["about"] != fingerprint:
            raise Refused(409, "The Idempotency-Key was used for another request")
        media_type = "application/json" if stored["body"] else None
        return Response(stored["body"], stored["status"], media_type=media_type)

    async def _health(self, _: Request) -> JSONResponse:
        checks = {"database": "ok", "proxy_service": "ok", "letta_api_key": "ok"}
        return JSONResponse({"status": "ok", "checks": checks})

    async def _me(self, _: Request, user: User | None) -> Response:
        if user is None:
            return ok({**dict.fromkeys(_PROFILE), "profile_exists": False})
        rows = [{name: value for name, value in row.items() if name != "variables"} for row in user.rows]
        profile: Json = {
            "id": user.id,
            "email": user.email,
            "name": user.name,
            "litellm_key": user.litellm_key,
            "letta_agent_id": rows[0]["agent_id"] if rows else None,
            "agent_status": "registered" if rows else None,
            "created_at": _SINCE,
            "updated_at": _SINCE,
            "profile_exists": True,
        }
        if user.shape == "list":
            profile["agents"] = rows
        elif user.shape == "object":
            profile["agents"] = {row["agent_id"]: {"name": None, "status": "registered"} for row in rows}
        return Response(orjson.dumps(profile), media_type="application/json")
