"""The signed-in user."""

from __future__ import annotations

from strawberry import Parent

from resolvers.info import Info
from resolvers.principal import Principal


async def name(user: Parent[Principal], info: Info) -> str | None:  # noqa: ARG001 - the parent is the principal
    """The user's name in AMS."""
    return (await info.context.access.profile()).name
