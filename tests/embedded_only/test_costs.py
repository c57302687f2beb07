"""What requests cost, in counts that do not depend on the machine's load: no test here measures time.

If a figure has changed on purpose, ``make costs`` writes the new one.
"""

from __future__ import annotations

import sys

import pytest

from tests.support.costs import PYTHON, REQUESTS, kept, measured

MOST_DEVIATION = 0.05


@pytest.mark.needs_redis
@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason="other versions of Python have other bytecode")
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_costs_what_it_did(name: str, redis_url: str) -> None:
    expected, found = kept()[name], await measured(REQUESTS[name], redis_url)
    told = f"{name} costs {found}, and {expected} in tests/support/costs.csv: `make costs` writes the new figure"
    assert found.calls == expected.calls, told
    assert found.round_trips == pytest.approx(expected.round_trips, rel=MOST_DEVIATION), told
    assert found.instructions == pytest.approx(expected.instructions, rel=MOST_DEVIATION), told


def test_every_kept_figure_belongs_to_a_request() -> None:
    assert set(kept()) == set(REQUESTS)
