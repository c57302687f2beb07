"""The embedded AMS: profiles, templates, and agents made from them in Letta."""

from __future__ import annotations

from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.embedded.state import Json, State, User, now

MEMORY = {"persona": "I am {name}. {description}", "human": "The person I work for has not told me about themselves."}


class EmbeddedAms:
    """AMS's routes. ``letta`` reaches the Letta that agents are made in, embedded or real."""

    def __init__(self, state: State, *, key: str, letta: httpx.AsyncClient, model_prefix: str, embedding: str) -> None:
        self._state = state
        self._key = key
        self._letta = letta
        self._model_prefix = model_prefix
        self._embedding = embedding

    def app(self) -> Starlette:
        """The service."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/me", self._me),
                Route("/agents", self._agents),
                Route("/agents/create", self._create, methods=["POST"]),
                Route("/templates", self._templates),
            ]
        )

    async def make_agent(self, user: User, template: Json, name: str | None = None) -> Json:
        """Make an agent in Letta from a template, and its row."""
        body = {
            "name": name or template["name"],
            "description": template["description"],
            "model": f"{self._model_prefix}{template['model']}",
            "embedding": self._embedding,
            "memory_blocks": [{"label": label, "value": text.format(**template)} for label, text in MEMORY.items()],
            "tags": [f"user:{user.id}"],
            "include_base_tools": False,
        }
        answer = await self._letta.post("/v1/agents/", json=body)
        answer.raise_for_status()
        agent: Json = answer.json()
        user.rows.insert(0, _row(agent["id"], now(), template))
        return agent

    async def adopt_agents(self, user: User) -> None:
        """Take over the agents in Letta that carry the user's tag."""
        answer = await self._letta.get("/v1/agents/", params={"tags": f"user:{user.id}", "limit": 100})
        answer.raise_for_status()
        user.rows = [_row(agent["id"], agent["created_at"], None) for agent in answer.json()]

    def _user(self, request: Request) -> User | None:
        return self._state.users.get(request.headers.get("x-user-id", ""))

    def _refusal(self, request: Request) -> JSONResponse | None:
        if request.headers.get("authorization") != f"Bearer {self._key}":
            return _error(401, "Unauthorized")
        return None if request.headers.get("x-user-id") else _error(400, "X-User-Id is missing")

    async def _health(self, _: Request) -> JSONResponse:
        checks = {"database": "ok", "proxy_service": "ok", "letta_api_key": "ok"}
        return JSONResponse({"status": "ok", "checks": checks})

    async def _me(self, request: Request) -> JSONResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        user = self._user(request)
        if user is None:
            names = ("id", "email", "name", "litellm_key", "letta_agent_id", "agent_status", "created_at", "updated_at")
            return JSONResponse({**dict.fromkeys(names), "profile_exists": False})
        profile: Json = {
            "id": user.id,
            "email": user.email,
            "name": user.name,
            "litellm_key": user.litellm_key,
            "letta_agent_id": user.rows[0]["agent_id"] if user.rows else None,
            "agent_status": "registered" if user.rows else None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
            "profile_exists": True,
        }
        if user.shape == "list":
            profile["agents"] = user.rows
        elif user.shape == "object":
            profile["agents"] = {row["agent_id"]: {"name": None, "status": "registered"} for row in user.rows}
        return JSONResponse(profile)

    async def _agents(self, request: Request) -> JSONResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        user, wanted = self._user(request), _ids(request)
        rows = user.rows if user else []
        found = [{**row, "user_id": user.id, "variables": {}} for row in rows if user and row["agent_id"] in wanted]
        return JSONResponse({"agents": found})

    async def _templates(self, request: Request) -> JSONResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        shown = list(self._state.templates.values())
        if "ids" in request.query_params:
            shown = [template for template in shown if template["id"] in _ids(request)]
        return JSONResponse({"templates": [{k: v for k, v in t.items() if k != "model"} for t in shown]})

    async def _create(self, request: Request) -> JSONResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        user = self._user(request)
        body: dict[str, Any] = await request.json()
        template = self._state.templates.get(str(body.get("template_id")))
        if user is None or template is None:
            return _error(404, "Template not found")
        key = request.headers.get("idempotency-key")
        if key is not None and key in self._state.created:
            return JSONResponse(self._state.created[key])
        agent = await self.make_agent(user, template, body.get("agent_name"))
        answer = {"agent": agent, "template_checksum": f"sha256:{template['id']}"}
        if key is not None:
            self._state.created[key] = answer
        return JSONResponse(answer)


def _row(agent_id: str, at: str, template: Json | None) -> Json:
    return {
        "agent_id": agent_id,
        "template_id": template["id"] if template else None,
        "version": template["latest_version"] if template else None,
        "created_at": at,
        "updated_at": at,
    }


def _ids(request: Request) -> list[str]:
    return request.query_params.get("ids", "").split(",")


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
