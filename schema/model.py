"""Models."""

from __future__ import annotations

from decimal import Decimal

import strawberry
from strawberry import Parent

from clients.litellm import ModelMode, ModelRecord
from clients.litellm import ModelSupports as ModelSupportsRecord
from resolvers import models
from resolvers.info import Info
from schema.base import answered_by, described, entity, enum, reads
from schema.costs import SHARED
from schema.node import Node

enum(
    ModelMode,
    "What a model is for.",
    CHAT="Answering messages: completions, and agents.",
    COMPLETION="Going on with a text.",
    EMBEDDING="Making vectors of texts: `embed`.",
    IMAGE_GENERATION="Making images.",
    AUDIO_TRANSCRIPTION="Writing down speech.",
    AUDIO_SPEECH="Speaking a text.",
    RERANK="Ordering texts by how well they fit a query.",
    UNKNOWN="LiteLLM does not say, or this gateway does not know what it says.",
)


async def _json_schema(record: Parent[ModelSupportsRecord], info: Info) -> bool:
    return bool((await models.details(info.context, record.model)).supports_response_schema)


async def _prompt_caching(record: Parent[ModelSupportsRecord], info: Info) -> bool:
    return bool((await models.details(info.context, record.model)).supports_prompt_caching)


async def _audio_input(record: Parent[ModelSupportsRecord], info: Info) -> bool:
    return bool((await models.details(info.context, record.model)).supports_audio_input)


async def _audio_output(record: Parent[ModelSupportsRecord], info: Info) -> bool:
    return bool((await models.details(info.context, record.model)).supports_audio_output)


async def _pdf_input(record: Parent[ModelSupportsRecord], info: Info) -> bool:
    return bool((await models.details(info.context, record.model)).supports_pdf_input)


@strawberry.type(description="What a model can do; false where LiteLLM does not know it of the model.")
@reads(ModelSupportsRecord)
class ModelSupports:
    """The GraphQL face of ModelSupports. What is in the model's group costs nothing; the rest is one call for all."""

    tools: bool = described("It calls `tools`.")
    parallel_tools: bool = described("It makes several calls at once.")
    vision: bool = described("It sees images.")
    reasoning: bool = described("It thinks before it speaks.")
    web_search: bool = described("It searches the web by itself.")
    json_schema: bool | None = answered_by(
        _json_schema,
        "It answers in JSON that fits a schema: `responseFormat` of the type `json_schema`.",
        costs=[SHARED],
    )
    prompt_caching: bool | None = answered_by(
        _prompt_caching, "What went in before costs less the next time.", costs=[SHARED]
    )
    audio_input: bool | None = answered_by(_audio_input, "It hears.", costs=[SHARED])
    audio_output: bool | None = answered_by(_audio_output, "It speaks aloud.", costs=[SHARED])
    pdf_input: bool | None = answered_by(_pdf_input, "It reads PDF files.", costs=[SHARED])


async def _cached_price(record: Parent[ModelRecord], info: Info) -> Decimal | None:
    return (await models.details(info.context, record.name)).cached_input_usd_per_million_tokens


async def _dimensions(record: Parent[ModelRecord], info: Info) -> int | None:
    return (await models.details(info.context, record.name)).embedding_dimensions


@entity("A model that your key may call.")
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
    cached_input_usd_per_million_tokens: Decimal | None = answered_by(
        _cached_price, "Price of a million tokens in that were cached, in US dollars.", optional=True, costs=[SHARED]
    )
    embedding_dimensions: int | None = answered_by(
        _dimensions,
        "How many numbers its vectors have, where you ask for no other `dimensions`.",
        optional=True,
        costs=[SHARED],
    )
    supports: ModelSupports = described("What it can do.")
