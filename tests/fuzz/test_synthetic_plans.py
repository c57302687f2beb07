"""Random operations on a schema with every nullability: a plan and graphql-core give equal answers."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from random import Random
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple

import pytest
import strawberry
from graphql import ExecutionResult, parse, validate
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strawberry import Parent

from resolvers.loading import Loader
from schema.base import reads
from schema.held import Held
from tests.support.plans import Compared, Generated, described, generating, nulled, text

WRAPS: dict[str, Callable[[Any], Any]] = {
    "opt": lambda one: one | None,
    "req": lambda one: one,
    "lOpt": lambda one: list[one | None] | None,  # type: ignore[valid-type]
    "lReq": lambda one: list[one],  # type: ignore[valid-type]
    "lMix": lambda one: list[one] | None,  # type: ignore[valid-type]
    "ll": lambda one: list[list[one] | None],  # type: ignore[valid-type]
    "llReq": lambda one: list[list[one]] | None,  # type: ignore[valid-type]
}
LEAVES = ("int", "str", "float", "ids", "bool", "enum", "time")
pytestmark = pytest.mark.filterwarnings(  # graphql-core drops coroutines of fields below a null
    "ignore:Exception ignored in. <coroutine object (GraphQLCoreConverter|Executor):"
    "pytest.PytestUnraisableExceptionWarning"
)
EXAMPLES = settings(
    max_examples=int(os.environ.get("PLAN_EXAMPLES", "60")), deadline=None, suppress_health_check=list(HealthCheck)
)
KINDS = (*LEAVES, "either", "thing", "a")
READS = ("attr", "sync", "held", "async", "late", "loaded")


class Letter(Enum):
    ALPHA = "a"
    BETA = "b"


class Fails(Exception):
    """The error of a field."""


@dataclass
class Node:
    """A record whose attributes are computed from ``values``, by the field's name without the way of reading."""

    values: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return value_of(self, name.partition("_")[2])


class A(Node):
    """A record of the type A."""


class B(Node):
    """A record of the type B."""


class Other(Node):
    """A record of no type."""


class Failure(NamedTuple):
    message: str


def value_of(record: Node, name: str) -> Any:
    value = record.values.get(name)
    if isinstance(value, Failure):
        raise Fails(value.message)
    return value


def sync_resolver(name: str) -> Callable[..., Any]:
    def resolve(record: Parent[Any]) -> Any:
        return value_of(record, name)

    return resolve


def async_resolver(name: str, ticks: int) -> Callable[..., Any]:
    async def resolve(record: Parent[Any], info: strawberry.Info) -> Any:
        for _ in range(ticks):
            await asyncio.sleep(0)
        assert info.context
        return value_of(record, name)

    return resolve


def loaded_resolver(name: str) -> Callable[..., Any]:
    async def resolve(record: Parent[Any], info: strawberry.Info) -> Any:
        key = loaded.key(record)
        return None if key is None else loaded.value(await loaded.loader(info.context).load(key), record, info.context)

    loaded: Any = SimpleNamespace(
        loader=lambda context: context.loader,
        key=lambda record: None if record.values.get(name) is None else id(record),
        value=lambda loaded, record, _context: value_of(record, name) if loaded == id(record) else 1 / 0,
    )
    resolve.loaded = loaded  # type: ignore[attr-defined]
    return resolve


def context() -> Any:
    async def batch(keys: list[int]) -> list[int | Exception]:
        await asyncio.sleep(0)
        return list(keys)

    return SimpleNamespace(loader=Loader(batch))


RESOLVERS: dict[str, Callable[[str], Callable[..., Any]]] = {
    "sync": sync_resolver,
    "held": lambda name: async_resolver(name, 0),
    "async": lambda name: async_resolver(name, 0),
    "late": lambda name: async_resolver(name, 2),
    "loaded": loaded_resolver,
}
TYPES: dict[str, Any] = {
    "int": int,
    "str": str,
    "float": float,
    "ids": strawberry.ID,
    "bool": bool,
    "enum": strawberry.enum(Letter),
    "time": datetime,
    "a": Annotated["TypeA", strawberry.lazy("tests.fuzz.test_synthetic_plans")],
    "thing": Annotated["Thing", strawberry.lazy("tests.fuzz.test_synthetic_plans")],
    "either": Annotated[
        Annotated["TypeA", strawberry.lazy("tests.fuzz.test_synthetic_plans")]
        | Annotated["TypeB", strawberry.lazy("tests.fuzz.test_synthetic_plans")],
        strawberry.union("Either"),
    ],
}
NAMES = [f"{kind}{wrap.capitalize()}" for kind in KINDS for wrap in WRAPS]


def metadata(name: str) -> dict[str, Any]:
    """Return the declaration of a field whose parent has all that any selection needs."""
    fields = {"__typename", *(f"{read}_{one}" for read in READS for one in NAMES)}
    return {"held": Held(fields, lambda record: value_of(record, name.partition("_")[2]))}


def members() -> dict[str, Any]:
    """Return the fields of all types, each read in six ways."""
    annotations: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for kind in KINDS:
        for wrap, wrapped in WRAPS.items():
            for read in READS:
                name = f"{read}_{kind}{wrap.capitalize()}"
                annotations[name] = wrapped(TYPES[kind])
                if read in RESOLVERS:
                    resolver = RESOLVERS[read](name.partition("_")[2])
                    resolver.__annotations__["return"] = annotations[name]
                    fields[name] = strawberry.field(
                        resolver=resolver, metadata=metadata(name) if read == "held" else {}
                    )
                else:
                    fields[name] = strawberry.field()
    return {"__annotations__": annotations, "__module__": __name__, **fields}


Thing = strawberry.interface(type("Thing", (), members()))
TypeA = strawberry.type(reads(A)(type("TypeA", (Thing,), {"__module__": __name__})))
TypeB = strawberry.type(reads(B)(type("TypeB", (Thing,), {"__module__": __name__})))


@strawberry.type
class Query:
    @strawberry.field
    def root(self, info: strawberry.Info) -> TypeA | None:  # type: ignore[valid-type]
        return info.context.record  # type: ignore[no-any-return]  # a record is no instance of the type

    @strawberry.field
    def needed(self, info: strawberry.Info) -> TypeA:  # type: ignore[valid-type]
        return info.context.record  # type: ignore[no-any-return]  # a record is no instance of the type


SCHEMA = strawberry.Schema(
    Query, types=[TypeA, TypeB], config=strawberry.schema.config.StrawberryConfig(auto_camel_case=False)
)._schema


class Case:
    """A random document, and the records that it reads.

    Hypothesis chooses the seed alone: to draw each value with Hypothesis takes a hundred times as long.

    Args:
        ways: the ways in which the fields are read.
        rate: one of so many values is bad. If 0, none is.
    """

    def __init__(self, seed: int, ways: tuple[str, ...], rate: int = 8) -> None:
        self._random = Random(seed)
        self._ways = ways
        self._rate = rate
        body, selected = self._selection(3)
        root = self._random.choice(["root", "needed"])
        self.document = f"query($yes: Boolean! = true) {{ {root} {body} {root} {{ __typename @include(if: $yes) }} }}"
        self.record = self._node(A, selected)

    def _selection(self, depth: int) -> tuple[str, dict[str, Any]]:
        """Return a selection set, and the names that it reads, with the selections below them."""
        random, parts, selected = self._random, list[str](), dict[str, Any]()
        for index in range(random.randint(1, 5)):
            kind = random.choice(KINDS if depth else LEAVES)
            name = kind + random.choice(list(WRAPS)).capitalize()
            below, inner = ("", {}) if kind in LEAVES else self._selection(depth - 1)
            selected[name] = merged(selected.get(name, {}), inner)
            alias = random.choice(["", f"x{index}: "])
            directive = random.choice([*[""] * 6, "@include(if: $yes)", "@skip(if: $yes)", "@skip(if: false)"])
            field = f"{alias}{random.choice(self._ways)}_{name} {directive} {below}"
            condition = random.choice(["", "", "", "... on TypeA", "... on TypeB", "... on Thing", "..."])
            parts.append(f"{condition} {{ {field} }}" if condition else field)
        parts += random.choice([[], ["__typename"], ["kind: __typename"]])
        return "{ " + " ".join(parts) + " }", selected

    def _node(self, kind: type[Node], selected: dict[str, Any]) -> Node:
        return kind({name: self._value(name, inner) for name, inner in selected.items()})

    def _is_bad(self) -> bool:
        return self._rate > 0 and self._random.randrange(self._rate) == 0

    def _value(self, name: str, selected: dict[str, Any]) -> Any:
        if self._is_bad():
            return self._random.choice([None, None, Failure("one"), Failure("two"), object, ValueError("v"), 2**40])
        kind = next(one for one in KINDS if name.startswith(one))
        wrap = name.removeprefix(kind).lower()
        if wrap.startswith("ll"):
            return [
                None if wrap == "ll" and self._is_bad() else [self._item(kind, selected) for _ in range(size)]
                for size in self._sizes()
            ]
        if wrap.startswith("l"):
            items = [self._item(kind, selected) for _ in self._sizes()]
            return self._random.choice([items, items, tuple(items)])
        return self._item(kind, selected)

    def _sizes(self) -> list[int]:
        return [self._random.randint(0, 3) for _ in range(self._random.randint(0, 3))]

    def _item(self, kind: str, selected: dict[str, Any]) -> Any:
        random = self._random
        if kind in LEAVES:
            values: dict[str, list[Any]] = {
                "int": [1, -2, True],
                "str": ["", "é\n", 3],
                "float": [0.5, 2],
                "ids": ["x", 7],
                "bool": [True, False, 0],
                "enum": [Letter.ALPHA, Letter.BETA],
                "time": [datetime(2026, 3, 2, 9, 30, tzinfo=UTC), datetime(2026, 3, 2)],  # noqa: DTZ001 - also without
            }
            good = values[kind]
            bad: list[Any] = [None, object(), float("nan")] if self._is_bad() else []
            return random.choice([*good, *bad])
        if self._is_bad():
            return random.choice([None, Other({}), ValueError("item")])
        return self._node(A if kind == "a" else random.choice([A, B]), selected)


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: merged(one.get(name, {}), other.get(name, {})) for name in {**one, **other}}


def is_valid(case: Case) -> bool:
    """Return whether a document is valid: merged fields may conflict."""
    return validate(SCHEMA, parse(case.document)) == []


async def answers(case: Case, *, paced: bool = False) -> tuple[ExecutionResult, ExecutionResult]:
    """Return graphql-core's answer and the plan's, for a document that is valid."""
    assume(is_valid(case))
    return await valid_answers(case, paced=paced)


async def valid_answers(case: Case, *, paced: bool = False) -> tuple[ExecutionResult, ExecutionResult]:
    """Return graphql-core's answer and the plan's."""
    compared, found = Compared(SCHEMA, case.document), []
    for by in (compared.by_core, compared.by_plan, compared.by_plan):
        given = context()
        given.record = case.record
        found.append(await by(given, paced=paced))
    assert text(found[1]) == text(found[2]), "the second execution of a plan differs"
    compare: Callable[[ExecutionResult], object] = nulled if paced else described  # pauses decide which error is first
    assert compare(found[1]) == compare(found[2]), "the second execution of a plan differs"
    return found[0], found[1]


SEEDS = st.integers(0, 2**32)


@pytest.fixture(autouse=True, scope="module")
def short_iterations() -> Iterator[None]:
    """Let a paced execution pause after every few fields."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.graphql.plan.execution.PACED_FIELDS", 5)
        yield


@pytest.fixture(autouse=True, scope="module")
def functions() -> Iterator[Generated]:
    """Let the second execution of each plan use generated functions."""
    with generating(after=1) as found:
        yield found


@pytest.mark.parametrize("ways", [("attr", "sync", "held"), READS])
async def test_generated_functions_complete_most_objects_and_their_faults(
    functions: Generated, ways: tuple[str, ...]
) -> None:
    objects, failures, faults = functions.objects, functions.failures, 0
    for seed in range(250):
        case = Case(seed, ways)
        if is_valid(case):
            by_core, by_plan = await valid_answers(case)
            assert text(by_plan) == text(by_core)
            faults += len(by_core.errors or [])
    assert faults > 30
    assert functions.objects > objects + 100
    assert functions.failures > failures + 5, "few errors null an object of a generated function"


@EXAMPLES
@given(SEEDS)
async def test_synchronous_answers_are_equal(seed: int) -> None:
    by_core, by_plan = await answers(Case(seed, ("attr", "sync")))
    assert text(by_plan) == text(by_core)
    assert described(by_plan) == described(by_core)


@EXAMPLES
@given(SEEDS, st.booleans())
async def test_answers_of_mixed_fields_are_equal(seed: int, paced: bool) -> None:
    """Of the errors below one null, those that come first are in the answer, so they depend on timing."""
    by_core, by_plan = await answers(Case(seed, READS), paced=paced)
    assert text(by_plan) == text(by_core)
    assert nulled(by_plan) == nulled(by_core)


@EXAMPLES
@given(SEEDS, st.booleans())
async def test_rare_errors_are_equal(seed: int, paced: bool) -> None:
    by_core, by_plan = await answers(Case(seed, READS, rate=60), paced=paced)
    assert text(by_plan) == text(by_core)
    if len(nulled(by_core)) == len(by_core.errors or []):  # no null has several errors
        assert Counter(described(by_plan)) == Counter(described(by_core))


@EXAMPLES
@given(SEEDS)
async def test_answers_without_faults_are_equal(seed: int) -> None:
    by_core, by_plan = await answers(Case(seed, READS, rate=0))
    assert text(by_plan) == text(by_core)
    assert by_core.errors is by_plan.errors is None
