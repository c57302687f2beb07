"""The type for token counts and costs of models' answers."""

from decimal import Decimal

import msgspec


class Usage(msgspec.Struct, kw_only=True):
    """The token counts and the cost of a turn or a completion. A value that no service reported is ``None``."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    cost_usd: Decimal | None = None
