from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import Service, UpstreamError
from clients.sse import MAX_EVENT_BYTES, MAX_EVENT_PARTS, SseEvent, sse_events

lines = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=12)
events = st.lists(st.tuples(st.sampled_from(["message", "error"]), st.lists(lines, min_size=1, max_size=3)), max_size=6)


async def pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for cut in sorted(cuts):
        yield body[at:cut]
        at = max(at, cut)
    yield body[at:]


async def split(body: bytes, cuts: list[int]) -> list[SseEvent]:
    return [event async for event in sse_events(pieces(body, cuts), Service.LETTA)]


@given(events, st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_events_are_whole_with_any_pieces_and_line_ends(
    sent: list[tuple[str, list[str]]], newline: str, data: st.DataObject
) -> None:
    parts = []
    for name, texts in sent:
        head = [f"event: {name}"] if name != "message" else []
        parts.append(newline.join([": a comment", *head, *(f"data: {text}" for text in texts)]) + newline * 2)
    body = "".join(parts).encode()
    # a boundary of two bytes that a chunk cuts in two is found all the same
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    found = asyncio.run(split(body, cuts))
    assert [(event.event, event.data.decode()) for event in found] == [(name, "\n".join(texts)) for name, texts in sent]
    assert b"".join(event.raw for event in found) == body


@given(
    st.lists(st.sampled_from([b"data: ", b"data:", b"id: 1", b"x", b"\n", b"\n\n", b"\r", b"\xef\xbb\xbf"])), st.data()
)
def test_the_chunks_of_a_body_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    check_chunks(b"".join(parts), data.draw(st.lists(st.integers(0, 60), max_size=4)))


@pytest.mark.parametrize("body", [b"\n\n\n\ndata: \n", b"\n\ndata: x\n\n"])
def test_blank_lines_before_an_event_are_not_its_bytes(body: bytes) -> None:
    check_chunks(body, [])


def check_chunks(body: bytes, cuts: list[int]) -> None:
    """Compare the events of a body in a few chunks with those of single bytes."""
    assert asyncio.run(split(body, cuts)) == asyncio.run(split(body, list(range(len(body)))))


async def test_a_large_event_in_small_pieces_is_looked_at_once() -> None:
    body = b"data: " + b"x" * 1_000_000 + b"\n\n"
    async with asyncio.timeout(20):
        [event] = await split(body, list(range(0, len(body), 100)))
    assert len(event.data) == 1_000_000


@pytest.mark.bound("stream-event")
async def test_an_event_that_outgrows_its_bound_is_given_up() -> None:
    [event] = await split(b"data: " + b"x" * (MAX_EVENT_BYTES - len(b"data: ")) + b"\n\n", [])
    assert len(event.data) == MAX_EVENT_BYTES - len(b"data: ")
    with pytest.raises(UpstreamError) as caught:
        await split(b"data: " + b"x" * (MAX_EVENT_BYTES + 1), [])
    assert caught.value.reason == "TOO_LARGE"


@pytest.mark.bound("stream-event-parts")
@pytest.mark.parametrize("end", [b"\n\n", b""])
@pytest.mark.parametrize("part", [b'{"a":1}', b"\ndata: x", b"\rdata: x"])
async def test_an_event_of_more_parts_than_its_bound_is_given_up(part: bytes, end: bytes) -> None:
    most = MAX_EVENT_PARTS - 2  # the blank line at its end has two line ends
    assert len(await split(b"data: " + part * most + end, [])) == (1 if end else 0)
    with pytest.raises(UpstreamError) as caught:
        await split(b"data: " + part * (MAX_EVENT_PARTS + 1) + end, [])
    assert caught.value.reason == "TOO_LARGE"


@pytest.mark.parametrize(
    ("rest", "data"),
    [
        (b"data: [DONE]", b"[DONE]"),
        (b"data: [DONE]\n", b"[DONE]"),
        (b"data: [DONE]\r\n", b"[DONE]"),
        (b'data: {"a":1}', b'{"a":1}'),
        (b"data: half\n", b"half"),
    ],
)
async def test_the_last_event_counts_without_its_blank_line(rest: bytes, data: bytes) -> None:
    first, last = await split(b"data: a\n\n" + rest, [])
    assert (first.data, last.data) == (b"a", data)
    assert last.raw.startswith(rest)
    assert last.raw.endswith(b"\n\n") or last.raw.endswith(b"\r\n\n")


@pytest.mark.parametrize("rest", [b'data: {"a":', b"dat", b": comment\n", b"id: 1\n", b"data: hal", b"\n"])
async def test_a_part_of_an_event_at_the_end_is_dropped(rest: bytes) -> None:
    assert await split(b"data: a\n\n" + rest, []) == [SseEvent(b"data: a\n\n", "message", b"a")]


@pytest.mark.parametrize("blank", [b"\n\r\n", b"\r\n\n", b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_line_ends_can_be_mixed(blank: bytes) -> None:
    found = await split(b"data: a" + blank + b"data: b" + blank, [])
    assert [event.data for event in found] == [b"a", b"b"]


async def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    [event] = await split(b"\xef\xbb\xbfdata: a\n\n", [])
    assert event.data == b"a"
