"""The type of a service's health check."""

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
        note: returns a sentence for operators about a problem of an available service, or ``None``.
        embedded: whether the service is embedded in the gateway.
    """

    service: Service
    ping: Callable[[CallScope], Awaitable[None]]
    breakers: Breakers | None
    note: Callable[[], str | None]
    embedded: bool
