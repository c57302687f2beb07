"""Writes the user's agents as models of ``GET /v1/models``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.rest.agents.named import agent_named
from resolvers.context import RequestContext
from resolvers.encoded_agents import encoded_agents
from resolvers.owned import OwnedAgent


class _Model(msgspec.Struct, frozen=True):
    """An agent as a model in OpenAI's format. ``created`` is the time in seconds since 1970, or 0 if it is unknown."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "letta"


_ENCODER = msgspec.json.Encoder()


async def agent_models(context: RequestContext) -> bytes:
    """Return the user's agents as models: JSON objects that commas separate. The result is empty without agents."""
    return await encoded_agents(context, _encoded)


async def agent_model(context: RequestContext, name: str) -> bytes | None:
    """Return the user's agent with the given id as a model, or ``None`` if ``name`` names none of the user's agents."""
    agent = await agent_named(context, name)
    return None if agent is None else _ENCODER.encode(_model(agent))


def _encoded(agents: Sequence[OwnedAgent]) -> bytes:
    return _ENCODER.encode([_model(agent) for agent in agents])[1:-1]


def _model(agent: OwnedAgent) -> _Model:
    created = agent.created_at
    return _Model(agent.agent_id, 0 if created is None else int(created.timestamp()))
