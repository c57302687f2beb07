"""What the viewer may ask in a minute."""

from __future__ import annotations

from datetime import datetime

import strawberry

from resolvers.limits import LimitKind, RateLimitRecord
from schema.base import described, enum, reads

enum(
    LimitKind,
    "What a limit counts.",
    name="RateLimitKind",
    GENERAL="Your operations and requests.",
    LLM="What you put a model to work with: messages, decisions, completions, embeddings.",
    PROXY="Your agents' model calls that come back through the gateway.",
)


@strawberry.type(
    description="How one of your limits stands. Over it, requests are refused with RATE_LIMITED and "
    "`retryAfterSeconds`."
)
@reads(RateLimitRecord)
class RateLimit:
    """The GraphQL face of RateLimitRecord."""

    kind: LimitKind = described("What it counts.")
    limit: int = described("How many within the window.")
    window_seconds: int = described("How long the window is, in seconds. It slides.")
    remaining: int = described("How many you can have right now.")
    resets_at: datetime | None = described(
        "When all of the limit is there again, if you ask nothing more; null where none of it is used."
    )
