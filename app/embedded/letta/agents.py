"""The routes of Letta's agents and the agents' tools."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.letta.answers import Routes, agent_of, body_of, invalid, missing, ok, page, refused, truth
from app.embedded.letta.memory import make_block
from app.embedded.letta.shapes import AGENT, BASE_TOOLS, PROVIDER, embedding_config, llm_config
from app.embedded.letta.views import include_of, system_message, view
from app.embedded.state import Agent, Json, State, new_id, now

_PATCHABLE = frozenset(
    {"name", "description", "system", "metadata", "tags", "tool_rules", "timezone", "hidden", "model_settings"}
    | {"message_buffer_autoclear", "last_stop_reason", "enable_sleeptime", "response_format", "compaction_settings"}
)
_SYSTEM = "You are a helpful agent."
_NAME = re.compile(r"[\w '\-]+")
"""The pattern for the name of a new agent. As in Letta, a changed name is not checked."""


class Agents:
    """The routes of agents and tools."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            ("GET", "/v1/agents/", self._list),
            ("POST", "/v1/agents/", self._create),
            ("GET", "/v1/agents/{id}", self._get),
            ("PATCH", "/v1/agents/{id}", self._patch),
            ("DELETE", "/v1/agents/{id}", self._delete),
            ("GET", "/v1/agents/{id}/tools", self._tools_of_agent),
            ("PATCH", "/v1/agents/{id}/tools/attach/{tool}", self._attach),
            ("PATCH", "/v1/agents/{id}/tools/detach/{tool}", self._detach),
            ("PATCH", "/v1/agents/{id}/tools/approval/{name}", self._approval),
            ("GET", "/v1/tools/", self._tools),
            ("GET", "/v1/tools/{tool}", self._tool),
        ]

    def make(self, body: Json) -> Agent:
        """Make an agent from the body of a ``POST /v1/agents/``. The body may contain an id. Raises Refused."""
        _check(body)
        at, model, embedding = now(), _model(body), _embedding(body)
        agent = Agent(
            {
                **AGENT,
                "id": body.get("id") or new_id("agent"),
                "name": body["name"],
                "description": body.get("description"),
                "metadata": body.get("metadata"),
                "system": body.get("system") or _SYSTEM,
                "model": model["handle"],
                "embedding": None if embedding is None else embedding["handle"],
                "llm_config": model,
                "embedding_config": embedding,
                "tags": list(body.get("tags") or []),
                "created_at": at,
                "updated_at": at,
            },
            tool_ids=self._tool_ids(body),
        )
        with self._state.store.together():
            for one in body.get("memory_blocks") or []:
                agent.block_ids.append(make_block(self._state, one)["id"])
            agent.block_ids += [one for one in body.get("block_ids") or [] if one in self._state.blocks]
            self._state.keep_agent(agent)
            self._state.add_messages(agent, agent.id, [[system_message(agent)]])
        return agent

    def _tool_ids(self, body: Json) -> list[str]:
        names = set(body.get("tools") or [])
        if body.get("include_base_tools", True):
            names |= BASE_TOOLS
        by_name = [tool["id"] for tool in self._state.tools.values() if tool["name"] in names]
        by_id = [tool_id for tool_id in body.get("tool_ids") or [] if tool_id in self._state.tools]
        return list(dict.fromkeys([*by_id, *by_name]))

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        tags = set(query.getlist("tags"))
        match_all = truth(query.get("match_all_tags"))
        found = [
            agent
            for agent in self._state.agents.values()
            if (not tags or (tags <= set(agent.body["tags"]) if match_all else tags & set(agent.body["tags"])))
            and query.get("name") in {None, agent.body["name"]}
            and (not query.get("query_text") or _pattern(query["query_text"]).search(agent.body["name"]))
        ]
        chosen = page([agent.body for agent in found], request, default=50)
        include = include_of(request)
        return ok([view(self._state, self._state.agents[body["id"]], include) for body in chosen])

    async def _create(self, request: Request) -> Response:
        body = {**await body_of(request), "id": None}
        if isinstance(blocks := body.get("memory_blocks"), list):
            body["memory_blocks"] = [{**block, "id": None} for block in blocks]
        self._check_model(body)
        return ok(view(self._state, self.make(body)))

    def _check_model(self, body: Json) -> None:
        """Raise Refused for an unknown model handle, unless the body has an ``llm_config``."""
        handle = body.get("model")
        if isinstance(body.get("llm_config"), dict) or not isinstance(handle, str):
            return
        handles = [f"{PROVIDER}/{name}" for name, model in self._state.models.items() if model["mode"] == "chat"]
        if handle not in handles:
            raise refused(404, f"NOT_FOUND: Handle {handle} not found, must be one of {handles}")

    async def _get(self, request: Request) -> Response:
        agent = agent_of(self._state, request.path_params["id"])
        return ok(view(self._state, agent, include_of(request)))

    async def _patch(self, request: Request) -> Response:
        agent, body = self._existing(request), await body_of(request)
        self._check_model(body)
        agent.body |= {name: value for name, value in body.items() if name in _PATCHABLE and value is not None}
        agent.body["tags"] = list(dict.fromkeys(agent.body["tags"]))
        if body.get("model") or body.get("llm_config"):
            model = _model(body)
            agent.body |= {"model": model["handle"], "llm_config": model}
        if (embedding := _embedding(body)) is not None:
            agent.body |= {"embedding": embedding["handle"], "embedding_config": embedding}
        if isinstance(body.get("tool_ids"), list):
            agent.tool_ids = [one for one in body["tool_ids"] if one in self._state.tools]
        if isinstance(body.get("block_ids"), list):
            agent.block_ids = [one for one in body["block_ids"] if one in self._state.blocks]
        agent.body["updated_at"] = now()
        with self._state.store.together():
            self._state.keep_agent(agent)
            if "system" in body:
                self._rewrite_system(agent)
        return ok(view(self._state, agent))

    def _rewrite_system(self, agent: Agent) -> None:
        """Replace the system prompt in the first message of the default conversation, as Letta does."""
        head = agent.messages[agent.id][0]
        head[0]["content"] = agent.body["system"]
        self._state.keep_group(agent, agent.id, head)

    async def _delete(self, request: Request) -> Response:
        agent = self._existing(request)
        for run in list(self._state.runs.values()):
            if run.body["agent_id"] == agent.id and run.task is not None and not run.over:
                run.task.cancel()
        self._state.drop_agent(agent)
        return ok({"message": f"Agent id={agent.id} successfully deleted"})

    def _existing(self, request: Request) -> Agent:
        """Return the agent that a request changes. Raises Refused.

        Letta's 404 has a different text for a change than for a read.
        """
        agent_id = request.path_params["id"]
        if agent_id not in self._state.agents and agent_id.startswith("agent-"):
            raise missing("Agent", agent_id)
        return agent_of(self._state, agent_id)

    async def _tools_of_agent(self, request: Request) -> Response:
        agent = agent_of(self._state, request.path_params["id"])
        return ok(page([self._state.tools[tool_id] for tool_id in agent.tool_ids], request, default=50, order="asc"))

    async def _attach(self, request: Request) -> Response:
        agent, tool = self._existing(request), self._existing_tool(request)
        if tool["id"] not in agent.tool_ids:
            agent.tool_ids.append(tool["id"])
            self._state.keep_agent(agent)
        return ok(None)

    async def _detach(self, request: Request) -> Response:
        agent, tool = self._existing(request), self._existing_tool(request)
        agent.tool_ids = [tool_id for tool_id in agent.tool_ids if tool_id != tool["id"]]
        self._state.keep_agent(agent)
        return ok(None)

    async def _approval(self, request: Request) -> Response:
        agent, body = self._existing(request), await body_of(request)
        parameter = request.query_params.get("requires_approval")
        required = truth(parameter) if parameter is not None else bool(body.get("requires_approval"))
        agent.approvals[request.path_params["name"]] = required
        self._state.keep_agent(agent)
        return ok(None)

    async def _tools(self, request: Request) -> Response:
        query = request.query_params
        ids = set(query.getlist("tool_ids"))
        names = {*query.getlist("names"), *query.getlist("name")}
        found = [
            tool
            for tool in self._state.tools.values()
            if (not ids or tool["id"] in ids) and (not names or tool["name"] in names)
        ]
        return ok(page(found, request, default=50))

    async def _tool(self, request: Request) -> Response:
        return ok(self._existing_tool(request))

    def _existing_tool(self, request: Request) -> Json:
        tool = self._state.tools.get(request.path_params["tool"])
        if tool is None:
            raise missing("Tool", request.path_params["tool"])
        return tool


def _pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern of SQL's ``LIKE``: ``%`` matches any text, ``_`` one character."""
    parts = [{"%": ".*", "_": "."}.get(char, re.escape(char)) for char in text]
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _check(body: Json) -> None:
    if not isinstance(body.get("name", ""), str):
        raise invalid("string_type", ("body", "name"), "Input should be a valid string", body["name"])
    if not isinstance(body.get("memory_blocks") or [], list):
        raise invalid("list_type", ("body", "memory_blocks"), "Input should be a valid list", body["memory_blocks"])
    body.setdefault("name", "Agent")
    if body["name"] and not _NAME.fullmatch(body["name"]):
        raise refused(500, f"Export failed: Agent name '{body['name']}' contains invalid characters.")
    config = body.get("llm_config")
    if not body.get("model") and not (isinstance(config, dict) and config.get("handle")):
        raise refused(400, "INVALID_ARGUMENT: model or llm_config is required")


def _model(body: Json) -> Json:
    config = body.get("llm_config")
    if not isinstance(config, dict):
        return llm_config(str(body["model"]))
    return {**llm_config(str(config["handle"])), **config}


def _embedding(body: Json) -> Json | None:
    config = body.get("embedding_config")
    if not isinstance(config, dict):
        return embedding_config(body.get("embedding"))
    return {**(embedding_config(str(config["handle"])) or {}), **config}
