"""Chunks that are recognized by a template have the same events as decoded chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import UpstreamError
from clients.litellm import completions
from clients.litellm.chunks import Chunk, decode_chunk
from clients.litellm.completions import CompletionStream
from clients.litellm.streams import Done, Piece, Unreadable
from clients.litellm.templates import DeltaTemplate
from clients.sse import SseEvent
from clients.upstream import StreamedAnswer

texts = st.one_of(
    st.text(max_size=6), st.sampled_from(['"', "\\", 'a","b', '\\"', "[DONE]", '"usage"', "\n\n", "\u2028", ""])
)


def chunk(text: str, *, ascii_only: bool = True, **more: Any) -> bytes:
    wire = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}
    return b"data: " + json.dumps(wire, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") + b"\n\n"


def odd(raw: bytes) -> bytes:
    """Return an event that only a lenient reader accepts: the text ends early, or is cut in an escape sequence."""
    return raw.replace(b'"content": "', b'"content": "x\\', 1)


HOSTILE = [
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s","content":"%(b)s"}}]}',
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s","reasoning_content":"%(b)s"}}]}',
    '{"choices":[{"index":%(i)d,"delta":{"reasoning_content":"%(a)s","content":""}}]}',
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s","refusal":"%(b)s"}}]}',
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s"},"text":"%(b)s"}]}',
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s","tool_calls":[{"function":{"arguments":"%(b)s"}}]}}]}',
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s"},"logprobs":{"content":[{"token":"%(b)s"}]}}]}',
    '{"choices":[{"index":0,"delta":{"content":"%(a)s"}},{"index":1,"delta":{"content":"%(b)s"}}]}',
    '{"choices":[{"index":%(i)d,"delta":{"content":"%(a)s"},"finish_reason":"stop"}]}',
    '{"choices":[{"delta":{"content":"%(a)s"}}],"error":"%(b)s"}',
]
"""Chunks with the fields that a template must not hide, or with the text in several places."""

encoded = st.sampled_from(
    [
        "",
        "a",
        "\\u00e9",
        "\\ud83d",
        "\\ude00",
        "\\ud83d\\ude00",
        '\\"',
        "\\",
        ",",
        '","',
        "\u2028",
        "\x01",
        '"}}]}\n\ndata: {}',
    ]
)


def hostile(body: str, a: str, b: str, index: int, number: int) -> bytes:
    """Return the same chunk several times, so that it makes a template for the others."""
    return b"data: %b\n\n" % (body % {"a": a, "b": b, "i": index}).encode() * number


chunks = st.one_of(
    st.builds(hostile, st.sampled_from(HOSTILE), encoded, encoded, st.sampled_from([0, 0, 1]), st.integers(1, 3)),
    st.builds(chunk, texts, ascii_only=st.booleans()),
    st.builds(chunk, texts),
    st.builds(chunk, texts, usage=st.sampled_from([None, {"total_tokens": 3}])),
    st.builds(chunk, texts, error=st.sampled_from([None, {"message": "x"}])),
    st.builds(odd, st.builds(chunk, texts)),
    st.sampled_from([b": comment\n\n", b"data: x\n\n", b"data: [DONE]\n\n", b"id: 1\n\n", b"event: e\ndata: {}\n\n"]),
    st.just(b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}]}\n\n'),
    st.just(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'),
)


async def read(body: bytes, cuts: list[int], *, joins: bool) -> tuple[list[Any], Any]:
    """Return what a completion's body contains, and the error with which it ends."""

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        for cut in [*sorted(cuts), len(body)]:
            yield body[at:cut]
            at = max(at, cut)

    @asynccontextmanager
    async def opened() -> AsyncIterator[StreamedAnswer]:
        yield StreamedAnswer({}, pieces())

    found: list[Any] = []
    async with CompletionStream(opened(), "sk-key", wants_usage=True, joins=joins) as stream:
        try:
            async for arrived in stream:
                assert arrived
                found += arrived
        except UpstreamError as error:
            return found, (error.reason, stream.usage)
        return found, stream.usage


def joined(pieces: list[Any]) -> list[Any]:
    """Join consecutive pieces that have only text."""
    found: list[Any] = []
    for piece in pieces:
        if not isinstance(piece, Piece) or piece.calls or piece.is_silent or not (piece.text or piece.reasoning):
            found.append(piece)
        elif found and isinstance(found[-1], tuple):
            raw, text, reasoning, deltas = found[-1]
            found[-1] = (
                raw + piece.raw,
                text + piece.text,
                reasoning + piece.reasoning,
                deltas + piece.deltas,
            )
        else:
            found.append((piece.raw, piece.text, piece.reasoning, piece.deltas))
    return found


@given(st.lists(chunks, max_size=12), st.data())
def test_recognized_chunks_equal_decoded_chunks(sent: list[bytes], data: st.DataObject) -> None:
    body = b"".join(sent)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeltaTemplate, "learn", lambda *_: None)
        decoded = asyncio.run(read(body, [], joins=False))
    assert asyncio.run(read(body, cuts, joins=False)) == decoded
    pieces, end = asyncio.run(read(body, cuts, joins=True))
    assert (joined(pieces), end) == (joined(decoded[0]), decoded[1])


def counted(monkeypatch: pytest.MonkeyPatch) -> list[SseEvent]:
    """Return a list to which each decoded event is added."""
    decoded: list[SseEvent] = []

    def decode(event: SseEvent) -> Chunk | None:
        decoded.append(event)
        return decode_chunk(event)

    monkeypatch.setattr(completions, "decode_chunk", decode)
    return decoded


@pytest.mark.parametrize("joins", [False, True])
async def test_only_the_first_chunk_of_many_equal_ones_is_decoded(joins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    body = b"".join(chunk(f"tok{number} ") for number in range(1000)) + chunk("", usage={"total_tokens": 1000})
    pieces, usage = await read(body + b"data: [DONE]\n\n", [5000, 50_000], joins=joins)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Piece)) == "".join(
        f"tok{number} " for number in range(1000)
    )
    assert (usage.total_tokens, type(pieces[-1])) == (1000, Done)
    assert len(decoded) <= 6  # the first chunk, its proof, the chunk with usage, and the chunks that the cuts divide
    assert sum(piece.deltas for piece in pieces if isinstance(piece, Piece) and piece.text) == 1000
    assert len(pieces) < 12 if joins else len(pieces) == 1002


async def test_chunks_that_change_each_time_do_not_make_templates_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    body = b"".join(chunk("a", created=number) for number in range(100)) + b"data: [DONE]\n\n"
    pieces, _ = await read(body, [], joins=True)
    assert len(decoded) <= 100 + 4
    assert not any(isinstance(piece, Unreadable) for piece in pieces)
