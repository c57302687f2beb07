"""Models."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from clients.litellm import ModelMode, ModelRecord
from schema.base import described, entity, reads
from schema.node import Node

strawberry.enum(ModelMode, name="ModelMode", description="What a model is for.")


@entity(description="A model that your key may call.")
@reads(ModelRecord)
class Model(Node):
    """The GraphQL face of ModelRecord."""

    name: str = described("The name to ask for it by.")
    provider: str | None = described("Who serves it.")
    mode: ModelMode = described("What it is for.")
    context_window: int | None = described("How many tokens go in.")
    max_output_tokens: int | None = described("How many tokens come out at most.")
    input_usd_per_million_tokens: Decimal | None = described("Price of a million tokens in, in US dollars.")
    output_usd_per_million_tokens: Decimal | None = described("Price of a million tokens out, in US dollars.")
