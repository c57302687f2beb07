from __future__ import annotations

from clients.state.streams.backend import Beat
from clients.state.streams.liveness import Liveness

LEASE = 3.0


class Times:
    """A replica whose heartbeats a test sends by hand. ``now`` is the time of both clocks, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.expires: float | None = None
        self.liveness = Liveness(LEASE, lambda: self.now)

    def beat(self, *living: str, dead: frozenset[str] = frozenset()) -> None:
        self.liveness.begin()
        expired_at = None if self.expires is None else self.expires * 1000
        self.expires = self.now + LEASE
        self.liveness.beaten(Beat(self.now * 1000, expired_at, frozenset({"a", *living}), dead, 0))

    def fail(self) -> None:
        self.liveness.begin()
        self.liveness.failed()

    def steady(self, *living: str) -> None:
        """Beat for longer than a lease."""
        for _ in range(5):
            self.beat(*living)
            self.now += 1


def test_a_replica_takes_over_after_a_lease_of_its_own() -> None:
    times = Times()
    assert not times.liveness.may_take_over
    for _ in range(3):
        times.beat()
        assert not times.liveness.may_take_over
        times.now += 1
    times.beat()
    assert times.liveness.may_take_over


def test_a_failed_heartbeat_begins_the_lease_anew() -> None:
    times = Times()
    times.steady()
    times.fail()
    assert not times.liveness.may_take_over
    times.now += 1
    for _ in range(3):
        times.beat()
        assert not times.liveness.may_take_over
        times.now += 1
    times.beat()
    assert times.liveness.may_take_over


def test_an_expired_heartbeat_begins_the_lease_anew() -> None:
    times = Times()
    times.steady()
    times.now += LEASE
    times.beat()
    assert not times.liveness.may_take_over


def test_a_forgotten_heartbeat_begins_the_lease_anew() -> None:
    times = Times()
    times.steady()
    times.expires = None
    times.beat()
    assert not times.liveness.may_take_over
    assert not times.liveness.has_slept_since(times.now - 1), "the store has lost its data; the process did not sleep"


def test_a_replica_that_no_longer_beats_is_dead() -> None:
    times = Times()
    times.steady("b", "c")
    times.beat("c", dead=frozenset({"b", "d"}))
    assert times.liveness.dead == {"b", "d"}
    times.beat("c")
    assert times.liveness.dead == {"b", "d"}, "also after Redis has forgotten the replicas"
    times.beat("b")
    assert times.liveness.dead == {"c", "d"}, "a replica can return"


def test_after_an_outage_others_live_for_a_lease() -> None:
    times = Times()
    times.steady("b")
    for _ in range(5):
        times.fail()
        times.now += 1
    times.beat(dead=frozenset({"b"}))
    assert times.liveness.dead == frozenset(), "b had no time for a heartbeat"
    for _ in range(4):
        times.now += 1
        times.beat(dead=frozenset({"b"}))
    assert times.liveness.dead == {"b"}


def test_a_suspended_process_has_slept() -> None:
    times = Times()
    times.steady()
    times.beat()
    before = times.now
    times.now += LEASE + 1
    assert times.liveness.has_slept_since(before), "before the next heartbeat"
    times.beat()
    assert times.liveness.has_slept_since(before)
    assert not times.liveness.has_slept_since(times.now + 0.1)


def test_a_process_without_redis_has_not_slept() -> None:
    times = Times()
    times.steady()
    before = times.now
    for _ in range(10):
        times.fail()
        times.now += 1
    times.beat()
    assert not times.liveness.has_slept_since(before)


def test_a_late_heartbeat_shows_that_the_process_slept() -> None:
    times = Times()
    times.steady()
    times.beat()
    before = times.now
    times.expires = times.now - 1
    times.beat()
    assert times.liveness.has_slept_since(before), "the store's clock counts, also if this process's clock stood still"
