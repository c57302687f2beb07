"""Reads the signed-in user."""

from datetime import datetime

from strawberry import Parent

from clients.litellm import KeyInfo
from clients.origin import Owner
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.limits import RateLimitRecord
from resolvers.owned import OwnedAgent
from resolvers.principal import Principal
from resolvers.streams.stream import Stream


async def name(user: Parent[Principal], info: Info) -> str | None:  # noqa: ARG001 - the parent is the principal
    """Return the user's name in AMS."""
    return (await info.context.access.profile()).name


async def created_at(user: Parent[Principal], info: Info) -> datetime | None:  # noqa: ARG001 - see ``name``
    """Return the creation time of the user's profile."""
    return (await info.context.access.profile()).created_at


async def default_agent(user: Parent[Principal], info: Info) -> OwnedAgent | None:  # noqa: ARG001 - see ``name``
    """Return the default agent in the user's AMS profile."""
    first = (await info.context.access.profile()).letta_agent_id
    return next((agent for agent in await info.context.access.agents() if agent.agent_id == first), None)


async def budget(user: Parent[Principal], info: Info) -> KeyInfo | None:  # noqa: ARG001 - the parent is the principal
    """Return the budget of the user's LiteLLM key."""
    return await own_budget(info.context)


async def own_budget(context: RequestContext) -> KeyInfo | None:
    """Return the budget of the user's LiteLLM key, or ``None`` if the user has no key."""
    key = await context.access.own_key()
    return None if key is None else await context.loaders.key_info.load(key)


async def rate_limits(user: Parent[Principal], info: Info) -> list[RateLimitRecord]:
    """Return the user's rate limits and remaining requests."""
    return await info.context.resources.limits.of(user.user_id)


async def streams(user: Parent[Principal], info: Info, active: bool | None = None) -> list[Stream]:
    """Return the user's streams, oldest first."""
    streams = await info.context.resources.streams.of(Owner(user.user_id))
    return [stream for stream in streams if active is None or (stream.log.ended is None) is active]
