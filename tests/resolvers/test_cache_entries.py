from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.stored import Stored, Unreadable
from resolvers.cache.entries import DECODED_FACTOR, DECODED_SECONDS, OVERHEAD_BYTES, OWNERS, Entries, Entry

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


class Texts(Stored[str]):
    """Encodes a text as a text of Xs, and counts how many were decoded. ``shares`` says whether readers can share."""

    def __init__(self, *, shares: bool = True) -> None:
        super().__init__(str)
        self.shares = shares
        self.number = 0

    def can_share(self, value: str) -> bool:
        return self.shares

    def decoded(self, data: bytes) -> str:
        self.number += 1
        if not data:
            raise Unreadable
        return data.decode()


def test_a_record_is_decoded_once_as_long_as_its_entry_is_kept() -> None:
    entries, texts, one = Entries(LIMIT), Texts(), entry(size=20)
    entries.put("ada", "a", one)
    before = entries.memory
    assert {entries.decoded("ada", "a", one, texts) for _ in range(3)} == {"x" * 20}
    assert texts.number == 1
    assert entries.memory == before + OVERHEAD_BYTES + 1 + DECODED_FACTOR * 20
    other = entry("2", began=1, size=30)
    entries.put("ada", "a", other)
    assert entries.memory == OVERHEAD_BYTES + 1 + 30
    assert entries.decoded("ada", "a", other, texts) == "x" * 30
    assert entries.decoded("ada", "a", one, texts) == "x" * 20, "an entry that a reader found before"
    assert entries.decoded("ada", "a", other, texts) == "x" * 30
    assert texts.number == 3
    entries.remove("ada", "a")
    assert entries.memory == 0


def test_a_loaded_record_is_not_decoded_at_all() -> None:
    entries, texts, one = Entries(LIMIT), Texts(), entry(size=20)
    entries.put("ada", "a", one)
    entries.keep("ada", "a", one, texts, "loaded")
    assert (entries.decoded("ada", "a", one, texts), texts.number) == ("loaded", 0)
    entries.keep("ada", "a", entry(size=20), texts, "of another entry")
    entries.keep("grace", "a", one, texts, "of another user")
    assert (entries.decoded("ada", "a", one, texts), texts.number) == ("loaded", 0)
    assert len(entries) == 1


def test_records_that_cannot_be_shared_are_decoded_for_each_reader() -> None:
    entries, texts, one = Entries(LIMIT), Texts(shares=False), entry(size=20)
    entries.put("ada", "a", one)
    entries.keep("ada", "a", one, texts, "loaded")
    assert [entries.decoded("ada", "a", one, texts) for _ in range(2)] == ["x" * 20] * 2
    assert (texts.number, entries.memory) == (2, OVERHEAD_BYTES + 1 + 20)


def test_an_unreadable_record_is_not_kept() -> None:
    entries, texts, one = Entries(LIMIT), Texts(), entry(size=0)
    entries.put("ada", "a", one)
    for _ in range(2):
        with pytest.raises(Unreadable):
            entries.decoded("ada", "a", one, texts)


def test_an_old_record_is_not_kept_decoded() -> None:
    entries, texts, one = Entries(LIMIT), Texts(), Entry("1", b"x" * 20, 0.0, 600.0)
    entries.put("ada", "a", one)
    before = entries.memory
    entries.keep("ada", "a", one, texts, "loaded")
    entries.expire(DECODED_SECONDS - 1)
    assert entries.decoded("ada", "a", one, texts) == "loaded"
    entries.expire(DECODED_SECONDS)
    assert (len(entries), entries.memory) == (1, before)


def test_an_entry_takes_the_room_of_decoded_records_first() -> None:
    each = LIMIT // OWNERS
    size = each // 2 - OVERHEAD_BYTES - 1
    entries, texts = Entries(LIMIT), Texts()
    small, large = entry(size=20), entry(began=1, size=size)
    entries.put("ada", "a", small)
    entries.keep("ada", "a", small, texts, "loaded")
    entries.put("ada", "b", large)
    assert entries.get("ada", "a", "1") is small
    of_entries = 2 * OVERHEAD_BYTES + 2 + 20 + size
    entries.put("ada", "c", entry(began=2, size=each - of_entries - OVERHEAD_BYTES - 1))
    assert entries.decoded("ada", "a", small, texts) == "x" * 20
    assert texts.number == 1, "the decoded record was evicted"
    assert [entries.get("ada", name, "1") is not None for name in "abc"] == [True] * 3


def test_a_record_without_room_leaves_the_other_decoded_records() -> None:
    """Otherwise each reader of a long list would decode all of the user's other lists again."""
    each = LIMIT // OWNERS
    entries, texts = Entries(LIMIT), Texts()
    small, large = entry(size=20), entry(began=1, size=each // DECODED_FACTOR)
    for name, one in (("a", small), ("b", large)):
        entries.put("ada", name, one)
    entries.decoded("ada", "a", small, texts)
    for _ in range(2):
        entries.decoded("ada", "b", large, texts)
        entries.decoded("ada", "a", small, texts)
    assert texts.number == 3, "the short list once, and the long list for each reader"


def test_a_record_takes_the_room_of_the_users_older_decoded_records() -> None:
    each = LIMIT // OWNERS
    entries, texts = Entries(LIMIT), Texts()
    found = {name: entry(size=each // 4 // DECODED_FACTOR) for name in "ab"}
    for name, one in found.items():
        entries.put("ada", name, one)
        entries.decoded("ada", name, one, texts)
    assert texts.number == 2
    entries.decoded("ada", "b", found["b"], texts)
    assert texts.number == 2, "the newer one is kept"
    entries.decoded("ada", "a", found["a"], texts)
    assert texts.number == 3, "the older one was evicted"


@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("wxyz"), st.integers(0, 3000)), max_size=80))
def test_the_memory_is_bounded_for_each_user_and_for_all(puts: list[tuple[str, str, int]]) -> None:
    entries, texts, began = Entries(LIMIT), Texts(), 0.0
    for owner, name, size in puts:
        began += 0.1
        one = entry(began=began, size=size)
        entries.put(owner, name, one)
        entries.keep(owner, name, one, texts, "x" * size)
        assert entries.memory <= LIMIT
        if OVERHEAD_BYTES + size + 1 <= LIMIT // OWNERS:
            assert entries.get(owner, name, "1") is not None, "the newest entry stays"
    for owner, name, _ in puts:
        entries.remove(owner, name)
    entries.expire(began + DECODED_SECONDS)
    assert (len(entries), entries.memory) == (0, 0)
