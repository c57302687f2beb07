"""The ids that are remembered from pages and from created objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resolvers.recent_ids import CreatedIds, ShownIds

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
BOUNDS: list[dict[str, Any]] = [{"each": 3}, {"in_all": 3}]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.mark.bound("made")
@pytest.mark.parametrize(("count", "knows"), [(3, True), (4, False)])
@pytest.mark.parametrize("bound", BOUNDS)
def test_created_ids_are_known_until_one_is_evicted(bound: dict[str, Any], count: int, knows: bool) -> None:
    made = CreatedIds(**bound, clock=Clock())
    for number in range(count):
        made.add("ada", str(number))
    assert made.has("ada", str(count - 1))
    assert made.has("ada", "0") is knows
    assert made.knows_all("ada", "agent-1", BEGAN) is knows
    assert made.knows_all("ada", "agent-1", BEGAN + timedelta(seconds=2))


@pytest.mark.parametrize("bound", BOUNDS)
def test_created_ids_of_one_user_do_not_evict_those_of_another(bound: dict[str, Any]) -> None:
    made = CreatedIds(**bound, clock=Clock())
    made.add("ada", "mine")
    for number in range(100):
        made.add("grace", str(number))
    assert made.has("ada", "mine")
    assert made.knows_all("ada", "agent-1", BEGAN)
    assert not made.has("grace", "mine")
    assert sum(made.has("grace", str(number)) for number in range(100)) <= 3


def test_created_ids_expire() -> None:
    clock = Clock()
    made = CreatedIds(each=3, kept_for=timedelta(minutes=1), clock=clock)
    made.add("ada", "early")
    clock.now += timedelta(minutes=2)
    made.add("grace", "late")
    assert not made.has("ada", "early")
    assert not made.knows_all("ada", "agent-1", BEGAN)
    assert made.knows_all("ada", "agent-1", clock.now - timedelta(seconds=30))


def test_during_a_creation_not_all_ids_are_known() -> None:
    made = CreatedIds(clock=Clock())
    with made.creating("agent-1"):
        assert not made.knows_all("ada", "agent-1", BEGAN)
        assert made.knows_all("ada", "agent-2", BEGAN)
    assert made.knows_all("ada", "agent-1", BEGAN)


def test_shown_ids_of_one_user_do_not_evict_those_of_another() -> None:
    shown = ShownIds(in_all=100, each=10)
    shown.add("ada", "conv-1", "message-1", "otid")
    for number in range(50):
        shown.add("grace", "conv-2", f"message-{number}")
    assert shown.find("ada", "conv-1", "otid") == "message-1"
    assert shown.has("grace", "conv-2", "message-49")
    assert not shown.has("grace", "conv-2", "message-1")
    assert shown.find("grace", "conv-1", "otid") is None
