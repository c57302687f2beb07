from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import breakers as breakers_module
from clients.breaker import TRIAL_SECONDS, BreakerState
from clients.breakers import BreakerRefused, Breakers, Permit, Verdict

WINDOW, RESET = 30.0, 10.0
SENT = [Verdict.FAILED, Verdict.PART_FAILED, Verdict.SLOW]


class World:
    """The breakers of a service, with a clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.changes: list[tuple[str | None, str]] = []
        self.breakers = Breakers(
            failures=5,
            window_seconds=WINDOW,
            reset_seconds=RESET,
            on_change=lambda part, state: self.changes.append((part, state.value)),
            clock=lambda: self.now,
        )

    def enter(self, caller: str = "a", part: str = "p", operation: str | None = None) -> Permit:
        return self.breakers.enter(part, caller, operation or part)

    def call(self, verdict: Verdict | None, caller: str = "a", part: str = "p", operation: str | None = None) -> bool:
        """Make one call. Returns whether it was admitted."""
        try:
            permit = self.enter(caller, part, operation)
        except BreakerRefused:
            return False
        if verdict is not None:
            permit.report(verdict)
        permit.release()
        return True

    def calls(self, count: int, verdict: Verdict, caller: str = "a", part: str = "p") -> None:
        for _ in range(count):
            self.call(verdict, caller, part)

    def service_state(self) -> BreakerState:
        return self.breakers.service_state

    def admits(self, caller: str = "a", part: str = "p") -> bool:
        return self.call(None, caller, part)


@pytest.fixture
def world() -> World:
    return World()


def test_five_failures_open_the_part_for_their_caller_alone(world: World) -> None:
    for verdict in (Verdict.FAILED, Verdict.PART_FAILED) * 2:
        assert world.call(verdict)
    assert world.admits()
    assert world.call(Verdict.FAILED)
    assert not world.admits()
    assert world.admits(part="q")
    assert world.admits(caller="b")
    [part] = world.breakers.parts()
    assert (part.part, part.state, part.callers) == ("p", BreakerState.OPEN, 1)
    assert part.retry_after_seconds == RESET
    assert world.breakers.open_parts() == 1
    assert world.changes == [("p", "open")]


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.PART_FAILED])
def test_failures_of_two_callers_open_the_part_for_all(world: World, verdict: Verdict) -> None:
    for caller in ("a", "b", "a", "b", "a"):
        assert world.call(verdict, caller)
    assert not world.admits("c")
    assert world.admits("c", part="q")
    assert world.breakers.parts()[0].callers is None


def test_many_failures_of_one_caller_and_one_of_another_do_not_open_the_part_for_all(world: World) -> None:
    world.call(Verdict.FAILED, "b")
    world.calls(9, Verdict.OK, "b")
    world.calls(50, Verdict.FAILED, "a")
    assert world.admits("b")
    assert world.admits("c")


def test_one_caller_counts_for_about_half_of_the_failures_if_two_are_required(world: World) -> None:
    world.calls(5, Verdict.FAILED, "a")
    world.call(Verdict.FAILED, "b")
    assert world.admits("b")
    assert world.admits("c")
    world.call(Verdict.FAILED, "b")
    assert not world.admits("c")


def test_timeouts_of_a_model_open_its_breaker_for_their_caller_alone(world: World) -> None:
    for caller in "abcdef":
        world.calls(5, Verdict.SLOW, caller)
    assert not world.admits("a")
    assert world.admits("g")
    assert world.service_state() is BreakerState.CLOSED


def test_failed_connections_of_one_caller_open_the_service(world: World) -> None:
    for _ in range(5):
        assert world.call(Verdict.UNREACHABLE)
    assert not world.admits("b", part="q")
    assert world.breakers.service_wait == RESET
    assert len(world.breakers) == 0


def test_failures_of_three_callers_in_two_operations_open_the_service(world: World) -> None:
    for caller in "abcdef":
        world.call(Verdict.FAILED, caller, part=f"agent:{caller}", operation="agent")
    assert world.service_state() is BreakerState.CLOSED
    world.call(Verdict.FAILED, "a", part="runs", operation="runs")
    assert world.service_state() is BreakerState.OPEN
    assert not world.admits("z", part="other")


@pytest.mark.parametrize("works", [True, False])
def test_a_working_operation_keeps_the_service_closed(world: World, works: bool) -> None:
    for caller in "abc":
        world.call(Verdict.OK, caller, part="chat")  # before the first failure: does not count
    for caller in "abcdef":
        for part in ("models", "model.details"):
            world.call(Verdict.FAILED, caller, part=part)
        if works:
            world.call(Verdict.OK, caller, part="chat")
    assert world.admits("z", part="chat") is works
    assert not world.admits("z", part="models")


def test_failures_of_one_model_do_not_open_the_service(world: World) -> None:
    for caller in "abcdef" * 3:
        world.call(Verdict.FAILED, caller, part="model:m")
    assert world.service_state() is BreakerState.CLOSED


@pytest.mark.parametrize(("failing", "opens"), [(10, True), (6, True), (5, True), (4, False)])
def test_a_failure_rate_opens_and_one_success_does_not_reset_it(failing: int, opens: bool) -> None:
    """``failing`` of each ten calls fail, spread evenly."""
    for verdict in (Verdict.FAILED, Verdict.UNREACHABLE):
        world = World()
        admitted = 0
        for number in range(100):
            fails = number * failing // 10 != (number + 1) * failing // 10
            admitted += world.call(verdict if fails else Verdict.OK)
            world.now += 0.1
        assert (admitted < 100) is opens


def test_failures_expire(world: World) -> None:
    world.calls(4, Verdict.FAILED)
    world.now += WINDOW + 1
    world.calls(4, Verdict.FAILED)
    assert world.admits()


def test_a_stream_that_was_cut_counts_as_a_failure_instead_of_a_success(world: World) -> None:
    for _ in range(5):
        permit = world.enter()
        permit.report(Verdict.OK)
        permit.report_cut()
        permit.release()
    assert not world.admits()


def test_a_trial_that_succeeds_closes_and_one_that_fails_opens_again(world: World) -> None:
    world.calls(5, Verdict.FAILED)
    world.now += RESET
    assert world.breakers.parts()[0].state is BreakerState.HALF_OPEN
    assert world.breakers.open_parts() == 0
    assert world.call(Verdict.FAILED)
    assert not world.admits()
    world.now += RESET
    assert world.call(Verdict.OK)
    assert world.breakers.parts() == []
    assert world.changes == [("p", state) for state in ("open", "half-open", "open", "half-open", "closed")]


def test_half_open_admits_one_trial_call_at_a_time_and_another_after_a_slow_one(world: World) -> None:
    world.calls(5, Verdict.UNREACHABLE)
    world.now += RESET
    slow = world.enter()
    assert not world.admits("b")
    world.now += TRIAL_SECONDS
    assert world.call(Verdict.OK, "b")
    slow.report(Verdict.UNREACHABLE)
    assert world.admits("b")


def test_a_call_that_another_breaker_refuses_is_not_a_trial_call(world: World) -> None:
    world.calls(5, Verdict.UNREACHABLE)
    world.now += RESET
    world.calls(20, Verdict.FAILED)  # none is admitted
    assert not world.admits()
    assert world.call(Verdict.OK, "b")
    assert world.service_state() is BreakerState.CLOSED


def test_one_caller_does_not_reopen_a_breaker_for_all(world: World) -> None:
    for caller in ("a", "b", "a", "b", "a"):
        world.call(Verdict.FAILED, caller)
    world.now += RESET
    assert world.call(Verdict.FAILED, "a")
    assert world.call(Verdict.OK, "c")
    assert world.breakers.parts() == []


def test_breakers_of_unused_parts_expire(world: World) -> None:
    world.calls(5, Verdict.FAILED)
    world.now += RESET + WINDOW + 1
    assert world.breakers.parts() == []
    assert len(world.breakers) == 0


@pytest.mark.bound("breaker-parts")
def test_the_breakers_of_parts_are_bounded_and_closed_ones_are_evicted_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers_module, "MAX_PARTS", 10)
    world.calls(5, Verdict.FAILED, part="open")
    for number in range(100):
        world.call(Verdict.FAILED, part=f"agent:{number}")
        world.call(Verdict.OK, part=f"fine:{number}")
    assert len(world.breakers) == 10
    assert not world.admits(part="open")


def test_open_breakers_of_one_caller_do_not_evict_those_of_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers_module, "MAX_PARTS", 10)
    for number in range(4):
        world.calls(5, Verdict.SLOW, "ada", f"model:{number}")
    for number in range(100):
        world.calls(5, Verdict.SLOW, "grace", f"model:other {number}")
    assert len(world.breakers) == 10
    assert not any(world.admits("ada", f"model:{number}") for number in range(4))


def test_a_success_makes_no_breaker(world: World) -> None:
    world.call(Verdict.OK)
    world.call(Verdict.UNREACHABLE)
    assert len(world.breakers) == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["model:m", "model:n", "agent", "runs"]),
        st.sampled_from([*Verdict, None]),
        st.sampled_from([0.0, 0.0, 0.3, 2.0, RESET, WINDOW]),
    ),
    max_size=120,
)


@given(steps)
def test_failures_of_one_caller_never_refuse_another_unless_nothing_was_sent(calls: list[Any]) -> None:
    world = World()
    for caller, part, verdict, later in calls:
        world.now += later
        if caller == "a" and verdict is not Verdict.UNREACHABLE:
            world.call(verdict, caller, part)
        else:
            assert world.call(Verdict.OK, caller, part)


@given(steps)
def test_a_trial_call_is_admitted_after_the_reset(calls: list[Any]) -> None:
    world = World()
    for caller, part, verdict, later in calls:
        world.now += later
        world.call(verdict, caller, part)
    for caller in "abcde":
        for part in ("model:m", "model:n", "agent", "runs", "new"):
            world.now += RESET
            assert world.call(Verdict.OK, caller, part)


@given(steps, st.randoms(use_true_random=False))
def test_calls_under_way_free_everything_when_they_end(calls: list[Any], chance) -> None:  # type: ignore[no-untyped-def]
    world = World()
    under_way: list[tuple[Permit, Verdict | None]] = []
    waits: list[float] = []
    for caller, part, verdict, later in calls:
        world.now += later
        try:
            under_way.append((world.enter(caller, part), verdict))
        except BreakerRefused as refused:
            waits.append(refused.retry_after_seconds)
        while under_way and chance.random() < 0.5:
            permit, reported = under_way.pop(chance.randrange(len(under_way)))
            if reported is not None:
                permit.report(reported)
            permit.release()
    for permit, _ in under_way:
        permit.release()
    assert all(0 < wait <= RESET for wait in waits)
    world.now += RESET
    for caller in "abcd":
        for part in ("model:m", "model:n", "agent", "runs"):
            assert world.admits(caller, part)


@given(steps)
def test_only_failures_of_two_others_refuse_a_caller_without_failures(calls: list[Any]) -> None:
    """Failed connections, and failures of the whole service, refuse it too."""
    world = World()
    failed: dict[str, set[str]] = {}
    for caller, part, verdict, later in calls:
        world.now += later
        verdict_ = Verdict.PART_FAILED if verdict in SENT else verdict
        if verdict_ is Verdict.UNREACHABLE:
            continue
        if world.call(verdict_, caller, part) and verdict_ is Verdict.PART_FAILED:
            failed.setdefault(part, set()).add(caller)
        if not world.admits("other", part):
            assert len(failed[part]) >= 2
