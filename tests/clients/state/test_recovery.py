from __future__ import annotations

import pytest

from clients.state.errors import StateCause, StateUnavailable
from clients.state.recovery import RECOVERY_SECONDS, Recovery


async def _at_once(within: float) -> bool:
    return within == RECOVERY_SECONDS


@pytest.mark.parametrize("cause", StateCause)
async def test_only_an_outage_is_waited_for(cause: StateCause) -> None:
    ends = cause in {StateCause.CONNECTION, StateCause.TIMEOUT, StateCause.READ_ONLY, StateCause.LOADING}
    assert await Recovery(_at_once).after(StateUnavailable(cause)) is ends


async def test_a_request_does_not_wait_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("clients.state.recovery.time.monotonic", lambda: now)
    one, error = Recovery(_at_once), StateUnavailable(StateCause.READ_ONLY)
    assert await one.after(error)
    now += RECOVERY_SECONDS
    assert not await one.after(error)
    one.succeeded()
    assert await one.after(error)
