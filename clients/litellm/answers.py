"""Whole answers of models, in OpenAI's form."""

from __future__ import annotations

import re

import msgspec

from clients.calls import Answer
from clients.litellm.embeddings import EmbeddingRecord, decode_embeddings
from clients.litellm.tokens import header_cost, whole_usage, with_counts
from clients.usage import Usage

_PASSED_HEADERS = re.compile(
    r"x-litellm-(call-id|model-id|model-group|response-cost|key-spend)\Z|llm_provider-|retry-after\Z"
)
"""Response headers that are passed on to OpenAI clients (LiteLLM contract)."""


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A completion or embeddings: the body as LiteLLM sent it, and the response headers to pass on."""

    raw: bytes
    headers: dict[str, str]
    usage: Usage | None

    @property
    def body(self) -> bytes:
        """The body for an OpenAI client: token counts that are null are 0."""
        return with_counts(self.raw)

    def embeddings(self, inputs: int) -> Embeddings:
        """Decode the vectors of ``inputs`` inputs. Raises UpstreamError (``DECODE``)."""
        records, usage = decode_embeddings(self.raw, inputs)
        usage.cost_usd = header_cost(self.headers)
        return Embeddings(records, usage)


class Embeddings(msgspec.Struct, frozen=True):
    """Vectors in the order of their inputs, with tokens and cost."""

    records: list[EmbeddingRecord]
    usage: Usage


def model_answer(answer: Answer) -> ModelAnswer:
    """A whole answer of a model."""
    return ModelAnswer(raw=answer.body, headers=passed_headers(answer.headers), usage=whole_usage(answer.body))


def passed_headers(headers: dict[str, str]) -> dict[str, str]:
    """The response headers that are passed on."""
    return {name: value for name, value in headers.items() if _PASSED_HEADERS.match(name)}
