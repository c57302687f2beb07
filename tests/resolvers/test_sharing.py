from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.codes import Reason
from clients.errors import (
    BadUserInput,
    Conflict,
    NotFound,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from clients.state.streams.records import StreamState
from resolvers.streams.events import Ended, OnDisconnect, Started, StreamOutcome, StreamStatus, TextDelta
from resolvers.streams.stream import Stream
from tests.support.scripted_streams import (
    COMPLETED,
    GRACE,
    USER,
    ScriptedSource,
    failure_of,
    finished,
    refuses,
    run_to_end,
    starting,
    text_in,
)
from tests.support.shared_hubs import LEASE, SharedHub, Spoken, eventually, lost_end, shared_hubs, spoken, words


async def begun(hub: SharedHub, source: ScriptedSource, stack: AsyncExitStack, **more: Any) -> Stream:
    """Start a stream that is read until the stack ends."""
    options = {"kind": "completion", "on_disconnect": OnDisconnect.CONTINUE, **more}
    return await stack.enter_async_context(starting(hub.streams, source, **options))


async def test_readers_receive_an_event_when_the_store_has_the_event() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        hub = await hubs.hub("a")
        source = Spoken(Started())
        stream = await begun(hub, source, stack)
        await eventually(lambda: stream.log.length == 1)
        hub.backend.gate.clear()
        source.say(*words(2), COMPLETED)
        await eventually(lambda: stream.log.is_closed)
        assert (stream.log.length, stream.log.ended, stream.text, stream.status) == (1, None, "", StreamStatus.RUNNING)
        assert stream.log.size == len(spoken(2))
        hub.backend.gate.set()
        assert await stream.log.end() is COMPLETED
        assert (stream.text, stream.last_cursor, hub.metrics.ended) == (spoken(2), "4", ["completed"])


async def test_a_reader_elsewhere_costs_the_holder_nothing_per_event() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started())
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 1)
        there = await other.found(stream.id)
        readers = [asyncio.create_task(other.read(there)) for _ in range(5)]
        source.say(*words(20), COMPLETED)
        assert {text_in(heard) for heard in await asyncio.gather(*readers)} == {spoken(20)}
        assert holder.backend.appended == 22
        assert other.backend.appended == 0
        assert holder.streams.memory > 0
        await eventually(lambda: not there.readers)


async def test_events_are_readable_at_once_while_the_store_fails_and_are_stored_later() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started(), *words(2))
        stream = await begun(holder, source, stack, key="k")
        await eventually(lambda: stream.log.length == 3)
        hubs.world.fail()
        source.say(*words(2, 2))
        await eventually(lambda: stream.log.length == 5)
        cursor = stream.last_cursor
        unstored = await begun(holder, finished(*words(1)), stack, key="l")
        assert await unstored.log.end() is COMPLETED
        with refuses(UpstreamUnavailable, Reason.CONNECT):
            await other.found(stream.id)
        with refuses(UpstreamUnavailable, Reason.CONNECT):
            await other.streams.of(USER)
        assert not await other.streams.attaches(USER, "k")
        hubs.world.recover()
        await eventually(lambda: len(hubs.world.streams) == 2)
        source.say(*words(1, 4), COMPLETED)
        assert await stream.log.end() is COMPLETED
        heard = await other.read(await other.found(stream.id))
        assert text_in(heard) == spoken(5)
        assert text_in(await other.read(await other.found(stream.id), cursor)) == spoken(1, 4)
        assert text_in(await other.read(await other.found(unstored.id))) == spoken(1)
        assert await other.streams.attaches(USER, "l")


async def test_streams_are_stored_again_after_the_store_was_emptied() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started(), *words(2))
        stream = await begun(holder, source, stack, key="k")
        ended = await begun(holder, finished(*words(3)), stack)
        await ended.log.end()
        await eventually(lambda: stream.log.length == 3)
        hubs.world.flush()
        source.say(*words(1, 2), COMPLETED)
        assert await stream.log.end() is COMPLETED
        assert text_in(await other.read(await other.found(stream.id))) == spoken(3)
        hubs.world.recover()
        await eventually(lambda: len(hubs.world.streams) == 2)
        assert text_in(await other.read(await other.found(ended.id))) == spoken(3)


async def test_a_stream_that_another_replica_has_taken_over_is_read_on() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started(), *words(2))
        stream = await begun(holder, source, stack, key="k")
        await eventually(lambda: stream.log.length == 3)
        reader = asyncio.create_task(holder.read(stream))
        hubs.world.crashed.add("a")
        await eventually(lambda: other.continued)
        hubs.world.crashed.clear()
        source.say(*words(1, 2))  # the earlier holder learns that it has lost the stream
        await eventually(lambda: source.closed == 1)
        assert stream.is_mirrored
        other.continued[0].say(*words(2, 2), COMPLETED)
        heard = await reader
        assert holder.metrics.ended == []
        assert text_in(heard)[: len(spoken(2))] == spoken(2)
        there = await other.found(stream.id)
        assert (there.text, other.metrics.ended) == (spoken(4), ["completed"])
        [again, _] = await asyncio.gather(
            other.read(await begun(other, Spoken(), stack, key="k")), holder.read(await holder.found(stream.id))
        )
        assert text_in(again) == spoken(4)


async def test_events_that_a_lost_holder_did_not_store_are_a_gap() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("aaaaaaaa1"), await hubs.hub("bbbbbbbb2")
        source = Spoken(Started(), *words(2))
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 3)
        reader = asyncio.create_task(holder.read(stream))
        hubs.world.crashed.add("aaaaaaaa1")
        source.say(*words(1, 2))
        await eventually(lambda: stream.log.length == 4)
        cursor = stream.last_cursor
        assert cursor == "4~aaaaaaaa"
        await eventually(lambda: other.continued)
        there = await other.found(stream.id)
        hubs.world.crashed.clear()
        with refuses(BadUserInput, "GAP"):
            await reader
        other.continued[0].say(*words(3, 2), COMPLETED)
        with refuses(BadUserInput, "GAP"):
            await other.read(there, cursor)
        assert text_in(await other.read(there, "3")) == spoken(3, 2)
        with refuses(BadUserInput, "GAP"):
            await holder.read(await holder.found(stream.id), cursor)
        assert text_in(await holder.read(await holder.found(stream.id), "0")) == spoken(5)


async def test_a_reader_waits_for_events_that_the_holder_has_not_stored_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.streams.replicator.RETRY_SECONDS", 0.05)
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("aaaaaaaa1"), await hubs.hub("b")
        source = Spoken(Started(), *words(2))
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 3)
        there = await other.found(stream.id)
        hubs.world.crashed.add("aaaaaaaa1")
        source.say(*words(1, 2))
        await eventually(lambda: stream.last_cursor == "4~aaaaaaaa")
        resumed = asyncio.create_task(other.read(there, "4~aaaaaaaa"))
        untagged = asyncio.create_task(other.read(there, "4"))
        await eventually(lambda: there.readers == 2)
        hubs.world.crashed.clear()
        source.say(*words(2, 3), COMPLETED)
        assert text_in(await resumed) == text_in(await untagged) == spoken(2, 3)


async def test_a_cursor_of_an_event_that_is_never_stored_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.streams.mirrors.FETCH_SECONDS", 0.05)
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("aaaaaaaa1"), await hubs.hub("b")
        source = Spoken(Started(), *words(2))
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 3)
        there = await other.found(stream.id)
        with refuses(UpstreamTimeout, "DEADLINE"):
            await other.read(there, "9~aaaaaaaa")
        with refuses(BadUserInput, "CURSOR"):
            await other.read(there, "9")
        source.say(COMPLETED)
        await eventually(lambda: stream.log.ended is not None)
        with refuses(BadUserInput, "CURSOR"):
            await other.read(there, "9~aaaaaaaa")


async def test_a_lost_completion_has_an_unknown_outcome() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other, third = [await hubs.hub(name) for name in "abc"]
        stream = await begun(holder, Spoken(Started(), *words(2)), stack, key="k", unknown="Perhaps.")
        await eventually(lambda: stream.log.length == 3)
        hubs.world.crashed.add("a")
        await eventually(lambda: other.continued or third.continued)
        for source in (*other.continued, *third.continued):
            source.say(lost_end())
        there = await other.found(stream.id)
        ended = (await other.read(there))[-1].event
        assert isinstance(ended, Ended)
        assert failure_of(ended).reason == "OWNER_LOST"
        again = await begun(third, Spoken(), stack, key="k", restarts=True)
        assert (again.id, again.unsure, again.text) == (stream.id, True, spoken(2))


async def test_a_process_that_stops_gives_its_resumable_streams_away() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        turn = await begun(holder, Spoken(Started(resumable=True), *words(2)), stack)
        lost = await begun(holder, Spoken(Started(), *words(2)), stack)
        await eventually(lambda: turn.log.length == lost.log.length == 3)
        assert holder.streams.is_resumable_elsewhere(turn)
        reader = asyncio.create_task(other.read(await other.found(turn.id)))
        await holder.streams.aclose()
        await eventually(lambda: other.continued)
        other.continued[0].say(*words(1, 2), COMPLETED)
        assert text_in(await reader) == spoken(3)
        assert (await other.found(lost.id)).status is StreamStatus.FAILED


async def test_two_replicas_start_one_stream_with_a_key() -> None:
    async with shared_hubs() as hubs:
        both = [await hubs.hub("a"), await hubs.hub("b")]
        source = finished(*words(3))
        ends = await asyncio.gather(*(run_to_end(hub.streams, source, key="k", kind="completion") for hub in both * 4))
        assert {end.outcome for end in ends} == {StreamOutcome.COMPLETED}
        assert source.opened == 1
        for hub in both:
            with refuses(Conflict, Reason.KEY_REUSED):
                await run_to_end(hub.streams, source, key="k", fingerprint="other")


async def test_a_refusal_reaches_the_requests_of_all_replicas() -> None:
    async with shared_hubs() as hubs:
        both = [await hubs.hub("a"), await hubs.hub("b")]
        gate = asyncio.Event()

        source = ScriptedSource(gate, NotFound("No."))
        attempts = [asyncio.create_task(run_to_end(hub.streams, source, key="k")) for hub in both]
        await eventually(lambda: hubs.world.keys)
        await asyncio.sleep(0.01)
        gate.set()
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert [type(result) for result in results] == [NotFound, NotFound]
        assert source.opened == 1
        for hub in reversed(both):
            assert (
                await run_to_end(hub.streams, finished(), key="k", restarts=True)
            ).outcome is StreamOutcome.COMPLETED


@pytest.mark.parametrize("can_search", [True, False])
async def test_an_unknown_outcome_is_known_to_all_replicas(can_search: bool) -> None:
    async with shared_hubs() as hubs:
        here, there = await hubs.hub("a"), await hubs.hub("b")
        lost = ScriptedSource(refuses=UpstreamError("Lost.", reason=Reason.CUT))
        terms = {"key": "k", "unknown": "Ask again.", "can_search": can_search}
        with refuses(Conflict, Reason.OUTCOME_UNKNOWN):
            await run_to_end(here.streams, lost, **terms)
        assert await there.streams.attaches(USER, "k")
        seen: list[Stream | None] = []

        def source(earlier: Stream | None) -> ScriptedSource:
            seen.append(earlier)
            return finished()

        if not can_search:
            with refuses(Conflict, Reason.OUTCOME_UNKNOWN):
                await run_to_end(there.streams, lost, **terms)
            return
        async with starting(there.streams, lost, source=source, **terms) as stream:
            assert await stream.log.end() is COMPLETED
        assert seen[0] is None
        assert seen[1] is not None
        assert seen[1].unsure
        assert seen[1].settled_at is not None


async def test_the_readers_of_all_replicas_count() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started())
        async with AsyncExitStack() as first:
            stream = await begun(holder, source, first, on_disconnect=OnDisconnect.CANCEL)
            await eventually(lambda: stream.log.length == 1)
            there = await other.found(stream.id)
            await stack.enter_async_context(other.streams.attached(there))
            await eventually(lambda: stream.elsewhere == 1)
        source.say(*words(1))
        await eventually(lambda: there.log.length == 2)
        assert not stream.cancelled
        await stack.aclose()
        await eventually(lambda: source.closed)
        assert stream.abandoned


async def test_a_reader_elsewhere_counts_before_the_news_arrives() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started())
        async with AsyncExitStack() as first:
            stream = await begun(holder, source, first, on_disconnect=OnDisconnect.CANCEL)
            await eventually(lambda: stream.log.length == 1)
            there = await other.found(stream.id)
            hubs.news.is_lost = True
            await stack.enter_async_context(other.streams.attached(there))
            await eventually(lambda: hubs.world.streams[USER, stream.id].readers == {"b"})
        hubs.news.is_lost = False
        source.say(*words(1))
        await eventually(lambda: there.log.length == 2 and stream.elsewhere == 1)
        assert not stream.cancelled
        await stack.aclose()
        await eventually(lambda: source.closed)


async def test_a_reader_elsewhere_that_may_return_has_the_grace_period() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a", grace=3600), await hubs.hub("b")
        source = Spoken(Started())
        async with AsyncExitStack() as first:
            stream = await begun(holder, source, first, on_disconnect=OnDisconnect.CANCEL)
            await eventually(lambda: stream.log.length == 1)
            there = await other.found(stream.id)
            await stack.enter_async_context(other.streams.attached(there))
            await eventually(lambda: stream.elsewhere == 1)
        there.log.reader_may_return = True
        await stack.aclose()
        await eventually(lambda: stream.elsewhere == 0)
        assert stream.timer is not None
        assert not stream.cancelled


async def test_a_stream_is_cancelled_for_a_client_of_another_replica() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        stream = await begun(holder, Spoken(Started(), *words(1)), stack, key="k")
        there = await other.found(stream.id)
        await other.streams.cancel_and_wait(there)
        assert (there.status, stream.status, stream.abandoned) == (
            StreamStatus.CANCELLED,
            StreamStatus.CANCELLED,
            False,
        )
        hubs.world.fail()
        with refuses(UpstreamUnavailable, Reason.CONNECT):
            await other.streams.cancel_and_wait(there)


async def test_another_owners_stream_is_not_found() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        stream = await begun(holder, Spoken(Started()), stack)
        for hub in (holder, other):
            for stream_id in (stream.id, "stream:00000000-0000-4000-8000-000000000000", "x" * 1000):
                with pytest.raises(NotFound):
                    await hub.streams.get(stream_id, GRACE)
            assert await hub.streams.of(GRACE) == []


async def test_a_stream_for_which_the_store_has_no_room_fails() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        hubs.world.limits = type(hubs.world.limits)(owner_bytes=100_000)
        source = Spoken(Started(), *words(1))
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 2)
        source.say(*[TextDelta(text="x" * 60_000) for _ in range(3)])
        ended = await stream.log.end()
        assert failure_of(ended).reason == "STREAM_MEMORY"
        assert (await other.read(await other.found(stream.id)))[-1].event == ended
        with refuses(RateLimited, Reason.STREAM_MEMORY):
            for _ in range(100):
                await begun(other, Spoken(Started()), stack)


async def test_a_stream_without_room_fails_even_if_its_source_has_ended() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        hubs.world.limits = type(hubs.world.limits)(owner_bytes=100_000)
        source = Spoken(Started())
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 1)
        holder.backend.gate.clear()
        source.say(*[TextDelta(text="x" * 1000)] * 300, COMPLETED)
        await eventually(lambda: stream.log.is_closed)
        holder.backend.gate.set()
        assert failure_of(await stream.log.end()).reason == "STREAM_MEMORY"
        there = (await other.read(await other.found(stream.id)))[-1]
        assert (there.event, there.cursor) == (stream.log.ended, stream.last_cursor)
        assert holder.metrics.ended == ["failed"]


async def test_an_end_that_another_replica_does_not_know_is_dropped() -> None:
    async with shared_hubs(LEASE) as hubs:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started(), *words(1))
        async with AsyncExitStack() as reading:
            stream = await begun(holder, source, reading)
            await eventually(lambda: stream.log.length == 2)
            hubs.world.crashed.add("a")
            source.say(COMPLETED)
            assert await stream.log.end() is COMPLETED
        await eventually(lambda: other.continued)
        hubs.world.crashed.clear()
        hubs.world.recover()
        other.continued[0].say(*words(1, 1), COMPLETED)
        there = await other.found(stream.id)
        await other.read(there)

        async def is_same() -> bool:
            found = await holder.found(stream.id)
            await found.log.filled()
            return found.text == there.text == spoken(2)

        async with asyncio.timeout(5):
            while not await is_same():
                await asyncio.sleep(0.01)


async def test_the_limit_of_running_streams_counts_the_streams_of_all_replicas() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = [await hubs.hub(name, max_streams_per_user=2) for name in "ab"]
        for hub in (holder, other):
            await begun(hub, Spoken(Started()), stack)
        for hub in (holder, other):
            with refuses(RateLimited, Reason.STREAMS):
                await begun(hub, Spoken(Started()), stack)


async def test_a_cancelled_request_leaves_no_stream_in_the_store() -> None:
    async with shared_hubs() as hubs:
        hub = await hubs.hub("a")
        gate, opened = asyncio.Event(), hub.backend.open

        async def slowly(*given: Any, **terms: Any) -> Any:
            answer = await opened(*given, **terms)
            await gate.wait()
            return answer

        hub.backend.open = slowly  # type: ignore[method-assign]
        request = asyncio.create_task(run_to_end(hub.streams, finished(), key="k"))
        await eventually(lambda: hubs.world.keys)
        request.cancel()
        await asyncio.wait([request])
        gate.set()
        await eventually(lambda: not hubs.world.streams)
        assert await run_to_end(hub.streams, finished(), key="k") is COMPLETED


async def test_streams_of_another_version_are_left_out() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        stream = await begun(holder, Spoken(Started()), stack)
        known = await begun(holder, Spoken(Started()), stack)
        stored = hubs.world.streams[USER, stream.id]
        stored.stream = type(stored.stream)(id=stream.id, owner=USER, terms=b"\xc1")
        assert [one.id for one in await other.streams.of(USER)] == [known.id]
        with refuses(UpstreamError, Reason.DECODE):
            await other.found(stream.id)


async def test_a_mirror_uses_memory_only_while_it_is_useful() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b", retention=0.05)
        source = Spoken(Started(), *words(3))
        stream = await begun(holder, source, stack)
        await eventually(lambda: stream.log.length == 4)
        there = await other.found(stream.id)
        assert other.streams.memory == 0
        await there.log.filled()
        assert (there.text, other.streams.memory) == (spoken(3), 0)
        source.say(COMPLETED)
        await other.read(there)
        assert other.streams.memory > 0
        assert other.streams.held(stream.id, USER) is there
        hubs.world.fail()
        assert text_in(await other.read(await other.found(stream.id))) == spoken(3)
        await eventually(lambda: other.streams.memory == 0)


async def test_an_evicted_answer_is_read_from_the_store() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        hub = await hubs.hub("a", memory=8 * 20_000)
        text = TextDelta(text="".join(chr(33 + n % 90) for n in range(9_000)))
        async with AsyncExitStack() as reading:
            first = await begun(hub, finished(text), reading, key="k")
            await first.log.end()
        for number in range(3):
            assert (await run_to_end(hub.streams, finished(text), key=str(number))).outcome is StreamOutcome.COMPLETED
        with pytest.raises(NotFound):
            hub.streams.held(first.id, USER)
        again = await begun(hub, Spoken(), stack, key="k")
        assert again.id == first.id
        await again.log.filled()
        assert again.text == text.text
        record = await hub.store.find(USER, first.id)
        assert record is not None
        assert record.state is StreamState.ENDED


STEPS = st.lists(st.sampled_from(["say", "fail", "recover", "flush", "read"]), max_size=12)


@settings(max_examples=25)
@given(STEPS)
def test_every_reader_has_the_exact_text_whatever_the_store_does(steps: list[str]) -> None:
    async def run() -> None:
        async with shared_hubs() as hubs, AsyncExitStack() as stack:
            holder, other = await hubs.hub("a"), await hubs.hub("b")
            source, count = Spoken(Started()), 0
            stream = await begun(holder, source, stack)
            readers = [asyncio.create_task(holder.read(stream))]
            for step in steps:
                if step == "say":
                    source.say(*words(2, count))
                    count += 2
                elif step == "read" and not hubs.world.is_down:
                    try:
                        there = await other.found(stream.id)
                    except NotFound:
                        continue  # the store was emptied, and the holder has not noticed yet
                    readers.append(asyncio.create_task(other.read(there)))
                elif step in {"fail", "recover", "flush"}:
                    getattr(hubs.world, step)()
                await asyncio.sleep(0)
            hubs.world.recover()
            source.say(COMPLETED)
            async with asyncio.timeout(5):
                heard = await asyncio.gather(*readers)
            assert {text_in(one) for one in heard} == {spoken(count)}
            assert all(sum(isinstance(one.event, Ended) for one in some) == 1 for some in heard)

    asyncio.run(run())
