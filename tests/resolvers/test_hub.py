from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from clients.codes import ErrorCode, Reason
from clients.errors import (
    Conflict,
    GatewayError,
    NotFound,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from clients.usage import Usage
from resolvers.streams.entries import PIECE
from resolvers.streams.events import (
    Ended,
    Event,
    OnDisconnect,
    Raw,
    ReasoningDelta,
    Started,
    StreamFailure,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.stream import Stream
from tests.support.scripted_streams import (
    COMPLETED,
    GRACE,
    USER,
    ScriptedSource,
    end_of,
    failure_of,
    finished,
    hub,
    run_to_end,
    starting,
    upstream_bytes,
)


async def test_an_exception_of_a_source_fails_its_stream_and_is_reported() -> None:
    streams, metrics = hub()
    error = ValueError("an inside story")
    ended = await run_to_end(streams, ScriptedSource(Started(), error))
    assert ended.outcome is StreamOutcome.FAILED
    assert failure_of(ended).code is ErrorCode.INTERNAL_ERROR
    assert "story" not in failure_of(ended).message
    assert metrics.broken == [error]


async def test_a_source_without_an_end_fails_its_stream() -> None:
    streams, _ = hub()
    ended = await run_to_end(streams, ScriptedSource(Started(), TextDelta(text="a")))
    assert failure_of(ended).reason == "CUT"


async def test_a_refusal_reaches_all_waiting_requests_and_leaves_the_key_free() -> None:
    streams, _ = hub()
    refusing = ScriptedSource(refuses=NotFound("No."))

    attempts = [run_to_end(streams, refusing, key="k") for _ in range(2)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(result) for result in results] == [NotFound, NotFound]
    assert refusing.opened == 1
    assert await run_to_end(streams, finished(), key="k") is COMPLETED


async def test_the_last_reader_closes_the_source_and_no_earlier_one_does() -> None:
    streams, metrics = hub()
    source = ScriptedSource(Started(), asyncio.Event())
    async with starting(streams, source) as stream:
        async with streams.attached(stream):
            pass
        assert source.closed == 0
    assert stream.pump is not None
    await stream.pump
    assert source.closed == 1
    assert metrics.ended == ["cancelled"]


async def test_a_stream_continues_without_readers_for_its_grace_period() -> None:
    streams, _ = hub(grace=0.01)
    source = ScriptedSource(Started(), asyncio.Event())
    async with starting(streams, source, on_disconnect=OnDisconnect.CONTINUE) as stream:
        pass
    assert source.closed == 0
    assert (await end_of(stream)).outcome is StreamOutcome.CANCELLED


async def test_a_key_belongs_to_its_owner_and_input() -> None:
    streams, _ = hub()
    source = ScriptedSource(Started(), asyncio.Event())
    async with starting(streams, source, key="k", fingerprint="a") as stream:
        with pytest.raises(Conflict):
            async with starting(streams, source, key="k", fingerprint="b"):
                pass
        async with starting(streams, source, key="k", fingerprint="a") as same:
            assert same is stream
        with pytest.raises(NotFound):
            await streams.get(stream.id, GRACE)
    await streams.aclose()
    assert source.opened == 1


async def test_a_stream_that_cannot_be_read_again_is_removed_at_its_end() -> None:
    streams, _ = hub()
    async with starting(streams, finished(TextDelta(text="a")), retained=False) as stream:
        assert (await end_of(stream)).outcome is StreamOutcome.COMPLETED
        assert stream.log.length == 3  # it is still there for who reads it now
        assert await streams.of(USER) == []
    async with starting(streams, ScriptedSource(Started(), asyncio.Event()), retained=False) as stream:
        assert await streams.of(USER) == [stream]
    await end_of(stream)
    assert await streams.of(USER) == []


async def test_a_key_restarts_after_a_failure_if_that_is_requested() -> None:
    streams, _ = hub()
    done = finished()
    async with starting(streams, ScriptedSource(Started(), ValueError("no")), key="k") as first:
        await end_of(first)
        async with starting(streams, done, key="k") as replayed:
            assert replayed is first
        async with starting(streams, done, key="k", restarts=True) as second:
            assert second is not first
            assert (await end_of(second)).outcome is StreamOutcome.COMPLETED
        async with starting(streams, done, key="k", restarts=True) as same:
            assert same is second
    assert await streams.get(first.id, USER) is first


async def test_a_restart_does_not_attach_to_a_stream_that_is_being_cancelled() -> None:
    streams, _ = hub()
    async with starting(streams, ScriptedSource(Started(), asyncio.Event()), key="k") as first:
        streams.cancel(first)
        assert first.log.ended is None
        async with starting(streams, finished(), key="k", restarts=True) as second:
            assert second is not first
            assert await end_of(second) is COMPLETED
    assert (await end_of(first)).outcome is StreamOutcome.CANCELLED


@pytest.mark.parametrize("end", [ValueError("no"), UpstreamError("Cut.", reason=Reason.CUT), None], ids=repr)
async def test_usage_reported_before_a_failure_or_a_cancellation_is_kept(end: Exception | None) -> None:
    streams, metrics = hub()
    source = ScriptedSource(Started(), TextDelta(text="a"), end or asyncio.Event())
    source.usage = Usage(prompt_tokens=7, completion_tokens=5)
    async with starting(streams, source) as stream:
        if end is None:
            streams.cancel(stream)
        ended = await end_of(stream)
    assert ended.outcome is (StreamOutcome.CANCELLED if end is None else StreamOutcome.FAILED)
    assert ended.usage == source.usage
    assert metrics.tokens == [(7, 5)]


async def test_usage_is_kept_if_an_answer_exceeds_its_bound() -> None:
    streams, metrics = hub(max_log=1000)
    source = ScriptedSource(Started(), *(TextDelta(text="a" * 300) for _ in range(9)))
    source.usage = Usage(completion_tokens=900)
    ended = await run_to_end(streams, source)
    assert (failure_of(ended).reason, ended.usage, metrics.tokens) == ("TOO_LARGE", source.usage, [(None, 900)])


async def test_every_log_begins_with_started() -> None:
    streams, _ = hub(heartbeat=0.001)
    gate = asyncio.Event()
    late = ScriptedSource(gate, RateLimited("Later.", retry_after_seconds=3))
    async with starting(streams, late, key="k") as refused:
        gate.set()
        ended = await end_of(refused)
        assert [type(entry.event) for entry in await refused.log.after(0)] == [Started, Ended]
        assert await streams.get(refused.log.stream_id, USER) is refused  # a reader can ask for it
        assert ended.error == StreamFailure.of(RateLimited("Later.", retry_after_seconds=3))
    async with starting(streams, finished(), key="k") as second:
        assert second is not refused
    async with starting(streams, ScriptedSource(ValueError("before it began"))) as stream:
        await end_of(stream)
    cancelled = ScriptedSource(asyncio.Event())
    opening = asyncio.create_task(run_to_end(streams, cancelled, key="c"))
    while not cancelled.opened:
        await asyncio.sleep(0)
    [running] = [one for one in await streams.of(USER) if one.log.ended is None]
    streams.cancel(running)
    await opening
    for one in (stream, running):
        assert [type(entry.event) for entry in await one.log.after(0)] == [Started, Ended]


async def test_a_key_starts_again_after_its_last_reader_left_and_not_after_a_cancellation() -> None:
    streams, _ = hub()
    done = finished(TextDelta(text="a"))
    me = asyncio.Event()
    for leaves in (True, False):
        first_source = ScriptedSource(Started(), asyncio.Event())
        async with starting(streams, first_source, key=f"{leaves}") as first:
            if not leaves:
                await streams.cancel_and_wait(first)
        ended = await end_of(first)
        assert ended.outcome is StreamOutcome.CANCELLED
        async with starting(streams, done, key=f"{leaves}", starter=me) as second:
            assert (second is first) is not leaves
            heard = [one async for one in streams.events(second, None, replayed=streams.is_replay(second, me))]
        assert isinstance(heard[0].event, Started)
        assert heard[0].replayed is True
    assert first_source.opened == 1
    assert done.opened == 1


async def test_a_key_starts_again_while_its_abandoned_stream_is_closing() -> None:
    streams, _ = hub()
    async with starting(streams, ScriptedSource(Started(), asyncio.Event()), key="k") as first:
        pass
    assert first.log.ended is None
    async with starting(streams, finished(), key="k") as second:
        assert second is not first
        assert await end_of(second) is COMPLETED


@pytest.mark.parametrize("can_search", [True, False])
async def test_only_a_source_that_can_search_repeats_the_request_of_a_stream_that_was_left(can_search: bool) -> None:
    streams, _ = hub()
    first, me, other = asyncio.Event(), asyncio.Event(), asyncio.Event()
    running = ScriptedSource(Started(), asyncio.Event())
    async with starting(streams, running, key="k", starter=first, can_search=can_search) as stream:
        assert not stream.is_repeated_by(first)
    await end_of(stream)
    async with starting(streams, finished(), key="k", starter=me, can_search=can_search) as again:
        assert (streams.is_replay(again, me), again.is_repeated_by(me)) == (True, can_search)
        assert (streams.is_replay(again, other), again.is_repeated_by(other)) == (True, True)


async def test_only_a_stream_that_another_operation_started_is_a_replay() -> None:
    streams, _ = hub()
    me, other = asyncio.Event(), asyncio.Event()
    source = finished(TextDelta(text="a"))
    async with starting(streams, source, key="k", starter=me) as stream:
        await end_of(stream)  # all of it is there before its own reader reads
        assert not streams.is_replay(stream, me)
        assert streams.is_replay(stream, other)
        async with starting(streams, source, key="k", starter=other) as same:
            assert same is stream
            assert streams.is_replay(stream, other)


@pytest.mark.parametrize("can_search", [True, False])
async def test_a_key_with_an_unknown_outcome_is_not_free(can_search: bool) -> None:
    streams, _ = hub()
    lost = ScriptedSource(refuses=UpstreamError("Lost.", reason=Reason.CUT))
    sources = [lost, finished()]
    seen: list[Stream | None] = []

    def source(earlier: Stream | None) -> ScriptedSource:
        seen.append(earlier)
        return sources.pop(0)

    async def attempt() -> Stream:
        async with starting(
            streams, lost, source=source, key="k", unknown="Ask again.", can_search=can_search
        ) as stream:
            await end_of(stream)
            return stream

    with pytest.raises(Conflict) as unknown:
        await attempt()
    assert unknown.value.reason == "OUTCOME_UNKNOWN"
    assert unknown.value.message == "The outcome of the request is unknown, because of this error: Lost. Ask again."
    assert await streams.attaches(USER, "k")
    if not can_search:
        for _ in range(2):
            with pytest.raises(Conflict):
                await attempt()
        assert len(seen) == 1
        return
    assert (await attempt()).restarted is True
    assert seen[0] is None
    assert seen[1] is not None
    assert seen[1].unsure is True


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (UpstreamUnavailable("No.", reason=Reason.CONNECT), False),
        (UpstreamTimeout("No.", reason=Reason.DEADLINE, unconfirmed=False), False),
        (UpstreamError("No.", reason=Reason.MODEL), False),
        (UpstreamError("No.", reason=Reason.CREDENTIAL), False),
        (RateLimited("No."), False),
        (UpstreamTimeout("No.", reason=Reason.DEADLINE), True),
        (UpstreamError("No.", reason=Reason.STATUS), True),
        (UpstreamError("No.", reason=Reason.DECODE), True),
        (UpstreamError("No.", reason=Reason.TOO_LARGE, unconfirmed=True), True),
        (UpstreamError("No.", reason=Reason.STATUS, retry_after_seconds=1), True),
    ],
)
@pytest.mark.parametrize("can_search", [True, False])
async def test_a_failure_frees_the_key_only_if_nothing_was_sent(
    error: GatewayError, sent: bool, can_search: bool
) -> None:
    streams, _ = hub()
    is_told = can_search and error.retry_after_seconds is not None
    with pytest.raises(type(error) if not sent or is_told else Conflict) as raised:
        await run_to_end(streams, ScriptedSource(refuses=error), key="k", unknown="Ask again.", can_search=can_search)
    assert raised.value.retry_after_seconds == error.retry_after_seconds
    assert await streams.attaches(USER, "k") is sent


async def test_200_000_small_tokens_are_one_answer_in_little_memory() -> None:
    count = 200_000
    streams, _ = hub(coalesce=0.016)

    class Talking(ScriptedSource):
        async def said(self) -> AsyncIterator[tuple[Event, bytes]]:
            yield Started(), b""
            for number in range(count):
                yield TextDelta(text=f"{number % 1000:03} "), b'data: {"choices":[{"delta":{"content":"a"}}]}'
            yield COMPLETED, b"data: [DONE]\n\n"

    async with starting(streams, Talking()) as stream:
        assert (await end_of(stream)).outcome is StreamOutcome.COMPLETED
        assert stream.log.size == len(stream.text) == 4 * count
        assert stream.log.weight < 40 * count
        heard = [one async for one in streams.events(stream, str(count // 2 + 1))]
    text = "".join(one.event.text for one in heard if isinstance(one.event, TextDelta))
    assert text == stream.text[4 * (count // 2) :]
    assert stream.last_cursor == heard[-1].cursor == str(count + 2)


@pytest.mark.parametrize(
    "piece", [TextDelta(text="й" * 50), ReasoningDelta(text="x" * 100), ToolCallDelta(arguments_delta="x" * 100)]
)
@pytest.mark.bound("answer-text")
async def test_an_answer_is_bounded_by_its_text_in_utf8(piece: Event) -> None:
    streams, _ = hub(max_log=1000)
    for times, outcome in ((10, StreamOutcome.COMPLETED), (11, StreamOutcome.FAILED)):
        ended = await run_to_end(streams, finished(*[piece] * times))
        assert ended.outcome is outcome
    assert failure_of(ended).reason == "TOO_LARGE"


@pytest.mark.bound("answer-memory")
async def test_pieces_without_text_are_bounded_by_their_memory() -> None:
    streams, _ = hub(max_memory=100_000)
    ended = await run_to_end(streams, finished(*(Raw() for _ in range(50_000))))
    assert failure_of(ended).reason == "TOO_LARGE"


async def test_upstream_bytes_are_kept_until_v1_reads_them() -> None:
    """Another reader of a stream without a key may be ahead of the door that began it, before that is counted."""
    streams, _ = hub()
    source, number = ScriptedSource(Started(), asyncio.Event()), 4 * PIECE
    async with starting(streams, source) as stream:
        log = stream.log
        with log.reading(0) as ahead:
            for index in range(number):
                log.append(TextDelta(text="a"), b"%d" % index)
                log.moved(ahead, log.length)
            with log.reading(0) as reader:
                stream.drop_raw_taken()
                assert await upstream_bytes(log) == [b"%d" % index for index in range(number)]
                log.moved(reader, log.length)
                for _ in range(number):
                    log.append(TextDelta(text="a"), b"more")
                    log.moved(ahead, log.length)
                    log.moved(reader, log.length)
                assert len(await upstream_bytes(log)) < 2 * number
