"""Token counts and cost of one model answer or turn."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Usage(msgspec.Struct, kw_only=True):
    """Tokens of a turn or a completion, and its cost in US dollars; ``None`` for what the upstream does not report."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    cost_usd: Decimal | None = None
