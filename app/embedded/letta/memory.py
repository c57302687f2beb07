"""Memory: blocks, which are part of the agent's prompt, and passages, which the agent searches."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.letta.answers import (
    Routes,
    agent_of,
    body_of,
    invalid,
    missing,
    number_of,
    ok,
    page,
    page_by_age,
    refused,
)
from app.embedded.letta.model_calls import ModelCalls
from app.embedded.letta.shapes import BLOCK, DIMENSIONS, PADDED_DIMENSIONS, PASSAGE, embedding_config
from app.embedded.letta.views import include_of, view
from app.embedded.model import ModelFailure
from app.embedded.state import Agent, Json, State, new_id, now
from app.embedded.vectors import embed, similarity

_DESCRIPTIONS = {
    "human": "The human block: Stores key details about the person you are conversing with, allowing for more "
    "personalized and friend-like conversation.",
    "persona": "The persona block: Stores details about your current persona, guiding how you behave and respond. This "
    "helps you to maintain consistency and personality in your interactions.",
}
_BLOCK_FIELDS = frozenset({"value", "limit", "label", "read_only", "description", "metadata", "hidden", "tags"})


def make_block(state: State, body: Json) -> Json:
    """Make a memory block. As in Letta, a value can be longer than the block's limit."""
    label = str(body.get("label", ""))
    shape = {**BLOCK, "description": _DESCRIPTIONS.get(label)}
    fields = {name: value for name, value in body.items() if name in _BLOCK_FIELDS}
    block = {**shape, "value": "", **fields, "label": label, "id": body.get("id") or new_id("block")}
    state.keep("block", state.blocks, block["id"], block)
    return block


class Memory:
    """The routes of memory."""

    def __init__(self, state: State, model_calls: ModelCalls) -> None:
        self._state = state
        self._model_calls = model_calls

    def routes(self) -> Routes:
        """Return the routes."""
        core, archival = "/v1/agents/{id}/core-memory/blocks", "/v1/agents/{id}/archival-memory"
        return [
            ("GET", core, self._blocks_of_agent),
            ("GET", core + "/{label}", self._by_label),
            ("PATCH", core + "/{label}", self._patch_by_label),
            ("PATCH", core + "/attach/{block}", self._attach),
            ("PATCH", core + "/detach/{block}", self._detach),
            ("GET", "/v1/blocks/", self._blocks),
            ("POST", "/v1/blocks/", self._create),
            ("GET", "/v1/blocks/{block}", self._block),
            ("PATCH", "/v1/blocks/{block}", self._patch),
            ("GET", "/v1/blocks/{block}/agents", self._agents),
            ("GET", archival, self._passages),
            ("GET", archival + "/search", self._search),
            ("POST", archival, self._insert),
            ("DELETE", archival + "/{passage}", self._delete),
            ("POST", "/v1/passages/search", self._search_scored),
        ]

    async def _blocks_of_agent(self, request: Request) -> Response:
        agent = agent_of(self._state, request.path_params["id"])
        return ok(page([self._state.blocks[one] for one in agent.block_ids], request, default=100))

    async def _by_label(self, request: Request) -> Response:
        return ok(self._labelled(request))

    async def _patch_by_label(self, request: Request) -> Response:
        return ok(self._change(self._labelled(request), await body_of(request)))

    def _labelled(self, request: Request) -> Json:
        agent, label = agent_of(self._state, request.path_params["id"]), request.path_params["label"]
        blocks = (self._state.blocks[one] for one in agent.block_ids)
        block = next((one for one in blocks if one["label"] == label), None)
        if block is None:
            raise refused(404, f"No block with label '{label}' found for agent '{agent.id}'")
        return block

    def _change(self, block: Json, body: Json) -> Json:
        changed = {**block, **{name: value for name, value in body.items() if name in _BLOCK_FIELDS}}
        self._state.keep("block", self._state.blocks, block["id"], changed)
        return changed

    async def _attach(self, request: Request) -> Response:
        agent, block = agent_of(self._state, request.path_params["id"]), self._known(request)
        if block["id"] not in agent.block_ids:
            agent.block_ids.append(block["id"])
        return self._changed(agent)

    async def _detach(self, request: Request) -> Response:
        agent, block = agent_of(self._state, request.path_params["id"]), self._known(request)
        agent.block_ids = [one for one in agent.block_ids if one != block["id"]]
        return self._changed(agent)

    def _changed(self, agent: Agent) -> Response:
        agent.body["updated_at"] = now()
        self._state.keep_agent(agent)
        return ok(view(self._state, agent))

    async def _blocks(self, request: Request) -> Response:
        label = request.query_params.get("label")
        found = [block for block in self._state.blocks.values() if label in {None, block["label"]}]
        return ok(page(found, request, default=50, order="asc"))

    async def _create(self, request: Request) -> Response:
        body = await body_of(request)
        if not isinstance(body.get("label"), str):
            raise invalid("missing", ("body", "label"), "Field required", body)
        return ok(make_block(self._state, {name: value for name, value in body.items() if name != "id"}))

    async def _block(self, request: Request) -> Response:
        return ok(self._known(request))

    async def _patch(self, request: Request) -> Response:
        return ok(self._change(self._known(request), await body_of(request)))

    async def _agents(self, request: Request) -> Response:
        block_id = request.path_params["block"]
        found = [agent.body for agent in self._state.agents.values() if block_id in agent.block_ids]
        chosen = page(found, request, default=50)
        return ok([view(self._state, self._state.agents[one["id"]], include_of(request)) for one in chosen])

    def _known(self, request: Request) -> Json:
        block = self._state.blocks.get(request.path_params["block"])
        if block is None:
            raise missing("Block", request.path_params["block"])
        return block

    def _of_agent(self, agent: Agent) -> list[Json]:
        return [passage for passage in self._state.passages.values() if passage["agent_id"] == agent.id]

    async def _passages(self, request: Request) -> Response:
        agent, query = self._state.agents.get(request.path_params["id"]), request.query_params
        passages = [] if agent is None else self._of_agent(agent)
        found = [one for one in passages if (query.get("search") or "").lower() in one["text"].lower()]
        cursors = [query[side] for side in ("after", "before") if side in query]
        # measured: an unknown cursor gives an empty page, and another agent's passage is a valid cursor
        if any(cursor not in self._state.passages for cursor in cursors):
            return ok([])
        ids = {one["id"] for one in found}
        foreign = [self._state.passages[cursor] for cursor in cursors if cursor not in ids]
        found = sorted([*found, *foreign], key=lambda one: str(one["created_at"]))
        order = "desc" if query.get("ascending", "true").lower() == "false" else "asc"
        return ok([await _answer(one) for one in page_by_age(found, request, order=order)])

    async def _search(self, request: Request) -> Response:
        agent, query = agent_of(self._state, request.path_params["id"]), request.query_params
        if "query" not in query:
            raise invalid("missing", ("query", "query"), "Field required", None)
        if query["query"]:
            await self._embed(agent, query["query"])
        tags, match_all = set(query.getlist("tags")), query.get("tag_match_mode") == "all"
        found = [
            one
            for one in reversed(self._of_agent(agent))
            if not tags or (tags <= set(one["tags"] or []) if match_all else tags & set(one["tags"] or []))
        ]
        ranked = await _ranked(query["query"], found) if query["query"] else []
        # measured: Letta returns the nearest passages, however dissimilar
        results = [_result(one) for one in ranked[: number_of(query.get("top_k", 10), ("query", "top_k"))]]
        return ok({"results": results, "count": len(results)})

    async def _search_scored(self, request: Request) -> Response:
        """Search for passages, and return the best match first.

        As in Letta with Postgres, each score is 0.
        """
        body = await body_of(request)
        found = [one for one in self._state.passages.values() if body.get("agent_id") in {None, one["agent_id"]}]
        if body.get("query"):
            if body.get("agent_id"):
                await self._embed(agent_of(self._state, body["agent_id"]), body["query"])
            found = await _ranked(body["query"], found)
        chosen = found[: number_of(body.get("limit", 50), ("body", "limit"))]
        return ok([{"passage": await _answer(one), "score": 0.0, "metadata": {}} for one in chosen])

    async def _insert(self, request: Request) -> Response:
        agent, body = agent_of(self._state, request.path_params["id"]), await body_of(request)
        if not isinstance(body.get("text"), str):
            raise invalid("missing", ("body", "text"), "Field required", body)
        passage = {
            "id": new_id("passage"),
            "agent_id": agent.id,
            "text": body["text"],
            "tags": body.get("tags"),
            "created_at": body.get("created_at") or now(),
        }
        await self._embed(agent, body["text"])
        self._state.keep("passage", self._state.passages, passage["id"], passage, agent.id)
        return ok([await _answer(passage)])

    async def _embed(self, agent: Agent, text: str) -> None:
        try:
            await self._model_calls.embedding_of(agent, text)
        except ModelFailure as failure:
            raise refused(500, "INTERNAL_SERVER_ERROR: the embedding failed") from failure

    async def _delete(self, request: Request) -> Response:
        """Delete a passage. As in Letta, nothing checks whether the passage belongs to the agent."""
        agent_of(self._state, request.path_params["id"])
        passage_id = request.path_params["passage"]
        if passage_id not in self._state.passages:
            raise refused(404, f"Passage with id {passage_id} not found in database.")
        del self._state.passages[passage_id]
        self._state.store.drop("passage", passage_id)
        return ok({"message": f"Memory id={passage_id} successfully deleted"})


async def _ranked(query: str, passages: list[Json]) -> list[Json]:
    """Sort passages by similarity to a query. Other tasks can run between two passages."""
    scored = []
    for one in passages:
        scored.append((similarity(query, one["text"]), one))
        await asyncio.sleep(0)
    return [one for _, one in sorted(scored, key=lambda pair: -pair[0])]


async def _answer(passage: Json) -> Json:
    """Return a passage with its embedding vector.

    The vector is computed at each call.
    """
    await asyncio.sleep(0)
    at = passage["created_at"]
    return {
        **PASSAGE,
        "created_at": at,
        "updated_at": at,
        "archive_id": "archive-" + passage["agent_id"].removeprefix("agent-"),
        "tags": passage["tags"],
        "id": passage["id"],
        "text": passage["text"],
        "embedding": embed(passage["text"], DIMENSIONS) + [0.0] * (PADDED_DIMENSIONS - DIMENSIONS),
        "embedding_config": embedding_config("openai/text-embedding-3-small"),
    }


def _result(passage: Json) -> Json:
    at = passage["created_at"].replace("Z", "+00:00")
    return {"id": passage["id"], "timestamp": at, "content": passage["text"], "tags": passage["tags"] or []}
