"""Decodes embeddings: one vector for each input."""

from __future__ import annotations

import base64
import binascii
import struct
from math import isfinite
from typing import Any

import msgspec

from clients.decode import decode, undecodable
from clients.errors import Service
from clients.litellm.fields import count
from clients.litellm.tokens import usage_of
from clients.usage import Usage

_FLOAT_BYTES = 4


class EmbeddingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One input's vector."""

    index: int
    vector: list[float]


class _Item(msgspec.Struct):
    embedding: list[float] | str
    index: Any = None


class _Wire(msgspec.Struct):
    data: list[_Item]
    usage: Any = None


_WIRE = msgspec.json.Decoder(_Wire)


def decode_embeddings(body: bytes, inputs: int) -> tuple[list[EmbeddingRecord], Usage]:
    """Decode the vectors of ``inputs`` inputs, in the order of the inputs, and the tokens.

    If items have no index, or all the same one, they are in the order of the inputs. A vector is a list of numbers, or
    the base64 of little-endian 32-bit floats (OpenAI's ``encoding_format: base64``).

    Raises UpstreamError (``DECODE``) unless there is exactly one vector of finite numbers for each input.
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
