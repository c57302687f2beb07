"""Objects that all operations of the process share."""

from dataclasses import dataclass, field

from clients.ams import Ams
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from resolvers.cache.policy import Cache
from resolvers.idempotency import IdempotencyKeys
from resolvers.limits import RateLimits
from resolvers.platform import Health
from resolvers.recent_ids import CreatedIds, ShownIds
from resolvers.responses.bridged import BridgedModels
from resolvers.sessions import Sessions
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import StreamMetrics
from resolvers.streams.timeouts import Timeouts
from resolvers.watch import Watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The objects that all operations share, such as the services' clients.

    ``max_calls`` is the maximum number of upstream calls per operation. ``cache`` is ``None`` if the cache is off.
    """

    ams: Ams
    letta: Letta
    litellm: LiteLLM
    streams: StreamHub
    keys: IdempotencyKeys
    limits: RateLimits
    metrics: StreamMetrics
    health: Health
    timeouts: Timeouts
    platform_key: str | None
    max_calls: int = 500
    cache: Cache | None = None
    shown_ids: ShownIds = field(default_factory=ShownIds)
    created_ids: CreatedIds = field(default_factory=CreatedIds)
    watches: Watches = field(default_factory=Watches)
    bridged_models: BridgedModels = field(default_factory=BridgedModels)
    sessions: Sessions = field(default_factory=Sessions)
