"""AMS's routes for agents. AMS creates, upgrades and deletes the agents in Letta, and has a row for each agent."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from app.embedded.ams.agentfile import prompt_of, required_variables
from app.embedded.ams.answers import Handler, Refused, body_of, ids_of, ok
from app.embedded.ams.proxied import ProxiedModels
from app.embedded.ams.templates import Templates
from app.embedded.ams.upgrades import UpgradeError, difference, patched, plan, warnings
from app.embedded.state import Json, State, User, now

MEMORY = {"persona": "I am {name}. {description}", "human": "The person I work for has not told me about themselves."}

_LETTA_FAILED = 500


class Agents:
    """AMS's routes for agents. ``letta`` is an HTTP client of Letta."""

    def __init__(
        self, state: State, templates: Templates, *, letta: httpx.AsyncClient, model_prefix: str, embedding: str
    ) -> None:
        self._state = state
        self._templates = templates
        self._letta = letta
        self._model_prefix = model_prefix
        self._embedding = embedding
        self.models = ProxiedModels(self._call_letta)
        self._upgrades: set[asyncio.Task[None]] = set()

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return the routes."""
        return [
            ("GET", "/agents", self._rows),
            ("POST", "/agents/create", self._create),
            ("POST", "/agents/{id}/upgrade", self._upgrade),
            ("DELETE", "/agents/{id}", self._delete),
        ]

    async def make(
        self, user: User, template: Json, name: str | None, *, version: str | None = None, variables: Json | None = None
    ) -> Json:
        """Create an agent in Letta from a template, and create AMS's row for the agent.

        A ``model`` in ``template`` overrides the Agent File's model.
        """
        version, variables = version or template["latest_version"], variables or {}
        file, name = self._templates.file(template, version), name or template["name"]
        model = template.get("model") or file.content["engine"]["model"]
        body = {
            "name": name,
            "description": template["description"],
            "system": prompt_of(file.content, agent_name=name, variables=variables),
            **await self.models.of(user, self._with_prefix(model), self._embedding),
            "memory_blocks": [{"label": label, "value": text.format(**template)} for label, text in MEMORY.items()],
            "tags": [f"user:{user.id}"],
            "include_base_tools": False,
            "tool_ids": await self._tool_ids(file.content),
        }
        agent: Json = await self._call_letta("POST", "/v1/agents/", json=body)
        user.rows.insert(0, row(agent["id"], now(), template["id"], version, variables))
        self._state.keep_rows(user)
        return agent

    def _with_prefix(self, model: object) -> str:
        return self._model_prefix + str(model).split("/", 1)[-1]

    async def adopt(self, user: User) -> None:
        """Make AMS's rows for the Letta agents that have the user's tag but no row. Raises HTTPError."""
        params = {"tags": f"user:{user.id}", "limit": "100"}
        answer = await self._letta.get("/v1/agents/", params=params)
        answer.raise_for_status()
        rows = {one["agent_id"]: one for one in user.rows}
        user.rows = [rows.get(one["id"]) or row(one["id"], one["created_at"], None, None, {}) for one in answer.json()]
        self._state.keep_rows(user)

    async def start(self) -> None:
        """Start to apply the upgrades that a previous process has queued but has not applied."""
        for agent_id in list(self._state.upgrades):
            self._apply_soon(agent_id)

    async def stop(self) -> None:
        """Stop the upgrades. Queued upgrades wait for the next start."""
        for task in self._upgrades:
            task.cancel()
        await asyncio.gather(*self._upgrades, return_exceptions=True)

    async def _rows(self, request: Request, user: User | None) -> Response:
        requested, rows = ids_of(request), user.rows if user else []
        if len(requested) > 100:
            raise Refused(400, "At most 100 ids")
        owner = user.id if user else None
        found = [{**one, "user_id": owner, "variables": one.get("variables", {})} for one in rows]
        return ok({"agents": [one for one in found if one["agent_id"] in requested]})

    async def _create(self, request: Request, user: User | None) -> Response:
        body = await body_of(request)
        template = self._templates.usable(str(body.get("template_id")), user)
        if user is None:
            raise Refused(404, "There is no such user")
        requested = body.get("version")
        version = template["latest_version"] if requested is None or body.get("use_latest") else str(requested)
        file, variables = self._templates.file(template, version), body.get("variables") or {}
        if not isinstance(variables, dict):
            raise Refused(400, "variables must be an object")
        missing = [name for name in required_variables(file.content) if variables.get(name) in {None, ""}]
        if missing:
            raise Refused(400, "Variables are missing", [f"{name} is required" for name in missing])
        agent = await self.make(user, template, body.get("agent_name"), version=version, variables=variables)
        return ok({"agent": agent, "template_checksum": file.checksum})

    async def _upgrade(self, request: Request, user: User | None) -> Response:
        agent_row, body = self._own(request, user), await body_of(request)
        template, target = self._target(agent_row, body, user)
        chain, changes, _ = self._planned(agent_row, template, target)
        if body.get("dry_run", True):
            notes = [*warnings(chain), *await self._prompt_warnings(agent_row, template)]
            return ok({"plan": chain, "diff": changes, "warnings": notes, "dry_run": True})
        agent_id = agent_row["agent_id"]
        if body.get("use_queue"):
            queued = {"user_id": user.id if user else "", "target": target, "letta": self._state.letta}
            self._state.keep("upgrade", self._state.upgrades, agent_id, queued)
            self._apply_soon(agent_id)
            return ok({"message": "The upgrade is queued", "agent_id": agent_id, "target_version": target})
        await self._apply(agent_row, template, target)
        return ok({"plan": chain, "applied": True, "new_version": target})

    def _target(self, agent_row: Json, body: Json, user: User | None) -> tuple[Json, str]:
        if agent_row["template_id"] is None:
            raise Refused(400, "The agent has no template")
        template = self._templates.usable(agent_row["template_id"], user)
        requested = body.get("target_version")
        target = template["latest_version"] if requested is None or body.get("use_latest") else str(requested)
        self._templates.file(template, target)
        return template, target

    def _planned(self, agent_row: Json, template: Json, target: str) -> tuple[list[Json], list[Json], Json]:
        """Return the chain of migrations, the chain's changes, and the upgraded Agent File. Raises Refused."""
        try:
            chain = plan(self._templates.migrations(template), agent_row["version"], target)
            changes = difference(chain)
            return chain, changes, patched(self._templates.file(template, agent_row["version"]).content, changes)
        except UpgradeError as error:
            raise Refused(400, str(error)) from error

    async def _prompt_warnings(self, agent_row: Json, template: Json) -> list[str]:
        """Return a warning if an upgrade would overwrite a system prompt that was changed by hand."""
        agent = await self._call_letta("GET", f"/v1/agents/{agent_row['agent_id']}")
        content = self._templates.file(template, agent_row["version"]).content
        variables = agent_row.get("variables", {})
        if agent["system"] == prompt_of(content, agent_name=agent["name"], variables=variables):
            return []
        return ["The agent's system prompt was changed by hand; the upgrade overwrites it."]

    async def _apply(self, agent_row: Json, template: Json, target: str) -> None:
        """Apply the migrations to the agent in Letta, then to the agent's row."""
        agent_id, version = agent_row["agent_id"], agent_row["version"]
        _, _, after = self._planned(agent_row, template, target)
        before = self._templates.file(template, version).content
        agent = await self._call_letta("GET", f"/v1/agents/{agent_id}")
        changes: Json = {}
        if after["persona"] != before["persona"]:
            variables = agent_row.get("variables", {})
            changes["system"] = prompt_of(after, agent_name=agent["name"], variables=variables)
        if after["engine"]["model"] != before["engine"]["model"]:
            changes |= await self.models.of(self._owner(agent_row), self._with_prefix(after["engine"]["model"]))
        if after.get("tools") != before.get("tools"):
            changes["tool_ids"] = await self._tool_ids(after)
        if changes:
            await self._call_letta("PATCH", f"/v1/agents/{agent_id}", json=changes)
        agent_row |= {"version": target, "updated_at": now()}
        self._state.keep_rows(self._owner(agent_row))

    def _owner(self, agent_row: Json) -> User:
        return next(user for user in self._state.users.values() if agent_row in user.rows)

    def _apply_soon(self, agent_id: str) -> None:
        async def apply() -> None:
            queued = self._state.upgrades[agent_id]
            user = self._state.users.get(queued["user_id"])
            agent_row = next((one for one in user.rows if one["agent_id"] == agent_id), None) if user else None
            if agent_row is not None and queued["letta"] == self._state.letta:
                template = self._templates.usable(agent_row["template_id"], user)
                try:
                    await self._apply(agent_row, template, queued["target"])
                except Refused as refusal:
                    if refusal.status == _LETTA_FAILED:
                        return  # the upgrade stays queued for the next start
            del self._state.upgrades[agent_id]
            self._state.store.drop("upgrade", agent_id)

        task = asyncio.create_task(apply())
        self._upgrades.add(task)
        task.add_done_callback(self._upgrades.discard)

    async def _delete(self, request: Request, user: User | None) -> Response:
        agent_row = self._own(request, user)
        await self._call_letta("DELETE", f"/v1/agents/{agent_row['agent_id']}", expect=404)
        if user is not None:
            user.rows = [one for one in user.rows if one is not agent_row]
            self._state.keep_rows(user)
        return Response(status_code=204)

    def _own(self, request: Request, user: User | None) -> Json:
        rows = user.rows if user else []
        found = next((one for one in rows if one["agent_id"] == request.path_params["id"]), None)
        if found is None:
            raise Refused(404, "Agent not found")
        return found

    async def _tool_ids(self, content: Json) -> list[str]:
        names = [str(name) for name in content.get("tools") or []]
        if not names:
            return []
        found: list[Json] = await self._call_letta("GET", "/v1/tools/", params={"names": names})
        ids = {tool["name"]: tool["id"] for tool in found}
        return [ids[name] for name in names if name in ids]

    async def _call_letta(self, method: str, path: str, *, expect: int | None = None, **more: Any) -> Any:
        """Call Letta, and return the response. If Letta fails, AMS answers 500 (AMS contract)."""
        try:
            answer = await self._letta.request(method, path, **more)
            if answer.status_code != expect:
                answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Refused(_LETTA_FAILED, "Letta did not carry out the call") from error
        return answer.json()


def row(agent_id: str, at: str, template_id: str | None, version: str | None, variables: Json) -> Json:
    """Make AMS's row for an agent."""
    return {
        "agent_id": agent_id,
        "template_id": template_id,
        "version": version,
        "created_at": at,
        "updated_at": at,
        "variables": variables,
    }
