"""What the viewer's key may spend."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import strawberry

from clients.litellm import KeyInfo
from schema.base import described, reads


@strawberry.type(description="What the key that pays for your model calls has spent, and may spend.")
@reads(KeyInfo)
class Budget:
    """The GraphQL face of KeyInfo."""

    spend_usd: Decimal = described("Spent in the present period, in US dollars.")
    max_usd: Decimal | None = described("What may be spent in it, in US dollars; null without a limit.")
    remaining_usd: Decimal | None = described("What is left of it, in US dollars; null without a limit.")
    budget_reset_at: datetime | None = strawberry.field(
        name="resetsAt", description="When the next period begins; null where there are no periods."
    )
    rpm_limit: int | None = strawberry.field(
        name="requestsPerMinute", description="How many requests a minute; null without a limit."
    )
    tpm_limit: int | None = strawberry.field(
        name="tokensPerMinute", description="How many tokens a minute; null without a limit."
    )
    expires: datetime | None = strawberry.field(
        name="expiresAt", description="When the key stops working; null for one that does not."
    )
