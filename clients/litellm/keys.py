"""Virtual keys."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from clients.litellm.money import dollars


class KeyInfo(msgspec.Struct, kw_only=True):
    """The spend, limits and expiry of a virtual key, without the key itself."""

    spend: Decimal
    max_budget: Decimal | None = None
    budget_reset_at: datetime | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    expires: datetime | None = None

    @property
    def spend_usd(self) -> Decimal:
        """The spend so far, in US dollars."""
        return dollars(self.spend)

    @property
    def max_usd(self) -> Decimal | None:
        """The budget, in US dollars."""
        return None if self.max_budget is None else dollars(self.max_budget)

    @property
    def remaining_usd(self) -> Decimal | None:
        """The rest of the budget; 0 if the last call cost more than that."""
        return None if self.max_budget is None else max(Decimal(0), dollars(self.max_budget - self.spend))


class _WireKey(msgspec.Struct):
    info: KeyInfo


KEY = msgspec.json.Decoder(_WireKey)
