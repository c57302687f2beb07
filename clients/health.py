"""The health check of one service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clients.breakers import Breakers
from clients.calls import CallScope
from clients.errors import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Checks whether one service is available.

    Attributes:
        ping: raises ``GatewayError`` if the service is not available.
        note: a sentence for operators on what the service cannot do although it is available, or ``None``.
        embedded: whether the gateway serves it itself.
    """

    service: Service
    ping: Callable[[CallScope], Awaitable[None]]
    breakers: Breakers | None
    note: Callable[[], str | None]
    embedded: bool
