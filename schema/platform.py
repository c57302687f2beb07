"""The gateway and its services."""

from __future__ import annotations

import strawberry

from clients.breaker import BreakerState
from clients.errors import Service
from resolvers import platform
from resolvers.platform import HealthStatus
from schema.base import described, enum, reads
from schema.costs import assumed

enum(
    Service,
    "A service behind the gateway.",
    name="ServiceName",
    AMS="Agent Management Service: ownership of agents, and templates.",
    LETTA="Agents: their state, memory and runs.",
    LITELLM="Models, budgets and spend.",
    SUPABASE="Sign-in.",
    REDIS="State that gateway processes share, such as rate limits.",
)
enum(
    BreakerState,
    "The state of a circuit breaker.",
    CLOSED="Calls are made.",
    OPEN="Calls are refused at once, because recent calls failed.",
    HALF_OPEN="One trial call is admitted. Its result closes or reopens the breaker.",
)
enum(
    HealthStatus,
    "Whether a service is available.",
    OK="The service answers.",
    DOWN="The service does not answer, or its breaker is open.",
)


@strawberry.type(description="The health of one service.")
@reads(platform.ServiceHealth)
class ServiceHealth:
    service: Service = described("The service.")
    status: HealthStatus = described("The result of a health check made for this request.")
    breaker: BreakerState | None = described("The breaker for all calls to the service. Null if the service has none.")
    embedded: bool = described("Whether the gateway uses its embedded replacement of the service.")
    note: str | None = described(
        "An explanation of a failure or of a missing feature, such as why `resumable` is false. Null if there is none."
    )


@strawberry.type(description="The gateway and its services.")
@reads(platform.PlatformRecord)
class Platform:
    version: str = described("The gateway's version (SemVer).")
    degraded: bool = described("Whether a service is down or some calls to a service are refused.")
    services: list[ServiceHealth] = described("The health of each service.", costs=[assumed(5)])
