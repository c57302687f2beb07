"""Decodes completions and embeddings that are not streamed."""

import base64
import binascii
import re
import struct
from math import isfinite
from typing import Any

import msgspec

from clients.calls import Answer
from clients.decode import decode, undecodable
from clients.errors import Service
from clients.litellm.fields import count
from clients.litellm.redaction import has_key, without_key
from clients.litellm.tokens import header_cost, usage_of, whole_usage, with_counts
from clients.usage import Usage

_FLOAT_BYTES = 4
_PASSED_HEADERS = re.compile(
    r"x-litellm-(call-id|model-id|model-group|response-cost|key-spend)\Z|llm_provider-|retry-after\Z"
)
"""LiteLLM's response headers that OpenAI clients get (LiteLLM contract)."""


class EmbeddingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The embedding vector of one input text."""

    index: int
    vector: list[float]


class Embeddings(msgspec.Struct, frozen=True):
    """The embedding vectors of several inputs, in the order of the inputs.

    ``usage`` has the token counts and the cost.
    """

    records: list[EmbeddingRecord]
    usage: Usage


class _Item(msgspec.Struct):
    embedding: list[float] | str
    index: Any = None


class _Wire(msgspec.Struct):
    data: list[_Item]
    usage: Any = None


_WIRE = msgspec.json.Decoder(_Wire)


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """LiteLLM's HTTP response with a completion or embeddings. ``headers`` are the response headers for the client."""

    raw: bytes
    headers: dict[str, str]
    usage: Usage | None

    @property
    def body(self) -> bytes:
        """The HTTP response body for OpenAI clients. The body has 0 in place of null token counts."""
        return with_counts(self.raw)

    def embeddings(self, inputs: int) -> Embeddings:
        """Decode the embedding vectors in the response.

        Raises UpstreamError (``DECODE``) unless there are exactly ``inputs`` vectors.
        """
        records, usage = decode_embeddings(self.raw, inputs)
        usage.cost_usd = header_cost(self.headers)
        return Embeddings(records, usage)


def model_answer(answer: Answer, key: str) -> ModelAnswer:
    """Convert LiteLLM's HTTP response to a ``ModelAnswer``, without the key of the call."""
    return ModelAnswer(
        raw=without_key(answer.body, key), headers=passed_headers(answer.headers, key), usage=whole_usage(answer.body)
    )


def passed_headers(headers: dict[str, str], key: str) -> dict[str, str]:
    """Select the response headers that the gateway passes to OpenAI clients. They do not contain the call's key."""
    return {name: value for name, value in headers.items() if _PASSED_HEADERS.match(name) and not has_key(value, key)}


def decode_embeddings(body: bytes, inputs: int) -> tuple[list[EmbeddingRecord], Usage]:
    """Decode embedding vectors in the order of the inputs, and decode the token counts.

    Items without an index, or with equal indexes, are in the order of the inputs. A vector is a list of numbers, or
    base64 of little-endian 32-bit floats (OpenAI's ``encoding_format: base64``).

    Raises UpstreamError (``DECODE``) unless each input has exactly one vector of finite numbers.
    """
    wire = decode(Service.LITELLM, _WIRE, body)
    same = len(wire.data) > 1 and all(item.index == wire.data[0].index for item in wire.data)
    records = [
        EmbeddingRecord(index=_index(None if same else item.index, position), vector=_vector(item.embedding))
        for position, item in enumerate(wire.data)
    ]
    records.sort(key=lambda record: record.index)
    if [record.index for record in records] != list(range(inputs)):
        raise undecodable(Service.LITELLM)
    usage = usage_of(wire.usage) or Usage()
    return records, Usage(prompt_tokens=usage.prompt_tokens, total_tokens=usage.total_tokens)


def _index(sent: object, position: int) -> int:
    index = position if sent is None else count(sent)
    if index is None:
        raise undecodable(Service.LITELLM)
    return index


def _vector(sent: list[float] | str) -> list[float]:
    vector = _unpacked(sent) if isinstance(sent, str) else sent
    if not vector or not all(map(isfinite, vector)):
        raise undecodable(Service.LITELLM)
    return vector


def _unpacked(text: str) -> list[float]:
    try:
        packed = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed))
    except (binascii.Error, ValueError, struct.error) as error:
        raise undecodable(Service.LITELLM) from error
