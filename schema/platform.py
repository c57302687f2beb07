"""The gateway and what stands behind it."""

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
    AMS="Who owns which agent; templates.",
    LETTA="What agents are, remember and do.",
    LITELLM="Models, and what they cost.",
    SUPABASE="Who you are.",
    REDIS="What is kept between gateways, such as rate limits.",
)
enum(
    BreakerState,
    "Whether calls to a service are let through.",
    CLOSED="They are.",
    OPEN="They are refused at once: too many have failed.",
    HALF_OPEN="One is let through on trial.",
)
enum(
    HealthStatus,
    "Whether a service answers.",
    OK="It answers.",
    DOWN="It does not answer, or its breaker is open.",
)


@strawberry.type(description="How one service behind the gateway is.")
@reads(platform.ServiceHealth)
class ServiceHealth:
    """The GraphQL face of ServiceHealth."""

    service: Service = described("Which service.")
    status: HealthStatus = described("Whether it answered just now.")
    breaker: BreakerState | None = described("The breaker of all calls to it; null where it has none.")
    embedded: bool = described("Whether it is the stand-in that ships with the gateway.")
    note: str | None = described(
        "Its fault, or a feature that it lacks although it answers, in sentences for people, such as why "
        "`resumable` is false."
    )


@strawberry.type(description="The gateway and what stands behind it.")
@reads(platform.PlatformRecord)
class Platform:
    """The GraphQL face of PlatformRecord."""

    version: str = described("The gateway's version (SemVer).")
    degraded: bool = described("Whether any service is down, or refuses some of the calls to it.")
    services: list[ServiceHealth] = described("Each service behind the gateway.", costs=[assumed(5)])
