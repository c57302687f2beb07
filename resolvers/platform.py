"""The health of what stands behind the gateway."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import msgspec

from clients.breaker import BreakerState
from clients.calls import CallScope
from clients.errors import GatewayError, Service
from clients.health import HealthCheck


class HealthStatus(StrEnum):
    """Whether a service answers."""

    OK = "ok"
    DOWN = "down"


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One service: whether it answered just now, its breaker, and a note on what it cannot do."""

    service: Service
    status: HealthStatus
    breaker: BreakerState | None
    embedded: bool
    note: str | None


class PlatformRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway and what stands behind it."""

    version: str
    services: list[ServiceHealth]

    @property
    def degraded(self) -> bool:
        """Whether any service is down."""
        return any(service.status is HealthStatus.DOWN for service in self.services)


class Health:
    """Asks every service how it is, side by side, for all who want to know at the same time at once."""

    def __init__(self, checks: list[HealthCheck], version: str) -> None:
        self._checks = checks
        self._version = version
        self._looking: asyncio.Task[PlatformRecord] | None = None

    async def look(self, scope: CallScope) -> PlatformRecord:
        """How every service is now. A service that does not answer is ``DOWN``; this never fails."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(scope))
        return await asyncio.shield(self._looking)

    async def _look(self, scope: CallScope) -> PlatformRecord:
        services = await asyncio.gather(*(self._one(check, scope) for check in self._checks))
        return PlatformRecord(version=self._version, services=list(services))

    async def _one(self, check: HealthCheck, scope: CallScope) -> ServiceHealth:
        try:
            await check.ping(scope)
            status = HealthStatus.OK
        except GatewayError:
            status = HealthStatus.DOWN
        return ServiceHealth(
            service=check.service,
            status=status,
            breaker=check.breaker_state(),
            embedded=check.embedded,
            note=check.note(),
        )
