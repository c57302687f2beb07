from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.encodings import DecodedTooLarge, Decoder
from clients.errors import BadUserInput

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def decoded(codings: list[str], pieces: list[bytes], limit: int = 10_000) -> bytes:
    decoder = Decoder(codings, limit=limit)
    body = b"".join(decoder.feed(piece) for piece in pieces)
    decoder.close()
    return body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(
    st.binary(max_size=2000),
    st.lists(st.sampled_from(sorted(PACK)), max_size=3),
    st.lists(st.integers(min_value=0, max_value=5000), max_size=6),
)
def test_a_body_is_decoded_from_any_pieces(data: bytes, codings: list[str], places: list[int]) -> None:
    packed = data
    for coding in codings:
        packed = PACK[coding](packed)
    assert decoded([", ".join(codings)], cut(packed, places)) == data


@given(st.binary(min_size=1, max_size=400), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_damaged_body_is_refused_or_decoded_unchanged(data: bytes, place: int, change: int) -> None:
    packed = bytearray(gzip.compress(data))
    place %= len(packed)
    with pytest.raises(BadUserInput):
        decoded(["gzip"], [bytes(packed[:place]), b""] if place else [b"\x1f"])
    packed[place] ^= change
    try:
        assert decoded(["gzip"], [bytes(packed)]) == data  # the header's time, name of the system, …
    except (BadUserInput, DecodedTooLarge):
        pass


@given(st.binary(max_size=300))
def test_no_data_causes_an_internal_error(data: bytes) -> None:
    for codings in (["gzip"], ["deflate"], ["gzip, deflate"]):
        try:
            decoded(codings, [data])
        except (BadUserInput, DecodedTooLarge):
            pass


@pytest.mark.parametrize("coding", sorted(PACK))
def test_the_limit_is_exact(coding: str) -> None:
    packed = PACK[coding](b"x" * 1000)
    assert len(decoded([coding], [packed], limit=1000)) == 1000
    with pytest.raises(DecodedTooLarge):
        decoded([coding], [packed], limit=999)


def test_decoding_stops_at_the_limit() -> None:
    decoder = Decoder(["gzip"], limit=1000)
    with pytest.raises(DecodedTooLarge):
        decoder.feed(gzip.compress(b"\0" * 50_000_000))


def test_a_body_of_many_empty_members_is_decoded_in_linear_time() -> None:
    members = gzip.compress(b"", mtime=0) * 200_000
    began = time.process_time()
    assert decoded(["gzip, gzip"], [gzip.compress(members)], limit=len(members)) == b""
    assert time.process_time() - began < 8  # copying what follows each member took minutes
