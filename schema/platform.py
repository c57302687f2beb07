"""The gateway and what stands behind it."""

from __future__ import annotations

import strawberry

from clients.breaker import BreakerState
from clients.errors import Service
from resolvers import platform
from resolvers.platform import HealthStatus
from schema.base import described, reads

strawberry.enum(Service, name="ServiceName", description="A service behind the gateway.")
strawberry.enum(
    BreakerState,
    name="BreakerState",
    description="`CLOSED` lets calls through, `OPEN` refuses them, `HALF_OPEN` lets one through on trial.",
)
strawberry.enum(HealthStatus, name="HealthStatus", description="Whether a service answers.")


@strawberry.type(description="How one service behind the gateway is.")
@reads(platform.ServiceHealth)
class ServiceHealth:
    """The GraphQL face of ServiceHealth."""

    service: Service = described("Which service.")
    status: HealthStatus = described("Whether it answered just now.")
    breaker: BreakerState | None = described("Its breaker; null where it has none.")
    embedded: bool = described("Whether it is the stand-in that ships with the gateway.")


@strawberry.type(description="The gateway and what stands behind it.")
@reads(platform.PlatformRecord)
class Platform:
    """The GraphQL face of PlatformRecord."""

    version: str = described("The gateway's version (SemVer).")
    degraded: bool = described("Whether any service is down.")
    services: list[ServiceHealth] = described("Each service behind the gateway.")
