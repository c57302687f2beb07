"""Maps with a maximum size, and quotas for the owners of the maps' values."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Quotas:
    """Counts the bytes or slots that each owner holds, and limits each owner.

    An owner may hold at most ``each``, and at most half of the amount that the other owners do not hold. So an owner
    that holds little has room even if other owners hold much.
    """

    def __init__(self, in_all: int, each: int) -> None:
        self.each = each
        self._in_all = in_all
        self._held: Counter[Hashable] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """The number of bytes or slots that all owners hold together."""
        return self._total

    def held(self, owner: Hashable) -> int:
        """Return the number of bytes or slots that an owner holds."""
        return self._held[owner]

    def add(self, owner: Hashable, amount: int) -> None:
        """Add to the number of bytes or slots that an owner holds. ``amount`` can be negative."""
        self._total += amount
        held = self._held[owner] + amount
        if held:
            self._held[owner] = held
        else:
            del self._held[owner]

    def is_over(self, owner: Hashable, more: int = 0) -> bool:
        """Return whether ``more`` additional bytes or slots would exceed an owner's maximum."""
        return self._held[owner] + more > self.each

    def has_room(self, owner: Hashable, more: int = 1) -> bool:
        """Return whether an owner may get ``more`` additional bytes or slots."""
        return not self.is_over(owner, more) and self._held[owner] + more <= self._in_all - self._total


class Kept(Generic[V]):
    """Stores values by owner and key, and limits the total weight of each owner's values.

    If an owner exceeds the quota, the map shrinks that owner's oldest values. The function ``reduce`` shrinks a value
    to the part that must stay, and returns the part's weight. The map evicts a value of weight 0. For a value that is
    in use, ``reduce`` returns ``None``. ``reduce`` must not change the map.
    """

    def __init__(self, quotas: Quotas, reduce: Callable[[V], int | None]) -> None:
        self._quotas = quotas
        self._reduce = reduce
        self._values: OrderedDict[tuple[Hashable, str], tuple[V, int]] = OrderedDict()
        self._whole: dict[Hashable, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, owner: Hashable, key: str) -> V | None:
        """Return the value for an owner and a key, or ``None``."""
        found = self._values.get((owner, key))
        return None if found is None else found[0]

    def held(self, owner: Hashable) -> int:
        """Return the weight of an owner's values that were not shrunk."""
        return sum(self._values[owner, key][1] for key in self._whole.get(owner, ()))

    def items(self) -> list[tuple[Hashable, str, V]]:
        """Return all values with their owners and keys, oldest first."""
        return [(owner, key, value) for (owner, key), (value, _) in self._values.items()]

    def oldest(self) -> tuple[Hashable, str, V] | None:
        """Return the oldest value in the map, with the value's owner and key."""
        for (owner, key), (value, _) in self._values.items():
            return owner, key, value
        return None

    def put(self, owner: Hashable, key: str, value: V, weight: int) -> None:
        """Store a value. If the owner exceeds the quota, shrink or evict the owner's older values."""
        self.pop(owner, key)
        self._values[owner, key] = (value, weight)
        self._whole.setdefault(owner, {})[key] = None
        self._quotas.add(owner, weight)
        self.fit(owner, spare_newest=True)

    def reweigh(self, owner: Hashable, key: str, weight: int) -> None:
        """Change a stored value's weight. If the owner then exceeds the quota, shrink or evict older values."""
        value, before = self._values[owner, key]
        self._values[owner, key] = (value, weight)
        self._quotas.add(owner, weight - before)
        self.fit(owner, spare_newest=True)

    def pop(self, owner: Hashable, key: str) -> V | None:
        """Remove and return a value."""
        found = self._values.pop((owner, key), None)
        if found is None:
            return None
        self._quotas.add(owner, -found[1])
        self._exclude(owner, [key])
        return found[0]

    def fit(self, owner: Hashable, *, more: int = 0, spare_newest: bool = False) -> None:
        """Shrink an owner's oldest values to make room in the owner's quota.

        The method ends when ``more`` additional weight fits, or when no value can be shrunk.
        """
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
        whole = self._whole.get(owner)
        if whole is None:
            return
        for key in keys:
            whole.pop(key, None)
        if not whole:
            del self._whole[owner]


class Lru(Generic[K, V]):
    """A map that evicts the least recently used values. The values have a maximum total weight."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """Return a key's value, and mark the value as the most recently used."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def oldest(self) -> V | None:
        """Return the least recently used value."""
        for value, _ in self._values.values():
            return value
        return None

    def items(self) -> list[tuple[K, V]]:
        """Return all keys and values. The first ones were used least recently."""
        return [(key, value) for key, (value, _) in self._values.items()]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Store a value. If the map exceeds its maximum weight, evict older values."""
        _, before = self._values.pop(key, (None, 0))
        self._values[key] = (value, weight)
        self.weight += weight - before
        while self.weight > self._limit:
            self.evict()

    def evict(self) -> None:
        """Remove the least recently used value."""
        self.weight -= self._values.popitem(last=False)[1][1]

    def remove(self, key: K) -> None:
        """Remove a key's value, if there is one."""
        _, weight = self._values.pop(key, (None, 0))
        self.weight -= weight


class OwnerCache(Generic[V]):
    """An LRU cache with a maximum number of values for each owner.

    The cache holds at most ``in_all`` values, and at most ``each`` values of one owner.
    """

    def __init__(self, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._owners: OrderedDict[str, Lru[str, V]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, owner: str, key: str) -> V | None:
        """Return the value for an owner and a key."""
        values = self._owners.get(owner)
        if values is None or key not in values:
            return None
        self._owners.move_to_end(owner)
        return values.get(key)

    def put(self, owner: str, key: str, value: V) -> None:
        """Store a value for an owner and a key."""
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
