from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvers.cache.entries import OVERHEAD_BYTES, OWNERS, Entries, Entry

LIMIT = OWNERS * 4 * (OVERHEAD_BYTES + 100)


def entry(version: str = "1", began: float = 0.0, size: int = 99) -> Entry:
    return Entry(version, b"x" * size, began, began + 60)


def test_an_entry_is_returned_only_for_its_version() -> None:
    entries = Entries(LIMIT)
    entries.put("ada", "a", entry())
    assert entries.get("ada", "a", "1") == entry()
    assert [entries.get(*key) for key in (("ada", "a", "2"), ("ada", "b", "1"), ("grace", "a", "1"))] == [None] * 3
    entries.remove("ada", "a")
    entries.remove("ada", "a")
    assert (entries.get("ada", "a", "1"), entries.memory) == (None, 0)


def test_a_late_entry_does_not_replace_a_newer_one() -> None:
    entries = Entries(LIMIT)
    entries.put("ada", "a", entry("2", began=5))
    for version in ("1", "2"):
        entries.put("ada", "a", entry(version, began=4))
        assert entries.get("ada", "a", "2") == entry("2", began=5)
    entries.put("ada", "a", entry("3", began=6))
    assert entries.get("ada", "a", "3") is not None


@pytest.mark.bound("cache-memory-user")
def test_an_entry_above_a_users_quota_is_not_stored() -> None:
    entries = Entries(LIMIT)
    most = LIMIT // OWNERS - OVERHEAD_BYTES - 1
    for size, number in ((most, 1), (most + 1, 0)):
        entries.put(str(size), "a", entry(size=size))
        assert len(entries) == number
        entries.remove(str(size), "a")


def test_entries_that_are_too_old_are_removed() -> None:
    entries = Entries(LIMIT)
    for number, name in enumerate("abc"):
        entries.put("ada", name, entry(began=number))
    entries.put("grace", "d", entry(began=0.5))
    for now, left in ((59, 4), (60, 3), (61, 1), (62, 0)):
        entries.expire(now)
        assert len(entries) == left
    assert entries.memory == 0


@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("wxyz"), st.integers(0, 3000)), max_size=80))
def test_the_memory_is_bounded_for_each_user_and_for_all(puts: list[tuple[str, str, int]]) -> None:
    entries, began = Entries(LIMIT), 0.0
    for owner, name, size in puts:
        began += 0.1
        entries.put(owner, name, entry(began=began, size=size))
        assert entries.memory <= LIMIT
        if OVERHEAD_BYTES + size + 1 <= LIMIT // OWNERS:
            assert entries.get(owner, name, "1") is not None, "the newest entry stays"
    for owner, name, _ in puts:
        entries.remove(owner, name)
    assert (len(entries), entries.memory) == (0, 0)
