"""Streamed responses as LiteLLM 1.106 and 1.110 send them, and as odd providers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.codes import Reason
from clients.errors import UpstreamError
from clients.litellm import Done, Piece, ResponseStream, Unreadable
from clients.usage import Usage
from tests.support.read_responses import LABELS, read, said, sent
from tests.support.response_events import (
    ARGUMENTS,
    CALL,
    COMPLETED,
    CREATED,
    FAILURES,
    HELLO,
    KEY,
    ODD,
    USAGE,
    event,
    response,
    text,
)


async def read_into(pieces: list[Piece | Unreadable | Done], *chunks: bytes) -> None:
    async with ResponseStream(sent(*chunks), KEY, LABELS) as stream:
        async for some in stream:
            pieces += some


async def test_an_answer_has_its_text_usage_and_ids() -> None:
    pieces, usage = await read(CREATED, *HELLO, COMPLETED)
    assert said(pieces) == ("Hello world", "", [])
    expected = Usage(prompt_tokens=7, completion_tokens=5, total_tokens=12, cached_prompt_tokens=2, reasoning_tokens=1)
    assert usage is not None
    assert usage.cost_usd == 0.5
    usage.cost_usd = None
    assert usage == expected
    done = pieces[-1]
    assert isinstance(done, Done)
    assert done.finish == "stop"
    raw = b"".join(piece.raw for piece in pieces)
    assert (raw.count(b'"ours-resp_1"'), raw.count(b'"resp_1"'), raw.count(b'"ours-before"')) == (2, 0, 2)
    assert b'"audio_tokens": 0' in done.raw


async def test_the_deltas_bytes_are_passed_on() -> None:
    pieces, _ = await read(CREATED + b"".join(HELLO) + COMPLETED)
    assert [piece.raw for piece in pieces[1:3]] == list(HELLO)


async def test_events_without_names_and_numbers_get_both_and_done_is_dropped() -> None:
    nameless = [unnumbered(part) for part in (CREATED, *HELLO, COMPLETED)]
    pieces, _ = await read(b"".join(nameless) + b"data: [DONE]\n\n")
    named, _ = await read(CREATED, *HELLO, COMPLETED)
    assert [numbered(piece.raw) for piece in pieces] == [numbered(piece.raw) for piece in named]
    assert [number for _, number, _ in map(numbered, [piece.raw for piece in pieces])] == list(range(4))


def unnumbered(event: bytes) -> bytes:
    wire = json.loads(event.partition(b"data: ")[2])
    del wire["sequence_number"]
    return b"data: " + json.dumps(wire).encode() + b"\n\n"


def numbered(event: bytes) -> tuple[bytes, int, dict[str, Any]]:
    name, _, data = event.partition(b"\n")
    wire = json.loads(data.removeprefix(b"data: "))
    return name, wire.pop("sequence_number"), wire


async def test_text_that_arrives_together_is_joined() -> None:
    pieces, _ = await read(CREATED + b"".join(HELLO) + COMPLETED, joins=True)
    joined = pieces[1]
    assert isinstance(joined, Piece)
    assert (joined.text, joined.raw, joined.deltas, len(pieces)) == ("Hello world", b"".join(HELLO), 2, 3)


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_answer_keeps_its_content(name: str) -> None:
    chunks, expected = ODD[name]
    pieces, _ = await read(CREATED, *chunks, COMPLETED)
    assert said(pieces) == expected
    assert isinstance(pieces[-1], Done)


async def test_content_that_only_the_end_has_is_not_lost() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
        {**CALL, "arguments": ARGUMENTS},
    ]
    last = event("response.completed", response=response("completed", output=output, usage=None))
    pieces, usage = await read(CREATED, last)
    assert (said(pieces), usage) == (("Hello", "hm", [(0, "roll", ARGUMENTS)]), None)
    assert isinstance(pieces[-1], Done)
    assert pieces[-1].finish == "tool_calls"


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
async def test_an_incomplete_answer_has_its_reason(reason: str, finish: str) -> None:
    ended = response("incomplete", incomplete_details={"reason": reason}, usage=USAGE)
    pieces, _ = await read(CREATED, text("a"), event("response.incomplete", response=ended))
    assert isinstance(pieces[-1], Done)
    assert pieces[-1].finish == finish


@pytest.mark.parametrize(
    "details", [{"input_tokens_details": None, "output_tokens_details": None}, {}, {"output_tokens": None}]
)
async def test_null_usage_details_become_zero(details: dict[str, Any]) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, **details}
    pieces, found = await read(CREATED, event("response.completed", response=response("completed", usage=usage)))
    assert found is not None
    assert found.prompt_tokens == 1
    raw = json.loads(pieces[-1].raw.partition(b"data: ")[2])["response"]["usage"]
    assert None not in raw.values()
    for name in details:
        assert raw[name] in ({"cached_tokens": 0}, {"reasoning_tokens": 0}, 0)


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_never_a_clean_end(name: str) -> None:
    chunks, kind, reason = FAILURES[name]
    pieces: list[Piece | Unreadable | Done] = []
    with pytest.raises(kind) as caught:
        await read_into(pieces, CREATED, *HELLO, *chunks)
    assert (caught.value.reason, said(pieces)) == (reason, ("Hello world", "", []))
    assert not any(isinstance(piece, Done) for piece in pieces)
    assert KEY.encode() not in b"".join(piece.raw for piece in pieces)
    assert b"litellm." not in b"".join(piece.raw for piece in pieces)


async def test_a_stream_without_a_readable_event_cannot_be_decoded() -> None:
    with pytest.raises(UpstreamError) as caught:
        await read(b"data: oops\n\n")
    assert caught.value.reason is Reason.DECODE


async def test_the_key_of_the_call_is_removed() -> None:
    pieces, _ = await read(CREATED, event("response.note", header=KEY), COMPLETED)
    assert KEY.encode() not in b"".join(piece.raw for piece in pieces)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12), joins=st.booleans(), name=st.sampled_from(sorted(ODD)))
async def test_any_split_of_the_bytes_has_the_same_answer(cuts: list[int], joins: bool, name: str) -> None:
    chunks, expected = ODD[name]
    whole = b"".join([CREATED, *chunks, COMPLETED])
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)})
    parts = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    pieces, usage = await read(*[part for part in parts if part], joins=joins)
    alone, known = await read(whole)
    assert (said(pieces), usage) == (expected, known)
    assert b"".join(piece.raw for piece in pieces) == b"".join(piece.raw for piece in alone)
