"""The tokens of a model's answer, and their cost."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Usage(msgspec.Struct, kw_only=True):
    """Tokens of a turn or a completion, and their cost in US dollars, as far as the upstream reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    cost_usd: Decimal | None = None
