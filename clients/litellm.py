"""LiteLLM: models and completions, paid for by the caller's own virtual key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from clients.calls import Answer, Call, CallScope, UpstreamRejected
from clients.decode import decode, undecodable
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    Forbidden,
    GatewayError,
    NotFound,
    RateLimited,
    Service,
    UpstreamError,
    UpstreamTimeout,
)
from clients.sse import SseEvent, sse_events
from clients.upstream import Upstream

PASSED_HEADERS = re.compile(
    r"x-litellm-(call-id|model-id|model-group|response-cost|key-spend)\Z|llm_provider-|retry-after\Z"
)
"""Response headers that are worth passing on to an OpenAI SDK (LiteLLM contract)."""

_MILLION = 1_000_000


class ModelMode(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    IMAGE_GENERATION = "image_generation"
    AUDIO_TRANSCRIPTION = "audio_transcription"
    AUDIO_SPEECH = "audio_speech"
    RERANK = "rerank"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> ModelMode:  # noqa: ARG003 - the protocol's signature
        return cls.UNKNOWN


class ModelRecord(msgspec.Struct, kw_only=True):
    """A model as a key may call it: one model group of LiteLLM's router."""

    name: str = msgspec.field(name="model_group")
    providers: list[str] = []
    raw_mode: str | None = msgspec.field(default=None, name="mode")
    context: float | None = msgspec.field(default=None, name="max_input_tokens")
    output: float | None = msgspec.field(default=None, name="max_output_tokens")
    input_cost: float | None = msgspec.field(default=None, name="input_cost_per_token")
    output_cost: float | None = msgspec.field(default=None, name="output_cost_per_token")
    supports_function_calling: bool | None = None
    supports_vision: bool | None = None
    supports_reasoning: bool | None = None

    @property
    def provider(self) -> str | None:
        """Who serves it; the first where a group has several."""
        return self.providers[0] if self.providers else None

    @property
    def mode(self) -> ModelMode:
        """What it is for. A group that does not say is taken for chat, as LiteLLM does."""
        return ModelMode(self.raw_mode or "chat")

    @property
    def context_window(self) -> int | None:
        """How many tokens go in."""
        return None if self.context is None else int(self.context)

    @property
    def max_output_tokens(self) -> int | None:
        """How many tokens come out at most."""
        return None if self.output is None else int(self.output)

    @property
    def input_usd_per_million_tokens(self) -> Decimal | None:
        """Price of a million tokens in."""
        return _per_million(self.input_cost)

    @property
    def output_usd_per_million_tokens(self) -> Decimal | None:
        """Price of a million tokens out."""
        return _per_million(self.output_cost)


class KeyInfo(msgspec.Struct, kw_only=True):
    """What a virtual key has spent and may spend. The key itself is not in it."""

    spend: float = 0.0
    max_budget: float | None = None
    budget_reset_at: datetime | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None

    @property
    def spend_usd(self) -> Decimal:
        """Spent so far, in US dollars."""
        return _decimal(self.spend)

    @property
    def max_usd(self) -> Decimal | None:
        """What may be spent, in US dollars."""
        return None if self.max_budget is None else _decimal(self.max_budget)


class _WireKey(msgspec.Struct):
    info: KeyInfo


class _WireGroups(msgspec.Struct):
    data: list[ModelRecord]


_GROUPS = msgspec.json.Decoder(_WireGroups)
_KEY = msgspec.json.Decoder(_WireKey)


class CompletionStream:
    """An opened completion stream: response headers, and events as they come."""

    def __init__(self, headers: dict[str, str], events: AsyncIterator[SseEvent]) -> None:
        self.headers = headers
        self.events = events


class LiteLLM:
    """Calls to LiteLLM. ``key`` is the virtual key that pays for a call."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def models(self, scope: CallScope, key: str) -> list[ModelRecord]:
        """The models that ``key`` may call."""
        answer = await self._ask(scope, Call(operation="models", path="/model_group/info", headers=_bearer(key)))
        return decode(Service.LITELLM, _GROUPS, answer.body).data

    async def key_info(self, scope: CallScope, key: str) -> KeyInfo:
        """What ``key`` has spent and may spend."""
        answer = await self._ask(scope, Call(operation="key", path="/key/info", headers=_bearer(key)))
        return decode(Service.LITELLM, _KEY, answer.body).info

    async def openai_models(self, scope: CallScope, key: str) -> Answer:
        """``GET /v1/models`` as LiteLLM answers it."""
        return await self._ask(scope, Call(operation="v1.models", path="/v1/models", headers=_bearer(key)))

    async def complete(self, scope: CallScope, key: str, body: bytes) -> Answer:
        """A whole chat completion: OpenAI's request body in, the answer's bytes out."""
        return await self._ask(scope, _model_work("chat.completions", "/v1/chat/completions", key, body))

    async def embeddings(self, scope: CallScope, key: str, body: bytes) -> Answer:
        """Embeddings: OpenAI's request body in, the whole answer's bytes out."""
        return await self._ask(scope, _model_work("embeddings", "/v1/embeddings", key, body))

    @asynccontextmanager
    async def stream(
        self, scope: CallScope, key: str, body: bytes, *, opens_within: float
    ) -> AsyncIterator[CompletionStream]:
        """A streamed chat completion. Leaving the context closes LiteLLM's side at once."""
        call = _model_work("chat.completions.stream", "/v1/chat/completions", key, body)
        try:
            async with self.upstream.stream(scope, call, opens_within=opens_within) as answer:
                yield CompletionStream(passed_headers(answer.headers), sse_events(answer.chunks(), Service.LITELLM))
        except UpstreamRejected as rejected:
            raise _translate(rejected) from rejected

    async def _ask(self, scope: CallScope, call: Call) -> Answer:
        try:
            return await self.upstream.request(scope, call)
        except UpstreamRejected as rejected:
            raise _translate(rejected) from rejected


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _model_work(operation: str, path: str, key: str, body: bytes) -> Call:
    return Call(
        operation=operation,
        method="POST",
        path=path,
        content=body,
        headers={**_bearer(key), "content-type": "application/json"},
        model_work=True,
        is_refusal=_model_failed,
    )


def _model_failed(answer: Answer) -> bool:
    """Whether a 5xx is a model's failure that LiteLLM reports: it is well itself, and other models may be too."""
    return any(name.startswith("llm_provider-") for name in answer.headers) or b"LiteLLM: model group" in answer.body


def _per_million(per_token: float | None) -> Decimal | None:
    if per_token is None:
        return None
    return (_decimal(per_token) * _MILLION).normalize()


def _decimal(value: float) -> Decimal:
    """The number as LiteLLM wrote it, without zeros at its end."""
    return Decimal(str(value)).normalize()


def passed_headers(headers: dict[str, str]) -> dict[str, str]:
    """The part of LiteLLM's response headers that goes to the caller."""
    return {name: value for name, value in headers.items() if PASSED_HEADERS.match(name)}


class _WireError(msgspec.Struct):
    message: str | None = None
    type: str | None = None


class _WireRefusal(msgspec.Struct):
    error: _WireError = msgspec.field(default_factory=_WireError)


_REFUSAL = msgspec.json.Decoder(_WireRefusal)
_UNKNOWN_MODEL = re.compile(r"Invalid model name passed in model=")
_CONTEXT_LENGTH = re.compile(r"maximum context length|context_length_exceeded|ContextWindowExceeded", re.IGNORECASE)


def _translate(rejected: UpstreamRejected) -> GatewayError:
    """What a refusal by LiteLLM means to the caller.

    The key is the platform's, not the caller's: its refusal is never a 401 to them.
    """
    try:
        wire = _REFUSAL.decode(rejected.body).error
    except msgspec.DecodeError:
        return undecodable(Service.LITELLM)
    match rejected.status:
        case 400 | 404 | 413 | 415 | 422:
            return _bad_request(rejected.status, wire)
        case 403:
            return Forbidden("Your key may not use this model.", reason="MODEL_NOT_ALLOWED", service=Service.LITELLM)
        case 429:
            return RateLimited(
                "The model's rate limit is reached.",
                retry_after_seconds=_retry_after(rejected),
                service=Service.LITELLM,
            )
        case 408:
            return UpstreamTimeout("The model did not answer in time.", reason="TOTAL", service=Service.LITELLM)
        case 401:
            return _bad_key()
        case status if status >= 500:
            return UpstreamError("The model failed.", reason="MODEL", service=Service.LITELLM)
        case _:
            return undecodable(Service.LITELLM)


def _bad_request(status: int, wire: _WireError) -> GatewayError:
    """What LiteLLM means by a request that it calls malformed; its types and words tell, its statuses do not."""
    message = wire.message or ""
    if wire.type == "no_db_connection":
        return _bad_key()
    if status == 422 and wire.type == "budget_exceeded":
        return BudgetExceeded("The budget is spent.", service=Service.LITELLM)
    if status == 404 or _UNKNOWN_MODEL.search(message):
        return NotFound("The model does not exist.", reason="MODEL_NOT_FOUND", service=Service.LITELLM)
    if _CONTEXT_LENGTH.search(message):
        return BadUserInput(
            "The messages are longer than the model's context.", reason="CONTEXT_LENGTH", service=Service.LITELLM
        )
    return BadUserInput("LiteLLM refused the request: a parameter is missing or wrong.", service=Service.LITELLM)


def _bad_key() -> UpstreamError:
    return UpstreamError("LiteLLM refused the key.", reason="CREDENTIAL", can_retry=False, service=Service.LITELLM)


def _retry_after(rejected: UpstreamRejected) -> float | None:
    """Seconds to wait; an upstream provider's own header counts where LiteLLM sends none."""
    value = rejected.headers.get("retry-after") or rejected.headers.get("llm_provider-retry-after")
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
