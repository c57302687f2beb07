"""What every service behind the gateway offers the health check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clients.breaker import BreakerState
from clients.calls import CallScope
from clients.errors import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How to ask one service whether it is there.

    ``ping`` raises ``GatewayError`` when it is not; ``breaker_state`` answers ``None`` where there is no breaker;
    ``note`` is a sentence for people on what the service cannot do although it is there, or ``None``.
    """

    service: Service
    ping: Callable[[CallScope], Awaitable[None]]
    breaker_state: Callable[[], BreakerState | None]
    note: Callable[[], str | None]
    embedded: bool
