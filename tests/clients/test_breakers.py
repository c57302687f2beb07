from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import breakers as breakers_module
from clients.breaker import TRIAL_SECONDS, BreakerState
from clients.breakers import BreakerKey, BreakerRefused, Breakers, Permit, Verdict

WINDOW, RESET = 30.0, 10.0
SENT = [Verdict.FAILED, Verdict.PART_FAILED, Verdict.MODEL_TIMEOUT, Verdict.SLOW]


class World:
    """The breakers of a service, with a clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.changes: list[tuple[str | None, str]] = []
        self.breakers = Breakers(
            failures=5,
            calls=20,
            window_seconds=WINDOW,
            reset_seconds=RESET,
            on_change=lambda key, state: self.changes.append((key.part, state.value)),
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
        world.calls(5, Verdict.MODEL_TIMEOUT, caller)
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


@pytest.mark.parametrize("failures", [4, 5])
def test_consecutive_failures_open_after_any_number_of_successes(world: World, failures: int) -> None:
    world.calls(1000, Verdict.OK)
    world.calls(4, Verdict.FAILED)
    world.call(Verdict.OK)
    world.calls(failures, Verdict.FAILED)
    assert world.admits() is (failures == 4)


@pytest.mark.parametrize("calls", [19, 20])
def test_a_failure_rate_needs_twenty_calls(world: World, calls: int) -> None:
    world.call(Verdict.FAILED)
    for number in range(calls - 2):
        world.call(Verdict.OK if number % 2 else Verdict.FAILED)
    world.call(Verdict.FAILED)
    assert world.admits() is (calls == 19)


def test_consecutive_failures_of_one_caller_do_not_open_the_part_for_all(world: World) -> None:
    world.calls(100, Verdict.OK, "b")
    world.calls(50, Verdict.PART_FAILED, "a")
    assert world.admits("b")
    assert not world.admits("a")


def test_consecutive_failures_open_the_service_unless_another_operation_works(world: World) -> None:
    def fail(rounds: int) -> None:
        for caller in "abc" * rounds:
            for operation in ("agent", "runs"):
                world.call(Verdict.FAILED, caller, f"{operation}:{caller}", operation)

    world.call(Verdict.FAILED, "d", "chat")
    for caller in "abcdefgh" * 5:
        for operation in ("agent", "runs", "chat"):
            world.call(Verdict.OK, caller, f"{operation}:{caller}", operation)
    fail(1)
    assert world.service_state() is BreakerState.CLOSED, "chat works"
    world.call(Verdict.FAILED, "d", "chat")
    assert world.service_state() is BreakerState.OPEN


def test_a_slow_answer_counts_in_the_rate_and_ends_a_sequence_of_failures(world: World) -> None:
    world.calls(19, Verdict.SLOW)
    assert world.admits()
    world.call(Verdict.SLOW)
    assert not world.admits()
    other = World()
    for _ in range(3):
        other.calls(4, Verdict.FAILED)
        other.call(Verdict.SLOW)
    assert other.admits()


def test_slow_answers_of_one_caller_do_not_open_the_part_for_all(world: World) -> None:
    world.calls(100, Verdict.SLOW)
    assert world.admits("b")
    for caller in "bcd":
        world.calls(10, Verdict.SLOW, caller)
    assert not world.admits("e")


def test_a_slow_trial_call_opens_the_breaker_again(world: World) -> None:
    world.calls(5, Verdict.FAILED)
    world.now += RESET
    assert world.call(Verdict.SLOW)
    assert not world.admits()


def test_refusals_do_not_count_and_a_refused_trial_call_closes_the_breaker(world: World) -> None:
    for _ in range(5):
        world.calls(100, Verdict.REFUSED)
        world.call(Verdict.FAILED)
    assert not world.admits()
    world.now += RESET
    assert world.call(Verdict.REFUSED)
    assert world.admits()
    assert len(World().breakers) == 0


def test_cut_streams_in_a_row_open_although_they_open_before_they_are_cut(world: World) -> None:
    world.calls(100, Verdict.OK)
    permits = [world.enter() for _ in range(5)]
    for permit in permits:
        permit.report(Verdict.OK)
    for permit in permits:
        assert world.admits()
        permit.report_cut()
        permit.release()
    assert not world.admits()


class News:
    """Records a process's breaker changes, and answers whether the process may make trial calls."""

    def __init__(self) -> None:
        self.changes: list[tuple[BreakerKey, str, float]] = []
        self.asked: list[BreakerKey] = []
        self.allows = True
        self.ended: list[BreakerKey] = []

    def changed(self, key: BreakerKey, state: BreakerState, seconds: float) -> None:
        self.changes.append((key, state.value, seconds))

    async def may_try(self, key: BreakerKey) -> bool:
        self.asked.append(key)
        return self.allows

    def trial_ended(self, key: BreakerKey) -> None:
        self.ended.append(key)


SERVICE, OF_CALLER = BreakerKey(None, None), BreakerKey("p", "a")


def test_a_change_is_shared_with_its_key_and_its_seconds(world: World) -> None:
    news = News()
    world.breakers.share(news)
    world.calls(5, Verdict.FAILED)
    world.calls(5, Verdict.UNREACHABLE, "b")
    assert news.changes == [(OF_CALLER, "open", RESET), (SERVICE, "open", RESET)]


@pytest.mark.parametrize("key", [SERVICE, BreakerKey("p", None), OF_CALLER])
def test_a_state_of_another_process_is_applied_and_not_shared_again(world: World, key: BreakerKey) -> None:
    news = News()
    world.breakers.share(news)
    world.breakers.apply(key, BreakerState.OPEN, 3.0)
    assert not world.admits()
    assert world.admits("b", "q") is (key != SERVICE)
    assert news.changes == []
    world.now += 3
    assert world.admits()
    world.breakers.apply(key, BreakerState.OPEN, 1000.0)
    assert not world.admits()
    world.now += RESET
    assert world.admits(), "a long time is limited to the reset time"
    world.breakers.apply(key, BreakerState.CLOSED)
    permits = [world.enter() for _ in range(3)]
    assert not any(permit.trials() for permit in permits)
    assert {state for _, state, _ in news.changes} == {"half-open"}


def test_a_closed_state_of_another_process_makes_no_breaker(world: World) -> None:
    world.breakers.apply(OF_CALLER, BreakerState.CLOSED)
    world.breakers.apply(OF_CALLER, BreakerState.HALF_OPEN)
    assert (len(world.breakers), world.changes) == (0, [])


async def test_only_a_trial_call_asks_whether_another_process_makes_one(world: World) -> None:
    news = News()
    world.breakers.share(news)
    permit = world.enter()
    await world.breakers.confirm(permit)
    permit.release()
    assert news.asked == []
    world.calls(5, Verdict.FAILED)
    world.calls(5, Verdict.UNREACHABLE, "b")
    world.now += RESET
    news.allows = False
    trial = world.enter()
    with pytest.raises(BreakerRefused) as caught:
        await world.breakers.confirm(trial)
    assert caught.value.retry_after_seconds == 1.0
    trial.release()
    assert news.ended == [SERVICE, OF_CALLER]
    news.allows, news.asked = True, []
    trial = world.enter()
    await world.breakers.confirm(trial)
    assert news.asked == [SERVICE, OF_CALLER]
    trial.report(Verdict.OK)
    assert [state for _, state, _ in news.changes[-2:]] == ["closed", "closed"]


async def test_the_end_of_a_trial_call_is_shared_even_without_an_outcome(world: World) -> None:
    news = News()
    world.breakers.share(news)
    world.calls(5, Verdict.FAILED)
    world.now += RESET
    for verdict in (None, Verdict.FAILED):
        news.ended.clear()
        assert world.call(verdict)
        assert news.ended == [OF_CALLER]
    assert not world.admits()


def test_the_open_breakers_are_listed_with_their_seconds(world: World) -> None:
    assert world.breakers.opened() == {}
    world.calls(5, Verdict.FAILED)
    world.now += 4
    world.calls(5, Verdict.UNREACHABLE, "b")
    assert world.breakers.opened() == {SERVICE: RESET, OF_CALLER: RESET - 4}
    world.now += RESET - 4
    assert world.breakers.opened() == {SERVICE: 4}


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


def test_a_breaker_does_not_expire_during_its_trial_call(world: World) -> None:
    world.calls(5, Verdict.FAILED)
    world.now += RESET
    trial = world.enter()
    world.now += WINDOW + 1
    assert [part.state for part in world.breakers.parts()] == [BreakerState.HALF_OPEN]
    trial.report(Verdict.FAILED)
    assert not world.admits()


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
        world.calls(5, Verdict.MODEL_TIMEOUT, "ada", f"model:{number}")
    for number in range(100):
        world.calls(5, Verdict.MODEL_TIMEOUT, "grace", f"model:other {number}")
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
        if verdict_ in {Verdict.UNREACHABLE, Verdict.REFUSED}:
            continue
        if world.call(verdict_, caller, part) and verdict_ is Verdict.PART_FAILED:
            failed.setdefault(part, set()).add(caller)
        if not world.admits("other", part):
            assert len(failed[part]) >= 2
