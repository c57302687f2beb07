"""The log of a stream in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

from resolvers.streams.events import Event, Started, TextDelta
from resolvers.streams.memory import MemoryLog
from tests.support.scripted_streams import COMPLETED, ScriptedSource, end_of, hub, starting, text_in, upstream_bytes


async def test_an_ended_stream_takes_little_memory_and_is_read_unchanged() -> None:
    streams, _ = hub(coalesce=0.001)
    raw = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}\n\n'

    class Talking(ScriptedSource):
        async def said(self) -> AsyncIterator[tuple[Event, bytes]]:
            yield Started(), b""
            for number in range(300):
                yield TextDelta(text=f"{number} "), raw
            yield COMPLETED, b"data: [DONE]\n\n"

    for key, least in ((None, 0), ("k", 300 * len(raw))):
        async with starting(streams, Talking(), key=key) as stream:
            await end_of(stream)
            before = [one async for one in streams.events(stream, None)]
            weight = stream.log.weight
        assert stream.log.weight < weight / 5
        async with streams.attached(stream):
            assert text_in([one async for one in streams.events(stream, None)]) == text_in(before)
            assert sum(map(len, await upstream_bytes(stream.log))) >= least
            half = [one async for one in streams.events(stream, "150")]
        assert text_in(half) == "".join(f"{number} " for number in range(149, 300))


async def test_text_is_joined_once_for_all_readers() -> None:
    log = MemoryLog("stream:1")
    for _ in range(3000):
        log.append(TextDelta(text="x" * 100))
    texts = [log.text for _ in range(100)]
    assert len({id(text) for text in texts}) == 1
    log.append(TextDelta(text="y"))
    assert log.text == texts[0] + "y"
