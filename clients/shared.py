"""Lists that several readers of the cache share."""

from sys import getsizeof
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import ref

V = TypeVar("V")

_MOST_PARTS = 4
"""The maximum number of parts of a list that are kept, so that readers of the same page share one part."""

_FIELD_BYTES = 80
"""The approximate memory of a completed field without its text."""


class Completed(NamedTuple):
    """What an execution has made of a list.

    Attributes:
        answer: the completed list. Several answers share it, so nothing may change it.
        size: how many bytes of the answer's limit the list took.
        fields: the number of completed fields.
    """

    answer: list[Any]
    size: int
    fields: int

    @property
    def memory(self) -> int:
        """The approximate memory of the completed list, in bytes."""
        return _FIELD_BYTES * self.fields + _memory_of_texts(self.answer)


def _memory_of_texts(value: Any) -> int:
    """Return the memory of the texts in a completed value, in bytes.

    In a text with one emoji, each character takes four bytes. A text that is not ASCII also has a copy in UTF-8 from
    the first time that it is encoded.
    """
    if isinstance(value, str):
        return len(value) if value.isascii() else getsizeof(value) + len(value.encode(errors="surrogatepass"))
    if isinstance(value, dict):
        return sum(map(_memory_of_texts, value.values()))
    return sum(map(_memory_of_texts, value)) if isinstance(value, list) else 0


class _Room:
    """The place for one completed list, which a list and its parts share. It refers to none of them: no cycle."""

    __slots__ = ("kept", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: tuple[ref[Any], tuple[int, int], Completed] | None = None


class SharedList(list[V], Generic[V]):
    """A list of records that nothing can change. Nothing may change the list either.

    Args:
        values: the records.
        most: the maximum memory of a completed list, in bytes.
    """

    __slots__ = ("_at", "_parts", "_room")

    def __init__(self, values: list[V], most: int) -> None:
        super().__init__(values)
        self._at = (0, len(values))
        self._parts: dict[tuple[int, int], SharedList[V]] = {}
        self._room = _Room(most)

    def part(self, start: int, stop: int) -> "SharedList[V]":
        """Return ``self[start:stop]``. Equal parts are one list."""
        if start == 0 and stop >= len(self):
            return self
        found = self._parts.get((start, stop))
        if found is None:
            found = SharedList(self[start:stop], 0)
            found._at, found._room = (self._at[0] + start, self._at[0] + stop), self._room
            if len(self._parts) < _MOST_PARTS:
                self._parts[start, stop] = found
        return found

    def completed(self, by: object) -> Completed | None:
        """Return what ``by`` has made of this list, if that is kept."""
        kept = self._room.kept
        return kept[2] if kept is not None and kept[0]() is by and kept[1] == self._at else None

    def keep(self, by: object, completed: Completed) -> None:
        """Keep what ``by`` has made of this list, in place of what is kept, unless it takes too much memory."""
        if completed.memory <= self._room.most:
            self._room.kept = ref(by), self._at, completed


def part_of(values: list[V], start: int, stop: int) -> list[V]:
    """Return ``values[start:stop]``, which readers share if they share the list."""
    return values.part(start, stop) if isinstance(values, SharedList) else values[start:stop]
