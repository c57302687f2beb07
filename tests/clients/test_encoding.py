from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.encoding import EncodingUnreadable, TooLarge, decoded


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def undone(body: bytes, encoding: str, *, size: int = 7, limit: int | None = None) -> bytes:
    return b"".join([piece async for piece in decoded(pieces(body, size), {"content-encoding": encoding}, limit=limit)])


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


@given(data=st.binary(max_size=300), size=st.integers(1, 400), times=st.integers(1, 2000))
@settings(max_examples=60)
async def test_a_compressed_body_is_decoded_in_pieces_of_any_size(data: bytes, size: int, times: int) -> None:
    whole = data * times
    assert await undone(gzip.compress(whole), "gzip", size=size) == whole
    assert await undone(zlib.compress(whole), "deflate", size=size) == whole
    assert await undone(raw_deflate(whole), "deflate", size=size) == whole
    assert await undone(gzip.compress(whole) + gzip.compress(data), "gzip", size=size) == whole + data


@pytest.mark.parametrize("encoding", ["", "identity", " Identity , identity"])
async def test_a_body_without_encoding_is_unchanged(encoding: str) -> None:
    assert await undone(b"plain", encoding) == b"plain"


async def test_an_empty_body_and_padding_are_no_fault() -> None:
    assert await undone(b"", "gzip") == b""
    assert await undone(gzip.compress(b"x") + b"\0" * 20, "gzip") == b"x"


@pytest.mark.parametrize("cut", range(1, len(gzip.compress(b"hello" * 9)), 5))
async def test_a_body_that_ends_too_early_is_unreadable(cut: int) -> None:
    with pytest.raises(EncodingUnreadable):
        await undone(gzip.compress(b"hello" * 9)[:cut], "gzip")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "nonsense"])
async def test_another_encoding_is_refused_before_anything_is_read(encoding: str) -> None:
    with pytest.raises(EncodingUnreadable):
        decoded(pieces(b"x", 1), {"content-encoding": encoding})


async def test_a_body_that_grows_beyond_the_bound_is_given_up() -> None:
    packed = gzip.compress(b" " * 1_000_000)
    assert len(await undone(packed, "gzip", size=100_000, limit=1_000_000)) == 1_000_000
    with pytest.raises(TooLarge, match="more than 999,999 bytes"):
        await undone(packed, "gzip", size=100_000, limit=999_999)


async def test_a_body_of_many_members_is_decoded_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = 0

    class Counting:
        """Counts the bytes that zlib gets, and returns as ``unused_data`` if a member ends."""

        def __init__(self, machine: Any) -> None:
            self._machine = machine

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal fed
            fed += len(data)
            return bytes(self._machine.decompress(data, most))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._machine, name)

    begin = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda window: Counting(begin(window)))
    member = gzip.compress(b"a")
    count = 2000
    assert await undone(member * count, "gzip", size=len(member) * count) == b"a" * count
    assert fed < 8192 * count
