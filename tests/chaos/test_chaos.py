"""Short versions of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import mutations, soak, streams

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(240)]


async def test_readers_lose_no_events_if_gateways_are_killed(tmp_path: Path) -> None:
    result = await streams.run(tmp_path, streams=20, tokens=100, delay=0.02, seconds=10, every=2.5)
    assert result.is_exact, result.lines()
    assert result.kills >= 2
    assert result.turns
    assert result.completions


async def test_mutations_with_keys_happen_once_while_redis_and_gateways_are_killed(tmp_path: Path) -> None:
    result = await mutations.run(tmp_path, mutations=150, gateway_every=2, redis_every=3)
    assert result.is_exact, result.lines()
    assert result.kills["gateway"]
    assert result.kills["redis"]


async def test_resources_do_not_grow_under_mixed_load_with_faults(tmp_path: Path) -> None:
    result = await soak.run(tmp_path, warm_seconds=10, seconds=50)
    assert not result.grown, result.lines()
    assert not result.answers.internal, result.lines()
    assert result.answers.codes["ok"]
