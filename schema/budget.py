"""The GraphQL type for the budget of the user's LiteLLM key."""

from datetime import datetime
from decimal import Decimal

import strawberry

from clients.litellm import KeyInfo
from schema.base import described, shows


@shows("Spend and limits of the LiteLLM key that pays for the user's model calls.", KeyInfo)
class Budget:
    spend_usd: Decimal = described("Amount spent in the current budget period, in US dollars.")
    max_usd: Decimal | None = described("Maximum spend per budget period, in US dollars. Null if unlimited.")
    remaining_usd: Decimal | None = described(
        "Amount left in the current budget period, in US dollars. Null if unlimited."
    )
    budget_reset_at: datetime | None = strawberry.field(
        name="resetsAt", description="When the next budget period begins. Null if the budget never resets."
    )
    rpm_limit: int | None = strawberry.field(
        name="requestsPerMinute", description="Maximum number of model calls per minute. Null if unlimited."
    )
    tpm_limit: int | None = strawberry.field(
        name="tokensPerMinute", description="Maximum number of tokens per minute. Null if unlimited."
    )
    expires: datetime | None = strawberry.field(
        name="expiresAt", description="When the LiteLLM key expires. Null if the LiteLLM key does not expire."
    )
