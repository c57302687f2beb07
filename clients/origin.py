"""The origin of a request, and the owner of what it uses: the keys of slots, quotas and bulkheads."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Origin(StrEnum):
    """Where a request comes from. Each origin has slots, quotas and bulkheads of its own.

    A turn keeps its slot while Letta calls the model for it. A request from Letta therefore never queues for a slot
    that a user's request can hold: it would wait for a turn that waits for it.
    """

    USER = "user"
    """A client of a signed-in user."""
    LETTA = "letta"
    """Letta, on behalf of a user's agent."""
    ANONYMOUS = "anonymous"
    """A client that is not signed in."""


class Owner(NamedTuple):
    """The key of a quota. ``id`` is a user id, or a client's address if the origin is ``ANONYMOUS``."""

    id: str
    origin: Origin = Origin.USER
