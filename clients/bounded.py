"""Bounded memory of several owners: ``Kept`` for values that must be kept, ``Lru`` and ``OwnerCache`` for caches."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Quotas:
    """The amount that each owner holds of one resource, in bytes or in slots.

    An owner may hold ``each`` at most, and half of what the others leave free: if more is in use, the quota is smaller,
    and an owner that holds little still has room.
    """

    def __init__(self, in_all: int, each: int) -> None:
        self.each = each
        self._in_all = in_all
        self._held: Counter[Hashable] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """The amount that all owners hold."""
        return self._total

    def held(self, owner: Hashable) -> int:
        """The amount that an owner holds."""
        return self._held[owner]

    def add(self, owner: Hashable, amount: int) -> None:
        """Add an amount; a negative one releases it."""
        self._total += amount
        held = self._held[owner] + amount
        if held:
            self._held[owner] = held
        else:
            del self._held[owner]

    def is_over(self, owner: Hashable, more: int = 0) -> bool:
        """Whether an owner holds more than its quota, or would with ``more``."""
        return self._held[owner] + more > self.each

    def has_room(self, owner: Hashable, more: int = 1) -> bool:
        """Whether an owner may begin something that holds ``more``."""
        return not self.is_over(owner, more) and self._held[owner] + more <= self._in_all - self._total


class Kept(Generic[V]):
    """Values by owner and key, oldest first. If an owner is over its quota, its own oldest values are reduced.

    ``reduce`` reduces a value to the part that must be kept, and returns its weight: 0 if the value is to be evicted,
    ``None`` if it is in use and stays unchanged. It must not add or remove values.
    """

    def __init__(self, quotas: Quotas, reduce: Callable[[V], int | None]) -> None:
        self._quotas = quotas
        self._reduce = reduce
        self._values: OrderedDict[tuple[Hashable, str], tuple[V, int]] = OrderedDict()
        self._whole: dict[Hashable, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, owner: Hashable, key: str) -> V | None:
        """The value of a key."""
        found = self._values.get((owner, key))
        return None if found is None else found[0]

    def oldest(self) -> tuple[Hashable, str, V] | None:
        """The oldest value of all owners, with its owner and key."""
        for (owner, key), (value, _) in self._values.items():
            return owner, key, value
        return None

    def put(self, owner: Hashable, key: str, value: V, weight: int) -> None:
        """Store a value of any size. Older values of the same owner are reduced to make room."""
        self.pop(owner, key)
        self._values[owner, key] = (value, weight)
        self._whole.setdefault(owner, {})[key] = None
        self._quotas.add(owner, weight)
        self.fit(owner, spare_newest=True)

    def reweigh(self, owner: Hashable, key: str, weight: int) -> None:
        """Change the weight of a value."""
        value, before = self._values[owner, key]
        self._values[owner, key] = (value, weight)
        self._quotas.add(owner, weight - before)
        self.fit(owner, spare_newest=True)

    def pop(self, owner: Hashable, key: str) -> V | None:
        """Remove a value."""
        found = self._values.pop((owner, key), None)
        if found is None:
            return None
        self._quotas.add(owner, -found[1])
        self._exclude(owner, [key])
        return found[0]

    def fit(self, owner: Hashable, *, more: int = 0, spare_newest: bool = False) -> None:
        """Reduce the oldest values of an owner until ``more`` fits into its quota, or none is left to reduce."""
        if not self._quotas.is_over(owner, more) or owner not in self._whole:
            return
        reduced, newest = [], next(reversed(self._whole[owner]))
        for key in self._whole[owner]:
            if not self._quotas.is_over(owner, more) or (spare_newest and key == newest):
                break
            if self._reduced(owner, key):
                reduced.append(key)
        self._exclude(owner, reduced)

    def _reduced(self, owner: Hashable, key: str) -> bool:
        value, before = self._values[owner, key]
        after = self._reduce(value)
        if after is None:
            return False
        self._quotas.add(owner, after - before)
        if after:
            self._values[owner, key] = (value, after)
        else:
            del self._values[owner, key]
        return True

    def _exclude(self, owner: Hashable, keys: list[str]) -> None:
        """Mark keys of an owner as not reducible."""
        whole = self._whole.get(owner)
        if whole is None:
            return
        for key in keys:
            whole.pop(key, None)
        if not whole:
            del self._whole[owner]


class Lru(Generic[K, V]):
    """A cache of bounded weight. The least recently used values are evicted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """The value of a key, if it is cached."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Cache a value."""
        _, before = self._values.pop(key, (None, 0))
        self._values[key] = (value, weight)
        self.weight += weight - before
        while self.weight > self._limit:
            self.evict()

    def evict(self) -> None:
        """Remove the least recently used value."""
        self.weight -= self._values.popitem(last=False)[1][1]


class OwnerCache(Generic[V]):
    """A cache of ``in_all`` values, ``each`` at most for an owner. The least recently used ones are evicted."""

    def __init__(self, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._owners: OrderedDict[str, Lru[str, V]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, owner: str, key: str) -> V | None:
        """The value of a key, if it is cached."""
        values = self._owners.get(owner)
        if values is None or key not in values:
            return None
        self._owners.move_to_end(owner)
        return values.get(key)

    def put(self, owner: str, key: str, value: V) -> None:
        """Cache a value."""
        values = self._owners.setdefault(owner, Lru(self._each))
        self._owners.move_to_end(owner)
        self._count -= len(values)
        values.put(key, value)
        self._count += len(values)
        while self._count > self._in_all:
            self._evict(next(iter(self._owners)))

    def _evict(self, owner: str) -> None:
        values = self._owners[owner]
        values.evict()
        self._count -= 1
        if not len(values):
            del self._owners[owner]
