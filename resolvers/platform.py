"""Checks the health of the services that the gateway calls."""

import asyncio
import math
from enum import StrEnum

import msgspec

from clients.breaker import BreakerState
from clients.breakers import PartState
from clients.calls import CallScope
from clients.causes import cause_of
from clients.errors import GatewayError, Service
from clients.health import HealthCheck
from clients.state.shared import SharedState
from clients.state.status import StateStatus


class HealthStatus(StrEnum):
    """The status of a service."""

    OK = "ok"
    DOWN = "down"


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The health of one service.

    ``parts`` are the models and kinds of calls whose breakers are not closed. ``cause`` is the root cause of a failed
    connection. Only operators see ``cause``, and ``parts``, which contains users' ids.
    """

    service: Service
    status: HealthStatus
    breaker: BreakerState | None
    embedded: bool
    note: str | None
    parts: list[PartState] = []
    cause: str | None = None

    @property
    def degraded(self) -> bool:
        """Return whether the service is down, or the gateway refuses some calls to the service."""
        return self.status is HealthStatus.DOWN or any(part.state is BreakerState.OPEN for part in self.parts)


class StateKind(StrEnum):
    """Where the gateway stores state that outlives a request."""

    MEMORY = "memory"
    REDIS = "redis"


class SharedStateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway stores state such as streams and rate limits, and whether the replicas share the state."""

    kind: StateKind
    status: StateStatus
    note: str | None = None


_NOTES = {
    StateStatus.OK: None,
    StateStatus.DEGRADED: "Redis refuses commands. Some state is in the memory of each replica.",
    StateStatus.DOWN: "The gateway cannot use Redis. Each replica has its own state until Redis answers again.",
}


def shared_state(state: SharedState) -> SharedStateRecord:
    """Return the status of the shared state, as known from the most recent commands."""
    if state.connection is None:
        return SharedStateRecord(kind=StateKind.MEMORY, status=StateStatus.OK)
    status, cause = state.connection.status, state.connection.cause
    note = _NOTES[status]
    if note is not None and cause is not None:
        note = f"{note} Cause: {cause.value}."
    return SharedStateRecord(kind=StateKind.REDIS, status=status, note=note)


class PlatformRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's version, and the health of the services that the gateway calls."""

    version: str
    services: list[ServiceHealth]
    shared_state: SharedStateRecord

    @property
    def degraded(self) -> bool:
        """Return whether any service is degraded."""
        return any(service.degraded for service in self.services)


class Health:
    """Checks all services concurrently. Concurrent requests share one check."""

    def __init__(self, checks: list[HealthCheck], version: str, state: SharedState) -> None:
        self._state = state
        self._checks = checks
        self._version = version
        self._checking: asyncio.Task[PlatformRecord] | None = None

    async def probe(self, scope: CallScope) -> PlatformRecord:
        """Return the health of every service. A service that does not answer is ``DOWN``."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_all(scope))
        return await asyncio.shield(self._checking)

    async def _check_all(self, scope: CallScope) -> PlatformRecord:
        services = await asyncio.gather(*(self._check(check, scope) for check in self._checks))
        return PlatformRecord(version=self._version, services=list(services), shared_state=shared_state(self._state))

    async def _check(self, check: HealthCheck, scope: CallScope) -> ServiceHealth:
        status, failure, cause = HealthStatus.OK, None, None
        try:
            await check.ping(scope)
        except GatewayError as error:
            status, failure, cause = HealthStatus.DOWN, error.message, cause_of(error)
        breakers = check.breakers
        parts = [] if breakers is None else breakers.parts()
        notes = [failure or check.note()]
        if breakers is not None and breakers.service_state is BreakerState.OPEN:
            status = HealthStatus.DOWN
            notes.append(
                f"The circuit breaker is open: the gateway makes no calls for {math.ceil(breakers.service_wait)} s."
            )
        if refused := sum(part.state is BreakerState.OPEN for part in parts):
            notes.append(f"The number of open circuit breakers for single models and kinds of calls is {refused}.")
        return ServiceHealth(
            service=check.service,
            status=status,
            breaker=None if breakers is None else breakers.service_state,
            embedded=check.embedded,
            note=" ".join(note for note in notes if note) or None,
            parts=parts,
            cause=cause,
        )
