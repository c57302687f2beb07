from __future__ import annotations

import gc
from weakref import ref

import pytest

from clients.shared import Completed, SharedList, part_of


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (0, 9), (1, 3), (1, 9), (0, 2), (3, 3), (2, 1)])
def test_a_part_is_the_slice_and_readers_share_it(start: int, stop: int) -> None:
    values = [1, 2, 3]
    shared = SharedList(values, 0)
    part = part_of(shared, start, stop)
    assert part == values[start:stop] == part_of(values, start, stop)
    assert part is part_of(shared, start, stop)


def test_the_kept_parts_are_bounded() -> None:
    shared = SharedList(list(range(100)), 0)
    parts = [shared.part(start, 100) for start in range(1, 50)]
    again = [shared.part(start, 100) for start in range(1, 50)]
    assert parts == again
    assert sum(one is other for one, other in zip(parts, again, strict=True)) == 4


class Plan:
    """Stands for the part of a plan that completes a list."""


def test_one_completed_list_is_kept_for_a_list_and_its_parts() -> None:
    shared, one, other = SharedList(["a", "b", "c"], 1000), Plan(), Plan()
    part, whole = Completed([{}, {}], 10, 2), Completed([{}, {}, {}], 15, 3)
    shared.part(1, 9).keep(one, part)
    assert shared.part(1, 9).completed(one) is part
    assert shared.part(1, 9).completed(other) is None
    assert shared.completed(one) is shared.part(0, 2).completed(one) is None
    shared.keep(one, whole)
    assert shared.completed(one) is whole
    assert shared.part(1, 9).completed(one) is None


def test_a_completed_list_that_takes_too_much_memory_is_not_kept() -> None:
    plan, large = Plan(), Completed([], 200, 11)
    for most, kept in ((large.memory, large), (large.memory - 1, None)):
        shared = SharedList(["a"], most)
        shared.keep(plan, large)
        assert shared.completed(plan) is kept


def test_the_memory_of_texts_counts_and_not_their_number_of_characters() -> None:
    """One emoji makes each character of a text take four bytes, and one more when the text is encoded."""
    plain, wide = (Completed([{"a": ["x" * 999 + end]}], 1000, 1) for end in ("x", "\U0001f600"))
    assert 1000 < plain.memory < 1200
    assert 5 * 1000 < wide.memory < 6 * 1000


def test_a_list_with_parts_is_freed_without_a_garbage_collection() -> None:
    class Record:
        """A record with weak references."""

    record, plan = Record(), Plan()
    gone = ref(record)
    shared = SharedList([Record(), record], 1000)
    shared.part(1, 2).keep(plan, Completed([{}], 1, 1))
    gc.disable()
    try:
        del shared, record
        assert gone() is None
    finally:
        gc.enable()


def test_a_plan_that_is_gone_has_no_completed_list() -> None:
    shared, plan = SharedList(["a"], 1000), Plan()
    shared.keep(plan, Completed([{}], 1, 1))
    del plan
    assert shared.completed(Plan()) is None
