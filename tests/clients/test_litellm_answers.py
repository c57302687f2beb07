from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from clients.errors import UpstreamError
from clients.litellm.answers import decode_embeddings
from clients.usage import Usage

PACKED = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()


def body(*items: Any, usage: Any = None) -> bytes:
    return json.dumps({"object": "list", "data": list(items), "usage": usage}).encode()


def item(vector: Any, **more: Any) -> dict[str, Any]:
    return {"object": "embedding", "embedding": vector, **more}


@pytest.mark.parametrize(
    "items",
    [
        [item([2], index=1), item([1], index=0)],
        [item([1]), item([2])],
        [item([1]), item([2], index=1)],
        [item([1], index=None), item([2], index=None)],
        [item([1], index="0"), item([2], index=1.0)],
    ],
    ids=["out of order", "without", "one without", "null", "as text"],
)
def test_vectors_are_in_the_order_of_their_inputs(items: list[Any]) -> None:
    records, _ = decode_embeddings(body(*items), 2)
    assert [(one.index, one.vector) for one in records] == [(0, [1.0]), (1, [2.0])]


def test_vectors_in_base64_are_read() -> None:
    [record], _ = decode_embeddings(body(item(PACKED)), 1)
    assert record.vector == [0.5, -2.0]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 4, "total_tokens": 5}, Usage(prompt_tokens=4, total_tokens=5)),
        ({"prompt_tokens": "4", "total_tokens": []}, Usage(prompt_tokens=4)),
        (None, Usage()),
        ([], Usage()),
        ("none", Usage()),
    ],
)
def test_usage_that_cannot_be_read_is_unknown(usage: Any, expected: Usage) -> None:
    assert decode_embeddings(body(item([1]), usage=usage), 1)[1] == expected
    assert decode_embeddings(b'{"data": [{"embedding": [1]}]}', 1)[1] == Usage()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"data": 1}',
        b'{"data": null}',
        b"{}",
        b'{"data": [{"index": 0}]}',
        body(item([1], index=1)),
        body(item([1], index=-1)),
        body(item([1], index={})),
        body(item([1]), item([2])),
        body(item([1], index=0), item([2], index=0)),
        body(),
        body(item([])),
        body(item(None)),
        body(item(["1"])),
        body(item("AAA=")),
        body(item("no base64!")),
        body(item(base64.b64encode(b"12345").decode())),
        body(item(base64.b64encode(struct.pack("<f", float("nan"))).decode())),
        b'{"data": [{"embedding": [NaN]}]}',
        b'{"data": [{"embedding": [1e400]}]}',
    ],
)
def test_anything_but_a_vector_for_each_input_is_an_error(data: bytes) -> None:
    with pytest.raises(UpstreamError) as refused:
        decode_embeddings(data, 1)
    assert refused.value.reason == "DECODE"
