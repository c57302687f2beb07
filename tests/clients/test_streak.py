from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clients.streak import RECENT, Failure, Streak
from clients.window import Outcome

calls = st.lists(
    st.tuples(
        st.sampled_from([Outcome.OK, Outcome.FAILED, Outcome.UNREACHABLE, Outcome.SLOW]),
        st.sampled_from("ab"),
        st.sampled_from([0.0, 1.0, 31.0]),
    ),
    max_size=40,
)


@given(calls)
def test_the_failures_since_the_last_answer_within_the_window_are_counted(made: list[Any]) -> None:
    now = [100.0]
    streak = Streak(30.0, lambda: now[0])
    kept: list[tuple[float, Failure]] = []
    for outcome, caller, later in made:
        now[0] += later
        streak.add(outcome, caller, "read")
        if outcome in {Outcome.OK, Outcome.SLOW}:
            kept.clear()
        else:
            kept.append((now[0], Failure(outcome, caller, "read")))
    expected = [one for at, one in reversed(kept) if at >= now[0] - 30]
    assert streak.failures() == expected[:RECENT]


def test_the_newest_success_of_the_caller_becomes_a_failure() -> None:
    streak = Streak(30.0, lambda: 1.0)
    for caller in "aba":
        streak.add(Outcome.OK, caller, "read")
    streak.fail("a", "read")
    assert [one.caller for one in streak.failures()] == ["a"]
    streak.fail("b", "read")
    assert [one.caller for one in streak.failures()] == ["a", "b"]
    streak.fail("c", "read")
    assert [one.caller for one in streak.failures()] == ["c", "a", "b"]
    streak.clear()
    assert streak.failures() == []
