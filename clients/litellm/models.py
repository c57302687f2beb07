"""Decodes LiteLLM's models with their prices and capabilities."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from clients.decode import UNREADABLE, OpenEnum, decode
from clients.errors import Service
from clients.litellm.fields import Listed, Object, as_object, count, per_million, tolerant


class ModelMode(OpenEnum):
    """The type of a model, such as chat or embedding."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    IMAGE_GENERATION = "image_generation"
    AUDIO_TRANSCRIPTION = "audio_transcription"
    AUDIO_SPEECH = "audio_speech"
    RERANK = "rerank"
    UNKNOWN = "unknown"


class ModelSupports(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities that a model has. A capability that LiteLLM does not know is ``False``."""

    model: str
    tools: bool
    parallel_tools: bool
    vision: bool
    reasoning: bool
    web_search: bool


class ModelRecord(msgspec.Struct, kw_only=True):
    """A model that a virtual key may call. LiteLLM calls such a model a model group."""

    name: str = msgspec.field(name="model_group")
    providers: list[str] = []
    raw_mode: str | None = msgspec.field(default=None, name="mode")
    context: float | None = msgspec.field(default=None, name="max_input_tokens")
    output: float | None = msgspec.field(default=None, name="max_output_tokens")
    input_cost: Decimal | None = msgspec.field(default=None, name="input_cost_per_token")
    output_cost: Decimal | None = msgspec.field(default=None, name="output_cost_per_token")
    supports_function_calling: bool | None = None
    supports_parallel_function_calling: bool | None = None
    supports_vision: bool | None = None
    supports_reasoning: bool | None = None
    supports_web_search: bool | None = None

    @property
    def provider(self) -> str | None:
        """The model's provider. If the model has several providers, this is the first one."""
        return self.providers[0] if self.providers else None

    @property
    def mode(self) -> ModelMode:
        """The model's type. The default is chat."""
        return ModelMode(self.raw_mode or "chat")

    @property
    def context_window(self) -> int | None:
        """The maximum number of tokens in the model's prompt."""
        return count(self.context)

    @property
    def max_output_tokens(self) -> int | None:
        """The maximum number of tokens in the model's completion."""
        return count(self.output)

    @property
    def input_usd_per_million_tokens(self) -> Decimal | None:
        """The price of a million prompt tokens."""
        return per_million(self.input_cost)

    @property
    def output_usd_per_million_tokens(self) -> Decimal | None:
        """The price of a million completion tokens."""
        return per_million(self.output_cost)

    @property
    def supports(self) -> ModelSupports:
        """The model's capabilities."""
        return ModelSupports(
            model=self.name,
            tools=bool(self.supports_function_calling),
            parallel_tools=bool(self.supports_parallel_function_calling),
            vision=bool(self.supports_vision),
            reasoning=bool(self.supports_reasoning),
            web_search=bool(self.supports_web_search),
        )


class ModelDetails(msgspec.Struct, kw_only=True):
    """Further details of a model, such as the price of cached tokens.

    A detail that LiteLLM does not know is ``None``.
    """

    supports_response_schema: bool | None = None
    supports_prompt_caching: bool | None = None
    supports_audio_input: bool | None = None
    supports_audio_output: bool | None = None
    supports_pdf_input: bool | None = None
    cache_read_input_token_cost: Decimal | None = None
    output_vector_size: float | None = None

    @property
    def cached_input_usd_per_million_tokens(self) -> Decimal | None:
        """The price of a million cached prompt tokens."""
        return per_million(self.cache_read_input_token_cost)

    @property
    def embedding_dimensions(self) -> int | None:
        """The default number of dimensions of the model's embedding vectors."""
        return count(self.output_vector_size)


class _WireDeployment(msgspec.Struct):
    model_name: str
    model_info: ModelDetails = msgspec.field(default_factory=ModelDetails)


GROUPS = msgspec.json.Decoder(Listed[ModelRecord])
DETAILS = msgspec.json.Decoder(Listed[_WireDeployment])
_OBJECTS = msgspec.json.Decoder(Listed[Object])


def decode_models(body: bytes) -> list[ModelRecord]:
    """Decode LiteLLM's list of models. A field that cannot be decoded gets the field's default."""
    try:
        return GROUPS.decode(body).data
    except UNREADABLE:
        return [tolerant(ModelRecord, one) for one in decode(Service.LITELLM, _OBJECTS, body).data]


def decode_details(body: bytes) -> dict[str, ModelDetails]:
    """Decode LiteLLM's answer with the details of all models.

    A field that cannot be decoded gets the field's default.
    """
    try:
        return details_by_name(DETAILS.decode(body).data)
    except UNREADABLE:
        data = decode(Service.LITELLM, _OBJECTS, body).data
    infos = [{**one, "model_info": tolerant(ModelDetails, as_object(one.get("model_info")))} for one in data]
    return details_by_name(tolerant(_WireDeployment, one) for one in infos)


def details_by_name(deployments: Iterable[_WireDeployment]) -> dict[str, ModelDetails]:
    """Merge the details of all deployments that serve the same model.

    The model gets the capabilities of all deployments, and the highest price.
    """
    found: dict[str, ModelDetails] = {}
    for one in deployments:
        known = found.get(one.model_name)
        found[one.model_name] = one.model_info if known is None else _joined(known, one.model_info)
    return found


def _joined(first: ModelDetails, second: ModelDetails) -> ModelDetails:
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in ModelDetails.__struct_fields__}
    return ModelDetails(**{name: max(filter(_is_known, pair), default=None) for name, pair in pairs.items()})


def _is_known(value: object) -> bool:
    return value is not None and not (isinstance(value, Decimal) and value.is_nan())
