"""Executions by plans: loads, tasks, pauses, limits and cancellations, and which operations have plans."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError

from app.graphql.answers import MAX_ERRORS, AnswerAborted
from tests.support.planned import SCHEMA, Row, context
from tests.support.plans import Compared

pytestmark = pytest.mark.usefixtures("each_way")


async def executed(document: str, given: Any, **options: Any) -> ExecutionResult:
    max_bytes = options.pop("max_bytes", 1_000_000)
    return await Compared(SCHEMA, document, max_bytes).by_plan(given, **options)


async def test_fields_of_the_same_record_share_one_load_and_one_batch() -> None:
    given = context(*(Row(f"k{number % 5}") for number in range(50)))
    tasks = len(asyncio.all_tasks())
    running = asyncio.ensure_future(executed("{ rows { one two again: one } }", given))
    given.loader.gate.clear()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks + 2  # the operation and the batch
    given.loader.gate.set()
    result = await running
    assert given.loader.batches == [["k0", "k1", "k2", "k3", "k4"]]
    assert result.errors is None
    assert result.data is not None
    assert result.data["rows"][7] == {
        "one": "state of k2 a w 1",
        "two": "state of k2 a w 2",
        "again": "state of k2 a w 1",
    }


async def test_a_failed_load_is_an_error_of_each_field_and_is_loaded_again_by_later_fields() -> None:
    given = context(Row("bad"), Row("good"))
    result = await executed("{ rows { one two } }", given)
    assert [error.path for error in result.errors or []] == [["rows", 0, "one"], ["rows", 0, "two"]]
    assert given.loader.batches == [["bad", "good"]]


async def test_a_key_of_none_is_null_without_a_load() -> None:
    given = context(Row(""))
    result = await executed("{ row { one } }", given)
    assert result.data == {"row": {"one": None}}
    assert given.loader.batches == []


async def test_each_field_reports_its_stale_record() -> None:
    given = context(Row("old"), Row("new"), Row("old"))
    await executed("{ rows { a: one two } }", given)
    assert given.loader.stale == [["rows", 0, "a"], ["rows", 0, "two"], ["rows", 2, "a"], ["rows", 2, "two"]]


async def test_a_cancelled_operation_cancels_its_tasks_and_abandons_its_loads() -> None:
    given = context(Row("k"))
    given.loader.gate.clear()
    running = asyncio.ensure_future(executed("{ row { one hang } }", given))
    await given.began.wait()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [field.as_list() for field in given.ended] == [["row", "hang"]]
    await asyncio.sleep(0)
    given.loader.gate.set()
    assert await given.loader.load("k") == "state of k"  # the cancelled load was forgotten
    assert given.loader.batches == [["k"], ["k"]]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_operation_that_is_cancelled_twice_releases_its_loads() -> None:
    """A field may end late. The second cancellation does not wait for it."""
    given = context(Row("k"))
    given.loader.gate.clear()
    running = asyncio.ensure_future(executed("{ row { one endsLate } }", given))
    await given.began.wait()
    await asyncio.sleep(0)
    running.cancel()
    await given.late.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    given.loader.gate.set()
    assert await given.loader.load("k") == "state of k"  # the cancelled load was forgotten
    assert given.loader.batches == [["k"], ["k"]]


async def test_an_error_cancels_the_fields_below_the_null() -> None:
    given = context(Row("k", [Row("k")]))
    result = await executed("{ row { hang rows { text failNeeded } } }", given)
    assert result.data == {"row": None}
    assert [error.path for error in result.errors or []] == [["row", "rows", 0, "failNeeded"]]
    assert given.ended == []


async def test_a_late_error_cancels_the_tasks_below_the_null() -> None:
    given = context(Row("k", [Row("k")]))
    result = await executed("{ row { text rows { hang failLater } } other: row { text } }", given)
    assert result.data == {"row": None, "other": {"text": "a"}}
    assert [error.path for error in result.errors or []] == [["row", "rows", 0, "failLater"]]
    assert [field.as_list() for field in given.ended] == [["row", "rows", 0, "hang"]]


async def test_the_data_is_null_if_a_root_field_may_not_be() -> None:
    result = await executed("{ hang failNeeded }", context())
    assert result.data is None
    assert [error.path for error in result.errors or []] == [["failNeeded"]]


async def test_a_long_answer_lets_other_tasks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("k", [Row("k") for _ in range(300)]) for _ in range(30)]
    ticks = 0

    async def count() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    counting = asyncio.ensure_future(count())
    document = "{ rows { text rows { text a: text b: text } } }"
    result = await executed(document, context(*rows), paced=True)
    paced = ticks
    assert paced >= 27_000 / 8_000 - 1  # eight thousand fields in each iteration
    assert result.data is not None
    assert [len(row["rows"]) for row in result.data["rows"]] == [300] * 30
    assert result == await executed(document, context(*rows))
    assert ticks - paced <= 1
    counting.cancel()


async def test_an_answer_that_is_too_large_is_aborted() -> None:
    rows = [Row("k") for _ in range(10)]
    assert (await executed("{ rows { text } }", context(*rows), max_bytes=700)).data
    with pytest.raises(AnswerAborted, match="more than 100 bytes"):
        await executed("{ rows { text } }", context(*rows), max_bytes=100)
    rows[3].text = "\x01" * 100  # each has six bytes in JSON
    with pytest.raises(AnswerAborted, match="more than 700 bytes"):
        await executed("{ rows { text } }", context(*rows), max_bytes=700)


async def test_too_many_errors_abort_the_answer() -> None:
    rows = [Row("k") for _ in range(MAX_ERRORS)]
    assert len((await executed("{ rows { fail } }", context(*rows))).errors or []) == MAX_ERRORS
    with pytest.raises(AnswerAborted, match="fields failed"):
        await executed("{ rows { fail } }", context(*rows, Row("k")))
    with pytest.raises(AnswerAborted, match="fields failed"):
        await executed("{ rows { hang fail } }", context(*rows, Row("k")))


async def test_errors_leave_no_reference_cycles() -> None:
    rows = [Row("bad"), Row("k", [Row("k")])]
    for document in ("{ rows { one fail } }", "{ row { rows { failNeeded } } }", "{ failNeeded }", "{ row { one } }"):
        compared, given = Compared(SCHEMA, document), context(*rows)
        await compared.by_plan(given)
        gc.collect()
        gc.disable()
        try:
            await compared.by_plan(given)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            ours = [type(one) for one in gc.garbage if type(one).__module__.startswith(("app.", "resolvers."))]
            errors = [one for one in gc.garbage if isinstance(one, GraphQLError)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert ours == errors == [], document
