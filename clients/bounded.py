"""Bounded memory that several owners share, such that one owner's use never evicts what another owner has.

``Quotas`` counts what each owner holds. ``Kept`` holds values whose loss an owner would notice: only the same owner's
newer values evict them, and an owner who finds no room is refused new work. ``OwnerCache`` holds what can be looked up
again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Quotas:
    """What each owner holds of one resource, in bytes or in places.

    An owner may hold ``each`` at most, and half of what the others leave free: the fuller the whole, the less one owner
    may hold, so that an owner who holds little still finds room.
    """

    def __init__(self, in_all: int, each: int) -> None:
        self.each = each
        self._in_all = in_all
        self._held: Counter[Hashable] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """What all owners hold."""
        return self._total

    def held(self, owner: Hashable) -> int:
        """What an owner holds."""
        return self._held[owner]

    def add(self, owner: Hashable, amount: int) -> None:
        """Count an amount that an owner takes or, if negative, gives back."""
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
    """Values by owner and key, oldest first. Where an owner is over its quota, its own oldest values are reduced.

    Args:
        quotas: what owners hold; what is kept here is counted there.
        reduce: reduces a value to what must be kept of it, and returns the weight of that: 0 where nothing is left, and
            ``None`` where the value is in use and stays as it is. It must not change what is kept.
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
        """Keep a value, whole however large it is; older ones of the same owner make room for it."""
        self.pop(owner, key)
        self._values[owner, key] = (value, weight)
        self._whole.setdefault(owner, {})[key] = None
        self._quotas.add(owner, weight)
        self.fit(owner, spare_newest=True)

    def reweigh(self, owner: Hashable, key: str, weight: int) -> None:
        """Count a value that was put by another weight."""
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
        self._forget(owner, [key])
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
        self._forget(owner, reduced)

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

    def _forget(self, owner: Hashable, keys: list[str]) -> None:
        """Keys of an owner that cannot be reduced any more."""
        whole = self._whole.get(owner)
        if whole is None:
            return
        for key in keys:
            whole.pop(key, None)
        if not whole:
            del self._whole[owner]


class OwnerCache(Generic[V]):
    """A cache of what can be looked up again, by owner and key. The least recently used are evicted first.

    Args:
        in_all: how many values are kept.
        each: how many of them may be one owner's: its own make room for more.
    """

    def __init__(self, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._owners: OrderedDict[str, OrderedDict[str, V]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, owner: str, key: str) -> V | None:
        """The value of a key, if it is still there."""
        values = self._owners.get(owner)
        if values is None or key not in values:
            return None
        self._owners.move_to_end(owner)
        values.move_to_end(key)
        return values[key]

    def put(self, owner: str, key: str, value: V) -> None:
        """Remember a value."""
        values = self._owners.setdefault(owner, OrderedDict())
        self._owners.move_to_end(owner)
        self._count += key not in values
        values[key] = value
        values.move_to_end(key)
        if len(values) > self._each:
            self._drop(owner)
        while self._count > self._in_all:
            self._drop(next(iter(self._owners)))

    def _drop(self, owner: str) -> None:
        values = self._owners[owner]
        values.popitem(last=False)
        self._count -= 1
        if not values:
            del self._owners[owner]
