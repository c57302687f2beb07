from __future__ import annotations

from contextlib import AsyncExitStack

from clients.codes import Reason
from clients.state.streams.records import StreamState
from resolvers.streams import replicator
from resolvers.streams.events import Ended, OnDisconnect, Started, StreamStatus, TextDelta
from tests.support.scripted_streams import COMPLETED, USER, failure_of, finished, run_to_end, starting
from tests.support.shared_hubs import Spoken, eventually, shared_hubs, spoken, words


async def test_an_event_that_cannot_be_stored_ends_its_own_stream_only() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        hub = await hubs.hub("a")
        bad, good = Spoken(Started()), Spoken(Started())
        first = await stack.enter_async_context(starting(hub.streams, bad))
        second = await stack.enter_async_context(starting(hub.streams, good))
        await eventually(lambda: first.log.length == second.log.length == 1)
        bad.say(*words(1), TextDelta(text="\ud800"))
        ended = await first.log.end()
        assert failure_of(ended).reason is Reason.DECODE
        good.say(*words(2), COMPLETED)
        await second.log.end()
        stored = hubs.world.streams[USER, second.id]
        assert (len(stored.entries), stored.state) == (4, StreamState.ENDED)
        assert hubs.world.streams[USER, first.id].state is StreamState.ENDED
        assert [type(error) for error in hub.metrics.broken] == [UnicodeEncodeError]


async def test_an_evicted_stream_is_not_stored_again() -> None:
    async with shared_hubs() as hubs:
        hub = await hubs.hub("a")
        source = finished(*words(1000))
        async with starting(hub.streams, source, on_disconnect=OnDisconnect.CONTINUE, key="k") as stream:
            await stream.log.end()
        stored = hubs.world.streams[USER, stream.id]
        await eventually(lambda: stored.state is StreamState.ENDED)
        stored.state, stored.entries, stored.is_listed = StreamState.EVICTED, [], False
        appended = hub.backend.appended
        hubs.world.recover()
        assert isinstance(await run_to_end(hub.streams, finished(), key="next"), Ended)
        await hub.store.beat()
        assert isinstance(await run_to_end(hub.streams, finished(), key="last"), Ended)
        assert hub.backend.appended - appended <= 1002 + 4
        assert (stored.entries, stream.status, stream.text) == ([], StreamStatus.COMPLETED, spoken(1000))


async def test_a_backlog_is_sent_in_small_calls() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        hub = await hubs.hub("a")
        piece = TextDelta(text="x" * 50_000)
        sources = [Spoken(Started()) for _ in range(12)]
        streams = [await stack.enter_async_context(starting(hub.streams, source)) for source in sources]
        hubs.world.fail()
        for source in sources:
            source.say(*[piece] * 20, COMPLETED)
        for stream in streams:
            await stream.log.end()
        hubs.world.recover()
        stored = [hubs.world.streams[USER, stream.id] for stream in streams]
        await eventually(lambda: all(one.state is StreamState.ENDED for one in stored))
        assert [len(one.entries) for one in stored] == [22] * 12
        assert hub.backend.largest < replicator.BATCH_BYTES + 2 * replicator.MOST_BYTES
