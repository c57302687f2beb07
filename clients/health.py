"""What every service behind the gateway offers the health check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clients.breakers import Breakers
from clients.calls import CallScope
from clients.errors import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How to ask one service whether it is there.

    Attributes:
        service: which one.
        ping: raises ``GatewayError`` when it is not there.
        breakers: of the calls to it; ``None`` where there are none.
        note: answers a sentence for people on what the service cannot do although it is there, or ``None``.
        embedded: whether the gateway serves it itself.
    """

    service: Service
    ping: Callable[[CallScope], Awaitable[None]]
    breakers: Breakers | None
    note: Callable[[], str | None]
    embedded: bool
