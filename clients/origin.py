"""Types for the origins of requests and the owners of quotas."""

from enum import StrEnum
from typing import NamedTuple


class Origin(StrEnum):
    """Who sent a request: a user, Letta or an anonymous client.

    Each origin has its own slots, quotas and bulkheads. A user's turn holds a slot while Letta calls the model through
    the gateway. If Letta's requests needed users' slots, turns and model calls could wait for each other, which is a
    deadlock.
    """

    USER = "user"
    """A signed-in user's client."""
    LETTA = "letta"
    """Letta, on behalf of a user's agent."""
    ANONYMOUS = "anonymous"
    """A client that is not signed in."""


class Endpoint(StrEnum):
    """The endpoint that received a request, as the audit log names it."""

    HTTP = "http"
    """GraphQL over HTTP."""
    WEBSOCKET = "websocket"
    """GraphQL over WebSocket."""
    V1 = "v1"
    """OpenAI's API."""
    PROXY = "proxy"
    """The proxy for the model calls of agents."""
    METRICS = "metrics"


class Owner(NamedTuple):
    """A user or a client that has a quota.

    ``id`` is a user's id, or a client's address if the origin is ``ANONYMOUS``.
    """

    id: str
    origin: Origin = Origin.USER
