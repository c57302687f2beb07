"""The GraphQL types for the user's rate limits."""

from datetime import datetime

from resolvers.limits import LimitKind, RateLimitRecord
from schema.base import described, enum, shows

enum(
    LimitKind,
    "What a rate limit counts.",
    name="RateLimitKind",
    GENERAL="GraphQL operations and requests to `/v1`.",
    LLM="Operations and requests that start model work: messages, approval decisions, completions and embeddings.",
    PROXY="Model calls that Letta makes through the gateway for the user's agents.",
    TOKENS="Input and output tokens of model calls. Tokens are reserved before a call and corrected after it.",
)


@shows(
    "The state of one of the user's rate limits. A request over the limit fails with RATE_LIMITED and "
    "`retryAfterSeconds`.",
    RateLimitRecord,
)
class RateLimit:
    kind: LimitKind = described("What the limit counts.")
    limit: int = described("Maximum number of requests, or of tokens, per window.")
    window_seconds: int = described("Length of the sliding window, in seconds.")
    remaining: int = described("Number of requests, or of tokens, that the user can use now.")
    resets_at: datetime | None = described(
        "When the full limit is available again, if the user sends no further requests. Null if the full limit is "
        "available now."
    )
