"""The GraphQL types for models."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from strawberry import Parent

from clients.litellm import ModelDetails, ModelMode, ModelRecord
from clients.litellm import ModelSupports as ModelSupportsRecord
from resolvers import models
from resolvers.info import Info
from schema.base import answered_by, described, entity, enum, shows
from schema.costs import SHARED
from schema.node import Node

enum(
    ModelMode,
    "The task that a model performs.",
    CHAT="Chat completions. Agents use models of this mode.",
    COMPLETION="Text completions.",
    EMBEDDING="Embeddings, for `embed`.",
    IMAGE_GENERATION="Image generation.",
    AUDIO_TRANSCRIPTION="Speech to text.",
    AUDIO_SPEECH="Text to speech.",
    RERANK="Ranking documents by relevance to a query.",
    UNKNOWN="LiteLLM reports no mode, or a mode that the gateway does not know.",
)


def _supports(read: Callable[[ModelDetails], bool | None]) -> Callable[..., Awaitable[bool]]:
    async def resolver(record: Parent[ModelSupportsRecord], info: Info) -> bool:
        return bool(read(await models.details(info.context, record.model)))

    return resolver


@shows(
    "The features that a model supports. If LiteLLM has no information on a feature, the field is false.",
    ModelSupportsRecord,
)
class ModelSupports:
    # one call to LiteLLM reads all fields that have a resolver
    tools: bool = described("Whether the model supports tool calling (`tools`).")
    parallel_tools: bool = described("Whether the model can make several tool calls in one answer.")
    vision: bool = described("Whether the model accepts images.")
    reasoning: bool = described("Whether the model reasons before it answers.")
    web_search: bool = described("Whether the model has a built-in web search.")
    json_schema: bool | None = answered_by(
        _supports(lambda details: details.supports_response_schema),
        "Whether the model supports structured output (a `responseFormat` of the type `json_schema`).",
        costs=[SHARED],
    )
    prompt_caching: bool | None = answered_by(
        _supports(lambda details: details.supports_prompt_caching),
        "Whether the provider caches prompts, so that repeated input tokens cost less.",
        costs=[SHARED],
    )
    audio_input: bool | None = answered_by(
        _supports(lambda details: details.supports_audio_input), "Whether the model accepts audio.", costs=[SHARED]
    )
    audio_output: bool | None = answered_by(
        _supports(lambda details: details.supports_audio_output),
        "Whether the model can answer with audio.",
        costs=[SHARED],
    )
    pdf_input: bool | None = answered_by(
        _supports(lambda details: details.supports_pdf_input), "Whether the model accepts PDF files.", costs=[SHARED]
    )


async def _cached_price(record: Parent[ModelRecord], info: Info) -> Decimal | None:
    return (await models.details(info.context, record.name)).cached_input_usd_per_million_tokens


async def _dimensions(record: Parent[ModelRecord], info: Info) -> int | None:
    return (await models.details(info.context, record.name)).embedding_dimensions


def called_model(description: str) -> Any:
    """Declare a field that returns the model with the name in the record's ``model_name``."""
    permission = "Null if the user's LiteLLM key does not permit calls to the model."
    return answered_by(_called, f"{description} {permission}", optional=True, costs=[SHARED])


async def _called(record: Parent[Any], info: Info) -> ModelRecord | None:
    return await models.model_if_callable(info.context, record.model_name)


@entity("A model that the user can call with the user's LiteLLM key.", ModelRecord)
class Model(Node):
    name: str = described("The model's name. Requests use this name as `model`.")
    provider: str | None = described("The model's provider.")
    mode: ModelMode = described("The task that the model performs.")
    context_window: int | None = described("Maximum number of input tokens.")
    max_output_tokens: int | None = described("Maximum number of output tokens.")
    input_usd_per_million_tokens: Decimal | None = described("Price of one million input tokens, in US dollars.")
    output_usd_per_million_tokens: Decimal | None = described("Price of one million output tokens, in US dollars.")
    cached_input_usd_per_million_tokens: Decimal | None = answered_by(
        _cached_price, "Price of one million cached input tokens, in US dollars.", optional=True, costs=[SHARED]
    )
    embedding_dimensions: int | None = answered_by(
        _dimensions, "Default length of the model's embedding vectors.", optional=True, costs=[SHARED]
    )
    supports: ModelSupports = described("The model's features.")
