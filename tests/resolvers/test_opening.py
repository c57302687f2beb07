from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resolvers.streams.stream import Stream
from tests.support.scripted_streams import COMPLETED, ScriptedSource, finished, starting
from tests.support.shared_hubs import eventually, shared_hubs


@pytest.mark.parametrize("can_search", [True, False])
async def test_a_source_searches_if_another_replica_may_know_the_key(can_search: bool) -> None:
    seen: list[Stream | None] = []

    def source(earlier: Stream | None) -> ScriptedSource:
        seen.append(earlier)
        return finished()

    async with shared_hubs() as hubs:
        hub = await hubs.hub("a", retention=300)
        hubs.world.fail()
        async with starting(hub.streams, finished(), source=source, key="k", can_search=can_search) as stream:
            assert await stream.log.end() is COMPLETED
            assert not stream.restarted
        if can_search:
            assert seen[-1] is not None
            assert seen[-1].run_id is None
            assert seen[-1].first_began < datetime.now(UTC) - timedelta(seconds=299)
        else:
            assert seen == [None, None]
        hubs.world.recover()
        await eventually(lambda: hubs.world.keys)


async def test_a_source_searches_after_the_store_has_lost_its_keys() -> None:
    seen: list[Stream | None] = []

    def source(earlier: Stream | None) -> ScriptedSource:
        seen.append(earlier)
        return finished()

    async with shared_hubs() as hubs:
        hub = await hubs.hub("a")
        async with starting(hub.streams, finished(), source=source, key="before", can_search=True):
            assert seen == [None]
        hubs.world.flush()
        await hub.store.beat()
        later = await hubs.hub("b")
        async with starting(later.streams, finished(), source=source, key="after", can_search=True) as stream:
            assert await stream.log.end() is COMPLETED
        attempt = seen[-1]
        assert attempt is not None
        assert attempt.first_began < datetime.now(UTC) - timedelta(seconds=299)


async def test_a_request_with_a_key_waits_for_a_short_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shared_hubs() as hubs:
        here, there = await hubs.hub("a"), await hubs.hub("b")
        source = finished()
        async with starting(there.streams, source, key="k") as earlier:
            await earlier.log.end()
        hubs.world.fail()
        waited: list[float] = []

        async def recovered(within: float) -> bool:
            waited.append(within)
            hubs.world.recover()
            return True

        monkeypatch.setattr(here.backend, "recovered", recovered)
        async with starting(here.streams, finished(), key="k") as stream:
            assert (stream.id, source.opened, waited) == (earlier.id, 1, [2.0])
