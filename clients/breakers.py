"""The circuit breakers of one service and of the service's parts, such as models.

A *part* is a model, or a kind of call on one agent, conversation or run. A part has one breaker for all callers
together, and one for each caller.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from clients.breaker import Breaker, BreakerState, Entry
from clients.opening import OpeningRule
from clients.window import Outcome

MAX_PARTS = 1000
"""The maximum number of breakers for the parts of one service, such as models."""

SERVICE_CALLERS, SERVICE_OPERATIONS, PART_CALLERS = 3, 2, 2
"""How many callers and operations must fail before a circuit breaker opens.

The breaker of a part, such as a model, counts only callers.
"""

BUSY_SECONDS = 1.0
"""The seconds after which a call can be retried that was refused because another process makes a trial call."""


class BreakerKey(NamedTuple):
    """Identifies one of a service's circuit breakers.

    ``part`` is ``None`` for the breaker of the whole service. ``caller`` is ``None`` for a breaker that all callers
    share.
    """

    part: str | None
    caller: str | None


class BreakerNews(Protocol):
    """Shares the state of circuit breakers with other processes."""

    def changed(self, key: BreakerKey, state: BreakerState, seconds: float) -> None:
        """Report that this process has changed a breaker's state.

        ``seconds`` is the time for which an open breaker refuses calls.
        """

    async def may_try(self, key: BreakerKey) -> bool:
        """Return whether this process may make the trial call of a half-open breaker."""

    def trial_ended(self, key: BreakerKey) -> None:
        """Report that this process's trial call has ended, with or without an outcome."""


_SERVICE = BreakerKey(None, None)


class Verdict(Enum):
    """Tells three circuit breakers how a call ended.

    The breakers belong to the service, to the part, and to the part and the caller.
    """

    OK = (Outcome.OK, Outcome.OK, Outcome.OK)
    UNREACHABLE = (Outcome.UNREACHABLE, None, None)
    FAILED = (Outcome.FAILED, Outcome.FAILED, Outcome.FAILED)
    PART_FAILED = (Outcome.OK, Outcome.FAILED, Outcome.FAILED)
    """A part of the service failed, such as a model."""
    MODEL_TIMEOUT = (None, None, Outcome.FAILED)
    """A model did not answer before the caller's deadline."""
    SLOW = (Outcome.SLOW, Outcome.SLOW, Outcome.SLOW)
    REFUSED = (Outcome.REFUSED, Outcome.REFUSED, Outcome.REFUSED)

    @property
    def is_failure(self) -> bool:
        """Whether the call failed, for at least one of the breakers."""
        return bool({Outcome.FAILED, Outcome.UNREACHABLE}.intersection(self.value))


class BreakerRefused(Exception):
    """A circuit breaker refused a call. ``part`` is ``None`` for the breaker of the whole service."""

    def __init__(self, part: str | None, retry_after_seconds: float) -> None:
        super().__init__("breaker open")
        self.part = part
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """A part of a service whose circuit breaker is open or half-open.

    ``state`` is ``OPEN`` if at least one of the part's breakers is open. ``retry_after_seconds`` is the time until all
    of the part's breakers admit a call. ``callers`` is the number of affected callers, or ``None`` if all callers are
    affected.
    """

    part: str
    state: BreakerState
    retry_after_seconds: float
    callers: int | None


class Breakers:
    """The circuit breakers of one service and of the service's parts, such as models.

    ``on_change`` receives a breaker's key and new state. ``OpeningRule`` and ``Breaker`` document the other arguments.

    Attributes:
        reset_seconds: the longest time for which an open breaker refuses calls.
    """

    def __init__(
        self,
        *,
        failures: int,
        calls: int,
        window_seconds: float,
        reset_seconds: float,
        on_change: Callable[[BreakerKey, BreakerState], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reset_seconds = reset_seconds
        self._on_change = on_change
        self._news: BreakerNews | None = None
        self._is_applying = False
        self._new = partial(Breaker, window_seconds=window_seconds, reset_seconds=reset_seconds, clock=clock)
        self._rule = partial(OpeningRule, failures=failures, calls=calls)
        self._service = self._make(_SERVICE, self._rule(callers=SERVICE_CALLERS, operations=SERVICE_OPERATIONS))
        self._parts: dict[BreakerKey, Breaker] = {}

    @property
    def service_state(self) -> BreakerState:
        """The state of the breaker for the whole service. The property is thread-safe."""
        return self._service.state

    @property
    def service_wait(self) -> float:
        """The seconds until the whole service's breaker admits a call."""
        return self._service.wait()

    def __len__(self) -> int:
        return len(self._parts)

    def wait(self, part: str, caller: str) -> float:
        """Return the seconds until the breakers admit a caller's call of a part."""
        found = [self._parts[key] for key in _keys(part, caller) if key in self._parts]
        return max(breaker.wait() for breaker in (self._service, *found))

    def enter(self, part: str, caller: str, operation: str) -> "Permit":
        """Return a permit for a call. The caller must release the permit afterwards. Raises BreakerRefused."""
        if (wait := self._service.wait()) > 0:
            raise BreakerRefused(None, wait)
        keys = _keys(part, caller) if self._parts else ()
        levels = {key: breaker for key in keys if (breaker := self._parts.get(key)) is not None}
        if levels and (wait := max(breaker.wait() for breaker in levels.values())) > 0:
            raise BreakerRefused(part, wait)
        entered = {key: (breaker, breaker.enter()) for key, breaker in levels.items()}
        return Permit(self, (self._service, self._service.enter()), entered, (part, caller, operation))

    @property
    def are_shared(self) -> bool:
        """Whether other processes know the breakers' states, so that permits need ``confirm``."""
        return self._news is not None

    def share(self, news: BreakerNews) -> None:
        """Share the breakers' states with other processes."""
        self._news = news

    def apply(self, key: BreakerKey, state: BreakerState, seconds: float = 0.0) -> None:
        """Apply a breaker's state that another process has reported.

        Only ``OPEN``, for ``seconds``, and ``CLOSED`` are applied, because each process makes its own trial calls.
        """
        breaker = self._service if key == _SERVICE else self._parts.get(key)
        if breaker is None and state is BreakerState.OPEN:
            breaker = self.of_part(key, make=True, by=key.caller or "")
        if breaker is None or breaker.state is state:
            return
        self._is_applying = True
        try:
            if state is BreakerState.OPEN:
                breaker.open(seconds)
            elif state is BreakerState.CLOSED:
                breaker.close()
        finally:
            self._is_applying = False

    def opened(self) -> dict[BreakerKey, float]:
        """Return the open breakers, and the seconds for which each breaker refuses calls."""
        breakers = {_SERVICE: self._service, **self._parts}
        return {key: breaker.wait() for key, breaker in breakers.items() if breaker.state is BreakerState.OPEN}

    def trial_ended(self, key: BreakerKey) -> None:
        """Tell other processes that the trial call of a half-open breaker has ended."""
        if self._news is not None:
            self._news.trial_ended(key)

    async def confirm(self, permit: "Permit") -> None:
        """Ask whether this process may make the trial calls of a permit.

        Raises BreakerRefused if another process makes the trial call. The caller must then release the permit.
        """
        if self._news is None:
            return
        for key in permit.trials():
            if not await self._news.may_try(key):
                raise BreakerRefused(key.part, BUSY_SECONDS)

    def of_part(self, key: BreakerKey, *, make: bool, by: str) -> Breaker | None:
        """Return the circuit breaker for a part of the service and a caller.

        If ``make`` is true and no breaker exists, the method creates one for the caller ``by``.
        """
        breaker = self._parts.pop(key, None)
        if breaker is None:
            if not make:
                return None
            self._make_room(by)
            breaker = self._make(key, self._rule(callers=PART_CALLERS if key.caller is None else 1))
        self._parts[key] = breaker  # the most recently used breaker is the last
        return breaker

    def parts(self) -> list[PartState]:
        """Return the service's parts whose circuit breakers are open or half-open."""
        for key in [key for key, breaker in self._parts.items() if breaker.is_stale]:
            del self._parts[key]
        found: dict[str, list[tuple[str | None, Breaker]]] = {}
        for (part, caller), breaker in self._parts.items():
            if part is not None and breaker.state is not BreakerState.CLOSED:
                found.setdefault(part, []).append((caller, breaker))
        return [_part_state(part, breakers) for part, breakers in found.items()]

    def open_parts(self) -> int:
        """Count the service's parts whose circuit breakers are open. The method is thread-safe."""
        breakers = list(self._parts.items())
        return len({part for (part, _), breaker in breakers if breaker.state is BreakerState.OPEN})

    def _make_room(self, caller: str) -> None:
        """Evict a breaker if there are too many.

        Closed breakers are evicted first, and then the caller's breakers.
        """
        if len(self._parts) < MAX_PARTS:
            return
        closed = (key for key, breaker in self._parts.items() if breaker.state is BreakerState.CLOSED)
        own = (key for key in self._parts if key.caller == caller)
        del self._parts[next(closed, None) or next(own, None) or next(iter(self._parts))]

    def _make(self, key: BreakerKey, rule: OpeningRule) -> Breaker:
        return self._new(rule, on_change=partial(self._changed, key))

    def _changed(self, key: BreakerKey, state: BreakerState, seconds: float) -> None:
        self._on_change(key, state)
        if self._news is not None and not self._is_applying:
            self._news.changed(key, state, seconds)


class Permit:
    """The circuit breakers' permission for one call.

    The breakers ignore a call whose permit is released without a report.
    """

    __slots__ = ("_breakers", "_caller", "_is_reported", "_operation", "_part", "_parts", "_service")

    def __init__(
        self,
        breakers: Breakers,
        service: tuple[Breaker, Entry],
        parts: dict[BreakerKey, tuple[Breaker, Entry]],
        call: tuple[str, str, str],
    ) -> None:
        self._breakers = breakers
        self._service = service
        self._parts = parts
        self._part, self._caller, self._operation = call
        self._is_reported = False

    def report(self, verdict: Verdict) -> None:
        """Record whether the call succeeded. Later reports are ignored."""
        if self._is_reported:
            return
        self.release()
        self._is_reported = True
        of_service, for_all, for_caller = verdict._value_  # the property ``value`` is five times as slow
        if of_service is not None:
            breaker, entry = self._service
            breaker.record(entry.generation, of_service, self._caller, self._operation)
            entry.generation = breaker.generation
        if (verdict is Verdict.OK or verdict is Verdict.REFUSED) and not self._breakers:
            return  # a part without failures has no breaker
        for key, outcome in zip(_keys(self._part, self._caller), (for_all, for_caller), strict=True):
            if outcome is not None:
                self._record(key, outcome)

    def report_cut(self) -> None:
        """Replace the call's reported success with a failure, because the service's answer broke off later."""
        breaker, entry = self._service
        breaker.record_cut(entry.generation, self._caller, self._operation)
        for key in _keys(self._part, self._caller):
            if key in self._parts:
                part, entered = self._parts[key]
                part.record_cut(entered.generation, self._caller, self._operation)
            else:
                self._record(key, Outcome.FAILED)

    def trials(self) -> list[BreakerKey]:
        """Return the half-open breakers whose trial call this call is."""
        held = [(_SERVICE, self._service), *self._parts.items()]
        return [key for key, (breaker, entry) in held if breaker.is_trial(entry)]

    def release(self) -> None:
        """Release the permit when the call has ended. A half-open breaker can then admit another trial call."""
        if self._is_reported:
            return  # ``report`` has released it
        breaker, entry = self._service
        if breaker.leave(entry):
            self._breakers.trial_ended(_SERVICE)
        for key, (part, entered) in self._parts.items():
            if part.leave(entered):
                self._breakers.trial_ended(key)

    def _record(self, key: BreakerKey, outcome: Outcome) -> None:
        breaker, entry = self._parts.get(key, (None, Entry(0)))
        make = breaker is None and outcome in {Outcome.FAILED, Outcome.SLOW}
        current = self._breakers.of_part(key, make=make, by=self._caller)
        if (counting := breaker or current) is not None:
            counting.record(entry.generation, outcome, self._caller, self._operation)
            entry.generation = counting.generation


def _keys(part: str, caller: str) -> tuple[BreakerKey, BreakerKey]:
    return BreakerKey(part, None), BreakerKey(part, caller)


def _part_state(part: str, breakers: list[tuple[str | None, Breaker]]) -> PartState:
    for_all = any(caller is None for caller, _ in breakers)
    is_open = any(breaker.state is BreakerState.OPEN for _, breaker in breakers)
    return PartState(
        part=part,
        state=BreakerState.OPEN if is_open else BreakerState.HALF_OPEN,
        retry_after_seconds=round(max(breaker.wait() for _, breaker in breakers), 1),
        callers=None if for_all else len(breakers),
    )
