"""Weights of requests: the most expensive kind weighs one, cheaper kinds weigh a fraction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.weights import MANY, MAX_OWNERS, REQUEST_WORK, Weights, work_of


def test_work_grows_with_calls_and_bytes() -> None:
    assert work_of(0, 0) == REQUEST_WORK
    assert work_of(52, 150_000) > 50 * work_of(1, 40)


def test_many_cheap_requests_do_not_hide_expensive_ones() -> None:
    weights = Weights()
    for _ in range(20):
        weights.add("ada", 110.0)
    for _ in range(1000):
        weights.add("grace", 1.0)
    assert weights.of("ada", 0) > 0.9
    assert weights.of("grace", 0) < 0.05


def test_an_owner_with_many_requests_in_flight_is_not_cheap() -> None:
    weights = Weights()
    weights.add("ada", 100.0)
    weights.add("grace", 1.0)
    assert weights.of("grace", MANY - 1) < 0.5
    assert weights.of("grace", MANY) == 1.0


def test_an_unknown_owner_counts_as_one() -> None:
    weights = Weights()
    assert (weights.of("ada", 0), weights.knows("ada")) == (1.0, False)
    weights.add("grace", 1.0)
    assert (weights.of("ada", 0), weights.knows("grace")) == (1.0, True)


def test_the_weight_of_an_owner_rises_soon_with_expensive_requests() -> None:
    weights = Weights()
    for _ in range(50):
        weights.add("ada", 1.0)
        weights.add("grace", 100.0)
    assert weights.of("ada", 0) < 0.05
    for _ in range(4):
        weights.add("ada", 100.0)
    assert weights.of("ada", 0) > 0.5


@pytest.mark.bound("weights")
def test_the_least_recently_seen_owner_is_evicted_first() -> None:
    weights = Weights()
    for number in range(MAX_OWNERS):
        weights.add(f"user{number}", 1.0)
    weights.add("user0", 1.0)
    assert weights.knows("user1")
    weights.add("one more", 1.0)
    assert (weights.knows("user0"), weights.knows("user1")) == (True, False)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(REQUEST_WORK, 1e5))), st.integers(0, 20))
def test_a_weight_is_between_nothing_and_one(requests: list[tuple[str, float]], ticks: int) -> None:
    weights = Weights()
    for owner, work in requests:
        weights.add(owner, work)
    for _ in range(ticks):
        weights.fade()
    for owner in "abcd":
        assert 0 < weights.of(owner, 0) <= 1
