"""Generated functions: when they are generated, what they count, and what their source has."""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError
from strawberry import Parent

from app.graphql.answers import AnswerAborted
from app.graphql.plan import generated, objects, plans
from app.graphql.plan.execution import Execution
from clients.shared import SharedList
from schema.base import reads
from schema.held import Held, look_ahead
from tests.support.plans import Compared, Generated, described, generating, text


class Row:
    """A record whose attributes are in ``values``. An exception is raised."""

    def __init__(self, **values: Any) -> None:
        self.values = {"text": "a", "needed": "b", "number": 1, "inner": None, **values}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self.values[name]
        if isinstance(value, LookupError):
            raise value
        return value


class OtherRow(Row):
    """A record of another type."""


def called(row: Parent[Any]) -> str | None:
    row.values["calls"] = row.values.get("calls", 0) + 1
    found: str | None = row.text
    return found


async def unheld() -> Inner | None:
    raise AssertionError("the parent holds all fields")


@strawberry.type
@reads(Row)
class Inner:
    text: str | None
    needed: str


@strawberry.interface
class Thing:
    text: str | None
    needed: str
    number: int | None
    called: str | None = strawberry.field(resolver=called)
    inner: Inner | None = strawberry.field(
        resolver=unheld, metadata={"held": Held({"text", "needed"}, lambda row: row.inner)}
    )


@strawberry.type
@reads(Row)
class RowType(Thing):
    """A type with the fields of the interface."""


@strawberry.type
@reads(OtherRow)
class OtherType(Thing):
    """Another type with the same fields."""


def given(info: strawberry.Info) -> Any:
    return info.context.rows


@strawberry.type
class Query:
    rows: list[RowType | None] = strawberry.field(resolver=given)
    needed: list[RowType] | None = strawberry.field(resolver=given)
    things: list[Thing | None] = strawberry.field(resolver=given)


SCHEMA = strawberry.Schema(Query, types=[OtherType])._schema
look_ahead(SCHEMA)
FIELDS = "{ text needed number called inner { text needed } }"
FAULTS: list[dict[str, Any]] = [
    {"text": LookupError("text")},
    {"text": 5},
    {"text": object},
    {"text": ValueError("returned")},
    {"text": None, "number": None},
    {"needed": None},
    {"needed": LookupError("needed")},
    {"number": 2**31},
    {"number": "3"},
    {"number": True},
    {"inner": Row()},
    {"inner": Row(needed=None)},
    {"inner": Row(needed=LookupError("inner"), text=LookupError("text"))},
    {"inner": object()},
    {"inner": LookupError("inner")},
]


def repr_of(fault: dict[str, Any]) -> str:
    """Return a name without addresses."""
    return " ".join(f"{name}-{type(value).__name__}" for name, value in fault.items()) or "none"


def context(rows: list[Any]) -> Any:
    return SimpleNamespace(rows=rows, held_selections={})


def among_others(fault: dict[str, Any], kind: Callable[..., Row] = Row) -> list[Any]:
    """Return rows of which the first, the middle and the last have a fault."""
    rows: list[Any] = [kind() for _ in range(9)]
    for index in (0, 4, 8):
        rows[index] = kind(**fault)
    return rows


@pytest.mark.parametrize("fault", FAULTS, ids=repr_of)
@pytest.mark.parametrize("field", ["rows", "needed", "things"])
async def test_a_fault_in_the_middle_of_a_list_gives_the_same_answer(
    fault: dict[str, Any], field: str, each_way: Generated
) -> None:
    compared = Compared(SCHEMA, f"{{ {field} {FIELDS} other: {field} {{ __typename needed }} }}")
    kind = OtherRow if field == "things" else Row
    by_core = await compared.by_core(context(among_others(fault, kind)))
    for _ in range(2):
        by_plan = await compared.by_plan(context(among_others(fault, kind)))
        assert text(by_plan) == text(by_core)
        assert described(by_plan) == described(by_core)


@pytest.mark.parametrize("fault", FAULTS, ids=repr_of)
async def test_each_resolver_is_called_once(fault: dict[str, Any], each_way: Generated) -> None:
    rows = among_others(fault)
    await Compared(SCHEMA, f"{{ rows {FIELDS} }}").by_plan(context(rows))
    assert {row.values.get("calls") for row in rows} <= ({1} if "needed" not in fault else {1, None})


@pytest.mark.parametrize("fault", [{}, *FAULTS], ids=repr_of)
@pytest.mark.parametrize("field", ["rows", "needed", "things"])
def test_generated_functions_count_what_steps_count(fault: dict[str, Any], field: str) -> None:
    """The limits of the answer's size and of the time on the event loop stay the same."""
    counted = []
    for after in (0, 1_000_000):
        with generating(after) as functions:
            compared = Compared(SCHEMA, f"{{ {field} {FIELDS} }}")
            executor = compared.executor(context(among_others(fault)), None, None, paced=False)
            plan = compared.plans.plan(executor, 0, at_once=True)
            assert plan is not None
            x = Execution(plan, executor, compared.limits, paced=False)
            x.execute()
            assert (functions.objects > 0) is (after == 0)
            counted.append((x.left, x.done))
            x.close()
    assert counted[0] == counted[1]


async def test_an_answer_of_generated_functions_that_is_too_large_is_aborted() -> None:
    with generating(after=0):
        compared = Compared(SCHEMA, "{ rows { text inner { needed } } }", max_bytes=500)
        assert (await compared.by_plan(context([Row(inner=Row())]))).errors is None
        with pytest.raises(AnswerAborted, match="more than 500 bytes"):
            await compared.by_plan(context([Row(text="x" * 250), Row(inner=Row(needed="x" * 250))]))


async def test_a_plan_generates_functions_when_it_has_completed_many_objects() -> None:
    compared = Compared(SCHEMA, "{ things { text } }")
    most = objects.WARM_OBJECTS
    with generating(after=most + 1) as functions:
        await compared.by_plan(context([Row() for _ in range(most)]))
        assert functions.functions == 0
        result = await compared.by_plan(context([Row(text=str(number)) for number in range(50)]))
        assert functions.functions == 1
        assert functions.objects == 49
        assert result.data == {"things": [{"text": str(number)} for number in range(50)]}


async def test_generated_functions_count_as_memory_and_are_cleared_with_their_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = plans.Cache()
    monkeypatch.setattr(plans, "CACHE", cache)
    compared = Compared(SCHEMA, "{ things { text needed } }")
    with generating(after=1) as functions:
        for _ in range(2):
            await compared.by_plan(context([Row()] * 3))
        assert cache.size == 1 + 2 + 2
        monkeypatch.setattr(plans, "MAX_PLANNED", 4)
        other = Compared(SCHEMA, "{ rows { text } }")
        await other.by_plan(context([]))
        assert (len(cache), cache.size) == (1, 2)
        await compared.by_plan(context([Row()] * 3))
        assert functions.functions == 2


async def test_an_execution_does_not_generate_many_functions_at_once() -> None:
    """To generate the functions of all fields of a plan would block the event loop for 50 ms."""
    fields = " ".join(f"a{number}: text" for number in range(50))
    compared = Compared(SCHEMA, "{ " + " ".join(f"l{number}: rows {{ {fields} }}" for number in range(8)) + " }")
    by_core = await compared.by_core(context([Row(), None, Row()]))
    with generating(after=3) as functions:
        made = [0]
        for _ in range(12):
            assert text(await compared.by_plan(context([Row(), None, Row()]))) == text(by_core)
            made.append(functions.functions)
    assert max(after - before for before, after in pairwise(made)) == 1
    assert made[-1] == 8


def test_a_kept_list_does_not_count_the_time_in_which_a_function_was_generated() -> None:
    compared, shared = Compared(SCHEMA, "{ rows { text } }"), SharedList([Row() for _ in range(20)], 10_000_000)
    counts = []
    with generating(after=30) as functions:
        for _ in range(4):
            executor = compared.executor(context(shared), None, None, paced=False)
            plan = compared.plans.plan(executor, 0, at_once=True)
            assert plan is not None
            x = Execution(plan, executor, compared.limits, paced=False)
            x.execute()
            x.close()
            counts.append(x.done)
            shared = shared if functions.functions else SharedList([*shared], 10_000_000)
    assert functions.functions == 1
    assert counts[1] > counts[2] == counts[3] == 20


async def test_a_list_below_a_null_is_not_kept(each_way: Generated) -> None:
    """Errors below a null are dropped, so the list can have nulls of which the execution knows no errors."""
    compared = Compared(SCHEMA, "{ rows { text } }")
    shared = SharedList([Row(), Row(text=LookupError("text"))], 10_000_000)
    executor = compared.executor(context(shared), None, None, paced=False)
    plan = compared.plans.plan(executor, 0, at_once=True)
    assert plan is not None
    x = Execution(plan, executor, compared.limits, paced=False)
    x.errors.add(GraphQLError("of a parent"), None)
    x.execute()
    x.close()
    by_core = await compared.by_core(context(shared))
    by_plan = await compared.by_plan(context(shared))
    assert described(by_plan) == described(by_core) != []


async def test_no_text_of_a_document_is_in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[str] = []
    compiled = generated.compiled

    def kept(source: str) -> Any:
        sources.append(source)
        return compiled(source)

    monkeypatch.setattr(generated, "compiled", kept)
    names = ["__import__", "def", "x", "n", "g0", "v1", "text", "Exception", "S3cret"]
    document = "{ rows { " + " ".join(f"{name}: text" for name in names) + " Inner5: inner { Needed6: needed } } }"
    with generating(after=0):
        result = await Compared(SCHEMA, document).by_plan(context([Row(inner=Row())]))
        plain = "{ rows { " + " ".join(f"a{number}: text" for number in range(9)) + " b: inner { c: needed } } }"
        await Compared(SCHEMA, plain).by_plan(context([Row(inner=Row())]))
    assert result.data == {"rows": [{**dict.fromkeys(names, "a"), "Inner5": {"Needed6": "b"}}]}
    assert len(sources) == 4
    assert sources[0] == sources[2]
    assert sources[1] == sources[3], "other response names make another source"
    assert not any(
        isinstance(one, ast.Constant) and isinstance(one.value, str) for one in ast.walk(ast.parse(sources[1]))
    )
    assert compiled(sources[1]) is compiled(sources[3])


async def test_objects_with_many_fields_have_no_generated_functions() -> None:
    """To generate such a function would take long. Nested objects have functions of their own."""
    fields = " ".join(f"a{number}: text" for number in range(60))
    with generating(after=0) as functions:
        for document, objects_by_functions in (
            (f"{fields} inner {{ text }}", 3),
            (f"{fields} b: text", 0),
            (fields, 3),
        ):
            functions.objects = 0
            compared = Compared(SCHEMA, f"{{ rows {{ {document} }} }}")
            rows: list[Any] = [Row(inner=Row()) for _ in range(3)]
            by_core = await compared.by_core(context(rows))
            assert text(await compared.by_plan(context(rows))) == text(by_core)
            assert functions.objects == objects_by_functions


@pytest.mark.parametrize("path", ["", "a b", "a.", "a.class", "a;b", "a()", "1"])
def test_a_path_that_is_no_name_of_an_attribute_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not the name of an attribute"):
        generated.safe_path(path)
    assert generated.safe_path("event.text") == "event.text"
