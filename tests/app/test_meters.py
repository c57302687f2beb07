"""Token buckets, with a clock that the tests advance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import meters
from app.meters import Meter, Meters
from tests.support.clock import Clock


def test_a_meter_admits_a_burst_and_then_its_rate() -> None:
    clock = Clock()
    meter = Meter(10, 2, clock)
    assert [meter.take() for _ in range(11)] == [True] * 10 + [False]
    clock.now += 1
    assert [meter.take() for _ in range(3)] == [True, True, False]
    clock.now += 1000
    assert [meter.take(10), meter.take()] == [True, False]


def test_a_refusal_takes_nothing() -> None:
    meter = Meter(10, 0, Clock())
    assert [meter.take(11), meter.take(10)] == [False, True]


STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 5)), max_size=50)


@given(STEPS, st.integers(1, 10), st.integers(0, 5))
def test_admitted_units_never_exceed_the_burst_and_the_rate(
    steps: list[tuple[float, int]], burst: int, per_second: int
) -> None:
    clock = Clock()
    meter, taken = Meter(burst, per_second, clock), 0
    for seconds, units in steps:
        clock.now += seconds
        taken += units if meter.take(units) else 0
        assert taken <= burst + clock.now * per_second + 1e-6


def test_full_meters_are_dropped_and_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "_MIN_METERS", 2)
    many = Meters(2, 0)
    assert many.of("ada").take()
    many.of("grace")
    many.of("alan")
    assert len(many) == 2
    assert many.of("ada").take()
    assert not many.of("ada").take()


def test_the_meter_of_an_open_connection_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "_MIN_METERS", 1)
    many = Meters(2, 0)
    held = many.of("ada")
    many.of("grace")  # drops the full one of Ada's
    assert many.of("ada") is held


def test_the_cost_of_a_new_meter_does_not_depend_on_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    class Counted(Meter):
        @property
        def is_full(self) -> bool:
            nonlocal looked
            looked += 1
            return super().is_full

    monkeypatch.setattr(meters, "Meter", Counted)
    monkeypatch.setattr(meters, "_MIN_METERS", 10)
    many = Meters(2, 0)
    for number in range(5000):
        assert many.of(str(number)).take()
    assert looked < 2 * 5000
