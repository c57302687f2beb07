"""Reads the signed-in user."""

from datetime import datetime

from strawberry import Parent

from clients.ams import Profile
from clients.litellm import KeyInfo
from clients.origin import Owner
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.limits import RateLimitRecord
from resolvers.loaded import loaded
from resolvers.loaders import Loaders
from resolvers.loading import Loader
from resolvers.owned import OwnedAgent, agents_of
from resolvers.principal import Principal
from resolvers.streams.stream import Stream


def _profile(loaders: Loaders) -> Loader[str, Profile]:
    return loaders.profile


def _user_id(user: Principal) -> str:
    return user.user_id


@loaded(_profile, key=_user_id)
def name(profile: Profile) -> str | None:
    """Return the user's name in AMS."""
    return profile.name


@loaded(_profile, key=_user_id)
def created_at(profile: Profile) -> datetime | None:
    """Return the creation time of the user's profile."""
    return profile.created_at


@loaded(_profile, key=_user_id)
def default_agent(profile: Profile) -> OwnedAgent | None:
    """Return the default agent in the user's AMS profile."""
    return next((agent for agent in agents_of(profile) if agent.agent_id == profile.letta_agent_id), None)


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
