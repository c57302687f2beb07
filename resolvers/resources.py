"""The objects of the process that resolvers use."""

from __future__ import annotations

from dataclasses import dataclass, field

from clients.ams import Ams
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from resolvers.idempotency import IdempotencyKeys
from resolvers.limits import RateLimits
from resolvers.platform import Health
from resolvers.recent_ids import CreatedIds, ShownIds
from resolvers.streams.clocks import Clocks
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import StreamMetrics
from resolvers.watch import Watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The objects of the process. ``platform_key`` pays for users without a key of their own.

    ``max_calls`` bounds the upstream calls of one operation.
    """

    ams: Ams
    letta: Letta
    litellm: LiteLLM
    streams: StreamHub
    keys: IdempotencyKeys
    limits: RateLimits
    metrics: StreamMetrics
    health: Health
    clocks: Clocks
    platform_key: str | None
    max_calls: int = 500
    shown_ids: ShownIds = field(default_factory=ShownIds)
    created_ids: CreatedIds = field(default_factory=CreatedIds)
    watches: Watches = field(default_factory=Watches)
