"""Shares of slots: a total, a bound per owner, and no owner can use the share of another."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.shares import Holding, Shares
from clients.codes import Reason
from clients.errors import Overloaded, RateLimited


def test_an_owner_at_its_share_is_refused_and_others_are_not() -> None:
    shares = Shares(10, 3, unit="open WebSockets", reason=Reason.SOCKETS)
    for _ in range(3):
        shares.take("ada")
    with pytest.raises(RateLimited, match="limit of 3 open WebSockets") as refused:
        shares.take("ada")
    assert (refused.value.reason, refused.value.retry_after_seconds) == ("SOCKETS", 1)
    shares.take("grace")
    shares.give("ada")
    shares.take("ada")


def test_a_new_request_past_the_total_is_refused() -> None:
    shares = Shares(4, 2)
    for owner in ("ada", "ada", "grace", "grace"):
        shares.take(owner)
    with pytest.raises(Overloaded, match="limit of 4 concurrent requests") as refused:
        shares.take("alan")
    assert (refused.value.reason, refused.value.http_status) == ("REQUESTS", 503)


def test_a_share_is_at_most_the_total() -> None:
    shares = Shares(2, 5)
    shares.take("ada")
    shares.take("ada")
    with pytest.raises(RateLimited, match="limit of 2 concurrent requests"):
        shares.take("ada")


STEPS = st.lists(st.tuples(st.sampled_from(["ada", "grace", "alan"]), st.booleans()), max_size=60)


@given(st.integers(1, 12), st.integers(1, 5), STEPS)
def test_shares_refuse_only_when_full(total: int, per_owner: int, steps: list[tuple[str, bool]]) -> None:
    """An owner below its share is refused only if all slots are taken."""
    shares, held = Shares(total, per_owner), Counter[str]()
    for owner, comes in steps:
        if not comes:
            if held[owner]:
                shares.give(owner)
                held[owner] -= 1
            continue
        if held[owner] >= shares.per_owner or held.total() == total:
            with pytest.raises(RateLimited if held[owner] >= shares.per_owner else Overloaded):
                shares.take(owner)
        else:
            shares.take(owner)
            held[owner] += 1
        assert held.total() == shares.taken <= total
        assert all(held[one] == shares.held_by(one) <= shares.per_owner for one in ("ada", "grace", "alan"))


AMOUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=60)


@given(AMOUNTS)
def test_the_taken_slots_are_the_sum_of_all_holdings(steps: list[tuple[int, int]]) -> None:
    """Two owners have three holders each."""
    shares = Shares(90, 60)
    holdings = [Holding(shares, "ada" if number < 3 else "grace") for number in range(6)]
    for number, count in steps:
        before = holdings[number].count
        more = count - before
        if more > 0 and shares.held_by("ada" if number < 3 else "grace") + more > 60:
            with pytest.raises(RateLimited):
                holdings[number].set(count)
        elif more > 0 and shares.taken + more > 90:
            with pytest.raises(Overloaded):
                holdings[number].set(count)
        else:
            holdings[number].set(count)
        held = [holding.count for holding in holdings]
        assert (shares.held_by("ada"), shares.held_by("grace")) == (sum(held[:3]), sum(held[3:]))
        assert shares.taken == sum(held) <= 90
    for holding in holdings:
        holding.set(0)
    assert shares.taken == 0
