"""Memory with a bound that several owners share."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clients.bounded import Kept, Lru, OwnerCache, Quotas

EACH, LEFT = 100, 3


class Value:
    """A value that can be reduced unless it is in use."""

    def __init__(self, *, lasts: bool, in_use: bool = False) -> None:
        self.lasts = lasts
        self.in_use = in_use
        self.whole = True

    def reduce(self) -> int | None:
        if self.in_use:
            return None
        self.whole = False
        return LEFT if self.lasts else 0


def kept(in_all: int = 10_000) -> tuple[Quotas, Kept[Value]]:
    quotas = Quotas(in_all, EACH)
    return quotas, Kept(quotas, Value.reduce)


puts = st.tuples(
    st.sampled_from(["ada", "grace"]), st.sampled_from("abcdefgh"), st.integers(1, 150), st.booleans(), st.booleans()
)


def after(some: list[tuple[str, str, int, bool, bool]], owner: str) -> tuple[dict[str, bool], int, bool]:
    """Do puts. Return an owner's keys, those not reduced, their weight, and whether there is space."""
    quotas, values = kept()
    for who, key, weight, lasts, in_use in some:
        values.put(who, key, Value(lasts=lasts, in_use=in_use), weight)
    has = {key: value.whole for key in "abcdefgh" if (value := values.get(owner, key)) is not None}
    return has, quotas.held(owner), quotas.has_room(owner)


@given(st.lists(puts, max_size=60))
@settings(deadline=None)
def test_values_of_one_owner_do_not_depend_on_other_owners(some: list[tuple[str, str, int, bool, bool]]) -> None:
    for owner in ("ada", "grace"):
        assert after(some, owner) == after([one for one in some if one[0] == owner], owner)


@given(st.lists(puts, max_size=60), st.sets(st.integers(0, 59)))
@settings(deadline=None)
def test_quotas_count_the_stored_values(some: list[tuple[str, str, int, bool, bool]], removed: set[int]) -> None:
    quotas, values = kept()
    weights: dict[tuple[str, str], tuple[Value, int]] = {}
    for number, (who, key, weight, lasts, in_use) in enumerate(some):
        value = Value(lasts=lasts, in_use=in_use)
        values.put(who, key, value, weight)
        weights[who, key] = (value, weight)
        if number in removed:
            values.pop(who, key)
    held = dict.fromkeys(["ada", "grace"], 0)
    for (who, key), (value, weight) in weights.items():
        if values.get(who, key) is value:
            held[who] += weight if value.whole else LEFT
    assert {owner: quotas.held(owner) for owner in held} == held
    assert quotas.total == sum(held.values())
    for who in {who for who, *_ in some}:
        values.fit(who)
        own = [
            value for (owner, key), (value, _) in weights.items() if owner == who and values.get(owner, key) is value
        ]
        assert not quotas.is_over(who) or all(value.in_use or not value.whole for value in own)


def test_the_oldest_values_are_evicted_and_the_newest_is_stored_with_any_size() -> None:
    quotas, values = kept()
    first, second, large = Value(lasts=False), Value(lasts=True), Value(lasts=False)
    values.put("ada", "first", first, 50)
    values.put("ada", "second", second, 50)
    assert first.whole
    values.put("ada", "large", large, 500)
    assert (values.get("ada", "first"), second.whole, large.whole) == (None, False, True)
    assert quotas.held("ada") == 500 + LEFT
    values.put("ada", "small", Value(lasts=False), 1)
    assert values.get("ada", "large") is None


def test_owners_at_their_quota_leave_room_for_others() -> None:
    quotas = Quotas(800, EACH)
    for number in range(12):
        owner = f"owner {number}"
        free = 800 - quotas.total
        while quotas.has_room(owner):
            quotas.add(owner, 1)
        assert quotas.held(owner) <= min(EACH, free // 2) + 1
    assert quotas.total < 800
    assert quotas.has_room("ada")


def test_released_amounts_are_available_again() -> None:
    quotas = Quotas(800, EACH)
    quotas.add("ada", EACH - 1)
    assert (quotas.has_room("ada"), quotas.has_room("ada", 2)) == (True, False)
    quotas.add("ada", 1)
    assert not quotas.has_room("ada")
    quotas.add("ada", -EACH)
    assert (quotas.has_room("ada"), quotas.total, quotas.held("ada")) == (True, 0, 0)


def test_one_owner_of_a_cache_evicts_its_own_values() -> None:
    cache: OwnerCache[int] = OwnerCache(in_all=10, each=4)
    for number in range(3):
        cache.put("ada", str(number), number)
    for number in range(100):
        cache.put("grace", str(number), number)
    assert [cache.get("ada", str(number)) for number in range(3)] == [0, 1, 2]
    assert [number for number in range(100) if cache.get("grace", str(number)) is not None] == [96, 97, 98, 99]
    for number in range(4):
        cache.put("mary", str(number), number)
    assert len(cache) == 10
    assert cache.get("ada", "0") is None  # the least recently used owner makes room for another
    assert cache.get("ada", "2") == 2


def test_the_least_recently_used_values_are_evicted_by_weight() -> None:
    cache: Lru[str, int] = Lru(10)
    for key in "abc":
        cache.put(key, 1, weight=3)
    assert cache.get("a") == 1
    cache.put("d", 1, weight=4)
    assert ["b" in cache, "c" in cache, "a" in cache, cache.weight] == [False, True, True, 10]
    cache.put("a", 2, weight=1)
    assert (cache.get("a"), cache.weight, len(cache)) == (2, 8, 3)
    cache.put("e", 1, weight=11)
    assert (len(cache), cache.weight) == (0, 0)
