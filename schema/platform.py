"""The GraphQL types for the gateway and for the services behind the gateway."""

from clients.breaker import BreakerState
from clients.errors import Service
from clients.state.status import StateStatus
from resolvers import platform
from resolvers.platform import HealthStatus, StateKind
from schema.base import described, enum, shows
from schema.costs import assumed

enum(
    Service,
    "A service behind the gateway.",
    name="ServiceName",
    AMS="The Agent Management Service (AMS), which stores templates and the owners of agents.",
    LETTA="Letta, which runs agents and stores their state and memory.",
    LITELLM="LiteLLM, which calls models and tracks budgets and spend.",
    SUPABASE="Supabase, which signs users in.",
    REDIS="Redis or Valkey, in which the replicas of the gateway share state.",
)
enum(
    BreakerState,
    "The state of a circuit breaker.",
    CLOSED="The gateway makes calls to the service.",
    OPEN="The gateway refuses calls at once, because recent calls failed.",
    HALF_OPEN="The gateway admits one trial call, whose result closes or reopens the breaker.",
)
enum(
    HealthStatus,
    "Whether a service is available.",
    OK="The service answers.",
    DOWN="The service does not answer, or its circuit breaker is open.",
)
enum(
    StateKind,
    "Where the gateway stores state that outlives a request, such as streams and rate limits.",
    MEMORY="In the memory of each gateway process. Replicas share no state.",
    REDIS="In Redis or Valkey. Replicas share the state.",
)
enum(
    StateStatus,
    "Whether the gateway can use its state.",
    OK="The state is available.",
    DEGRADED="Redis answers, but refuses some commands, for example because Redis has no memory left.",
    DOWN="Redis is not available. Each replica uses its own memory until Redis answers again.",
)


@shows("The health of one service.", platform.ServiceHealth)
class ServiceHealth:
    service: Service = described("The service.")
    status: HealthStatus = described("The result of a health check that the gateway made for this request.")
    breaker: BreakerState | None = described(
        "The state of the circuit breaker for all calls to the service. Null if the service has no breaker."
    )
    embedded: bool = described("Whether the gateway uses a built-in replacement of the service.")
    note: str | None = described(
        "Why the service fails or lacks a feature, for example why `StreamStarted.resumable` is false. Null if there "
        "is nothing to explain."
    )


@shows(
    "Where the gateway stores state that outlives a request, such as streams and rate limits.",
    platform.SharedStateRecord,
)
class SharedState:
    kind: StateKind = described("Where the state is stored.")
    status: StateStatus = described("Whether the state is available.")
    note: str | None = described("Why the state is not available. Null if the state is available.")


@shows("The gateway and the services behind it.", platform.PlatformRecord)
class Platform:
    version: str = described("The gateway's version (SemVer).")
    degraded: bool = described("Whether a service is down, or the gateway refuses some calls to a service.")
    shared_state: SharedState = described("Where the gateway stores its state, and whether the state is available.")
    services: list[ServiceHealth] = described("The health of each service.", costs=[assumed(5)])
