"""The signed-in user."""

from __future__ import annotations

from datetime import datetime

from strawberry import Parent

from clients.ams import AgentRow
from clients.litellm import KeyInfo
from clients.origin import Owner
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.limits import RateLimitRecord
from resolvers.principal import Principal
from resolvers.streams.stream import Stream


async def name(user: Parent[Principal], info: Info) -> str | None:  # noqa: ARG001 - the parent is the principal
    """The user's name in AMS."""
    return (await info.context.access.profile()).name


async def created_at(user: Parent[Principal], info: Info) -> datetime | None:  # noqa: ARG001 - as above
    """When the user's profile was made."""
    return (await info.context.access.profile()).created_at


async def default_agent(user: Parent[Principal], info: Info) -> AgentRow | None:  # noqa: ARG001 - as above
    """The agent that AMS keeps for the user's first."""
    profile = await info.context.access.profile()
    return next((row for row in profile.agents if row.agent_id == profile.letta_agent_id), None)


async def budget(user: Parent[Principal], info: Info) -> KeyInfo | None:  # noqa: ARG001 - the parent is the principal
    """What the user's own key may spend."""
    return await own_budget(info.context)


async def own_budget(context: RequestContext) -> KeyInfo | None:
    """What the principal's own key may spend; ``None`` where the platform's key pays."""
    key = (await context.access.profile()).litellm_key
    return None if key is None else await context.loaders.key_info.load(key)


async def rate_limits(user: Parent[Principal], info: Info) -> list[RateLimitRecord]:
    """How the user's limits stand."""
    return await info.context.resources.limits.of(user.user_id)


def streams(user: Parent[Principal], info: Info, active: bool | None = None) -> list[Stream]:
    """The user's streams in this gateway, oldest first."""
    mine = info.context.resources.streams.of(Owner(user.user_id))
    return [stream for stream in mine if active is None or (stream.log.ended is None) is active]
