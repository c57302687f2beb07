"""The user's rate limits."""

from __future__ import annotations

from datetime import datetime

import strawberry

from resolvers.limits import LimitKind, RateLimitRecord
from schema.base import described, enum, reads

enum(
    LimitKind,
    "What a rate limit counts.",
    name="RateLimitKind",
    GENERAL="GraphQL operations and requests to `/v1`.",
    LLM="Operations and requests that start model work: messages, approval decisions, completions, embeddings.",
    PROXY="Model calls that Letta makes through the gateway for the user's agents.",
)


@strawberry.type(
    description="The state of one rate limit of the user. Requests over the limit are RATE_LIMITED "
    "and have `retryAfterSeconds`."
)
@reads(RateLimitRecord)
class RateLimit:
    kind: LimitKind = described("What the limit counts.")
    limit: int = described("Maximum number of requests per window.")
    window_seconds: int = described("Length of the sliding window, in seconds.")
    remaining: int = described("Number of requests that can be made now.")
    resets_at: datetime | None = described(
        "When the full limit is available again if no further request is made. Null if nothing is used."
    )
