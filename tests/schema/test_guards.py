"""Rules of the schema: a field without a rule is refused, and scopes are checked before a resolver runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
import strawberry
from graphql import DocumentNode, ExecutionResult, GraphQLSchema, OperationDefinitionNode, parse, subscribe
from strawberry import ID
from strawberry.federation.schema_directives import RequiresScopes, Shareable

from app.graphql.answers import AnswerLimits
from app.graphql.executor import Executor
from app.graphql.plan.execution import Execution
from app.graphql.plan.plans import Plans
from clients.errors import Forbidden
from resolvers.principal import Principal, Role
from resolvers.streams.events import Delivery
from schema import build
from schema.access import ADMIN, SIGNED_IN, Access
from schema.base import derived, described, object_type, reads, shows
from schema.guards import Unruled, enforce, public_fields
from schema.query import Query as OurQuery
from schema.stream import EventField

USER, ADMINISTRATOR = Role.USER, Role.ADMIN


class Plain:
    id, name = "plain", "a name"


class Strict:
    id, name, secret = "strict", "a name", "a secret"


class Noted:
    number, secret = 1, "a secret"


class Calls:
    """The resolvers that have run."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def resolver(self, name: str, value: Any) -> Callable[[], Any]:
        def resolve() -> Any:
            self.made.append(name)
            return value

        return resolve


CALLS = Calls()


@strawberry.interface(description="An interface.")
class Thing:
    id: ID = described("The id.")
    name: str = described("The name.")


@shows("Read by every user.", Plain)
class PlainThing(Thing):
    """A type with the usual rule."""


@shows("Read only by admins.", Strict, access=ADMIN)
class StrictThing(Thing):
    secret: str = described("A secret.")


Either = Annotated[PlainThing | StrictThing, strawberry.union("Either", description="Either.")]


def _things() -> list[Thing | None]:
    CALLS.made.append("things")
    return [Plain(), Strict()]  # type: ignore[list-item]


def _thing() -> Thing | None:
    CALLS.made.append("thing")
    return Strict()  # type: ignore[return-value]


def _strict() -> StrictThing | None:
    CALLS.made.append("strict")
    return Strict()  # type: ignore[return-value]


def _number() -> int | None:
    CALLS.made.append("number")
    return 1


async def _awaited() -> int | None:
    CALLS.made.append("awaited")
    return 2


async def _numbers() -> AsyncGenerator[int, None]:
    CALLS.made.append("numbers")
    yield 1


@strawberry.interface(description="An event.")
class Happening:
    cursor: str = described("The cursor.")


@object_type("An event with a field that only admins read.")
class NotedEvent(Happening):
    records = (Noted,)
    is_type_of = staticmethod(lambda delivery, _info: type(delivery.event) is Noted)
    number: int = EventField(description="A number.")  # type: ignore[assignment]
    secret: str | None = EventField(description="A secret.", directives=[ADMIN])  # type: ignore[assignment]


async def _events() -> AsyncGenerator[Happening, None]:
    yield cast("Any", Delivery("stream:1", "1", cast("Any", Noted())))


EITHER = RequiresScopes(scopes=[["admin", "admin"], ["admin"]])


@strawberry.type(description="Queries.")
class Query:
    things: list[Thing | None] = derived(_things, "Things.", access=SIGNED_IN)
    either: list[Either | None] = derived(_things, "Things.", access=SIGNED_IN)
    thing: Thing | None = derived(_thing, "A thing.", access=SIGNED_IN)
    strict: StrictThing | None = derived(_strict, "A strict thing.", access=SIGNED_IN)
    number: int | None = derived(_number, "A number.", access=ADMIN)
    awaited: int | None = derived(_awaited, "A number.", access=EITHER)
    usual: int | None = derived(_number, "A number.", access=SIGNED_IN)


@strawberry.type(description="Mutations.")
class Mutation:
    first: int | None = derived(_number, "A number.", access=SIGNED_IN)
    second: int | None = derived(_number, "A number.", access=ADMIN)
    third: int | None = derived(_awaited, "A number.", access=SIGNED_IN)


@strawberry.type(description="Subscriptions.")
class Subscription:
    numbers: int = strawberry.subscription(  # type: ignore[assignment]
        resolver=_numbers, description="Numbers.", directives=[ADMIN]
    )
    events: Happening = strawberry.subscription(  # type: ignore[assignment]
        resolver=_events, description="Events.", directives=[SIGNED_IN]
    )


def made(query: type = Query, mutation: type | None = None, subscription: type | None = None) -> GraphQLSchema:
    """Build a schema whose rules are enforced."""
    types = [PlainThing, StrictThing, NotedEvent]
    schema = strawberry.federation.Schema(
        query=query, mutation=mutation, subscription=subscription, types=types
    )._schema
    enforce(schema)
    return schema


SCHEMA = made(Query, Mutation, Subscription)
LIMITS = AnswerLimits(SCHEMA, 1_000_000)


def context(role: Role) -> Any:
    return SimpleNamespace(principal=Principal(user_id="u", role=role, expires_at=0))


async def asked(document: str, role: Role, **variables: Any) -> tuple[dict[str, Any] | None, list[tuple[Any, str]]]:
    """Return an answer's data, and the path and reason of each error. All errors must be FORBIDDEN.

    graphql-core and a plan must give equal answers, and must call the same resolvers.
    """
    parsed, answers = parse(document), []
    for compiled in (False, True):
        CALLS.made.clear()
        executor = Executor.build(SCHEMA, parsed, context_value=context(role), raw_variable_values=variables)
        assert isinstance(executor, Executor)
        executor.bound(LIMITS, paced=True)
        result = by_plan(executor, parsed) if compiled else executor.execute()
        answer = await result if inspect.isawaitable(result) else result
        assert isinstance(answer, ExecutionResult)
        found = []
        for error in answer.errors or []:
            assert isinstance(error.original_error, Forbidden), error
            found.append((error.path, str(error.original_error.reason)))
        answers.append((answer.data, found, list(CALLS.made)))
    assert answers[0] == answers[1]
    return answers[0][:2]


@pytest.mark.parametrize(
    ("document", "data", "paths", "ran"),
    [
        ("{ number }", {"number": None}, [["number"]], []),
        ("{ awaited }", {"awaited": None}, [["awaited"]], []),
        ("{ a: number usual b: number }", {"a": None, "usual": 1, "b": None}, [["a"], ["b"]], ["number"]),
        ("{ ...F } fragment F on Query { ... { x: number } }", {"x": None}, [["x"]], []),
        ("{ strict { __typename } }", {"strict": None}, [["strict"]], []),
        ("{ thing { __typename } }", {"thing": None}, [["thing"]], ["thing"]),
        ("{ thing { id } }", {"thing": None}, [["thing"]], ["thing"]),
        ("{ thing { ... on StrictThing { secret } } }", {"thing": None}, [["thing"]], ["thing"]),
        ("{ either { ... on PlainThing { id } } }", {"either": [{"id": "plain"}, None]}, [["either", 1]], ["things"]),
        ("{ things { name } }", {"things": [{"name": "a name"}, None]}, [["things", 1]], ["things"]),
        ("query($no: Boolean = false) { usual number @include(if: $no) }", {"usual": 1}, [], ["number"]),
        ("{ usual ... @skip(if: true) { number } }", {"usual": 1}, [], ["number"]),
    ],
)
async def test_a_field_or_type_that_needs_a_scope_is_refused_at_its_path(
    document: str, data: dict[str, Any], paths: list[Any], ran: list[str]
) -> None:
    assert await asked(document, USER) == (data, [(path, "ROLE") for path in paths])
    assert CALLS.made == ran


async def test_a_user_with_the_scope_reads_the_field() -> None:
    document = "{ number awaited strict { secret } thing { id } things { id } }"
    assert await asked(document, ADMINISTRATOR) == (
        {
            "number": 1,
            "awaited": 2,
            "strict": {"secret": "a secret"},
            "thing": {"id": "strict"},
            "things": [{"id": "plain"}, {"id": "strict"}],
        },
        [],
    )


async def test_the_other_mutations_of_an_operation_run_in_order() -> None:
    document = "mutation { first second third }"
    assert await asked(document, USER) == ({"first": 1, "second": None, "third": 2}, [(["second"], "ROLE")])
    assert CALLS.made == ["number", "awaited"]


async def test_a_refused_subscription_does_not_start() -> None:
    CALLS.made.clear()
    document = parse("subscription { numbers }")
    refused = subscribe(SCHEMA, document, context_value=context(USER))
    refused = await refused if inspect.isawaitable(refused) else refused
    assert isinstance(refused, ExecutionResult)
    [error] = refused.errors or []
    assert isinstance(error.original_error, Forbidden)
    assert CALLS.made == []
    served = subscribe(SCHEMA, document, context_value=context(ADMINISTRATOR))
    served = await served if inspect.isawaitable(served) else served
    assert not isinstance(served, ExecutionResult)
    assert [result.data async for result in served] == [{"numbers": 1}]


async def test_a_subscription_refuses_a_field_of_each_event() -> None:
    document = parse("subscription { events { ... on NotedEvent { number secret } } }")
    executor = Executor.build(SCHEMA, document, context_value=context(USER))
    assert isinstance(executor, Executor)
    executor.bound(LIMITS, paced=False)
    for number in range(3):
        event = Delivery("stream:1", str(number), cast("Any", Noted()))
        for result in (executor.build_per_event_executor(event).execute(), by_plan(executor, document, event)):
            answer = await result if inspect.isawaitable(result) else result
            assert isinstance(answer, ExecutionResult)
            assert answer.data == {"events": {"number": 1, "secret": None}}
            assert [error.path for error in answer.errors or []] == [["events", "secret"]]


def by_plan(executor: Executor, document: DocumentNode, root: object = None) -> Any:
    """Execute a document by a plan, if it can have one."""
    [operation] = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    plan = Plans(document, operation).plan(executor, 0, at_once=True)
    if plan is None:  # graphql-core executes mutations
        return executor.execute()
    return Execution(plan, executor, LIMITS, paced=True, root=root).execute()


def test_fields_without_scopes_keep_their_resolvers() -> None:
    assert SCHEMA.query_type
    unguarded = strawberry.federation.Schema(query=Query, types=[PlainThing, StrictThing])._schema.query_type
    assert unguarded
    changed = {
        name
        for name, field in SCHEMA.query_type.fields.items()
        if getattr(field.resolve, "__code__", None) is not getattr(unguarded.fields[name].resolve, "__code__", None)
    }
    assert changed == {"strict", "number", "awaited"}


def test_the_error_names_the_field_and_the_role() -> None:
    assert SCHEMA.query_type
    resolve = SCHEMA.query_type.fields["number"].resolve
    assert resolve
    with pytest.raises(Forbidden, match=r"does not permit `number`\. Sign in as a user with the role `ADMIN`\.$"):
        resolve(None, SimpleNamespace(context=context(USER)))


def test_the_gateways_schema_is_refused_with_a_field_that_has_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    extended = type("Query", (OurQuery,), {"__annotations__": {"new": int}, "new": derived(_number, "New.")})
    monkeypatch.setattr(build, "Query", strawberry.type(extended, description="Queries."))
    with pytest.raises(Unruled, match=r"^Query\.new has no rule\. Declare `access`, see schema/access\.py\.$"):
        build.build_schema.__wrapped__()


@strawberry.type(description="A type without a rule.")
@reads(Plain)
class Unmarked:
    name: str = described("The name.")


def _query(kind: Any, *, access: Access | None = SIGNED_IN) -> type:
    def resolve() -> Any:
        return None

    resolve.__annotations__["return"] = kind
    field = derived(resolve, "A field.", access=access)
    return strawberry.type(type("Query", (), {"__annotations__": {"given": kind}, "given": field}), description="Q.")


def _mutation(access: Access | None, *directives: object) -> type:
    field = derived(_number, "A field.", access=access)
    members = {"__annotations__": {"change": int | None}, "change": field}
    return strawberry.type(type("Mutation", (), members), description="M.", directives=directives)


@strawberry.type(description="Subscriptions.")
class UnmarkedSubscription:
    numbers: int = strawberry.subscription(resolver=_numbers, description="Numbers.")  # type: ignore[assignment]


def _with_rule(declare: Callable[..., Any], access: Access) -> type:
    members = {"__annotations__": {"name": str}, "name": described("The name.")}
    kind: type = declare(type("Ruled", (), members), description="Ruled.", directives=[access])
    return kind


@object_type("A type with an unknown scope.", access=RequiresScopes(scopes=[["owner"]]))
class Owned:
    name: str = described("The name.")


@object_type("A type without records.", access=ADMIN)
class Unrecorded:
    name: str = described("The name.")


Mixed = Annotated[PlainThing | Unrecorded, strawberry.union("Mixed", description="Mixed.")]


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: made(_query(Mixed)), "Unrecorded needs scopes and is in a union, but has no records"),
        (lambda: made(_query(int, access=None)), "Query.given has no rule"),
        (lambda: made(_query(Unmarked)), "Unmarked.name has no rule"),
        (lambda: made(Query, _mutation(None)), "Mutation.change has no rule"),
        (lambda: made(Query, _mutation(None, Shareable())), "Mutation.change has no rule"),
        (lambda: made(Query, None, UnmarkedSubscription), "UnmarkedSubscription.numbers has no rule"),
        (lambda: made(_query(_with_rule(strawberry.interface, SIGNED_IN))), "The interface Ruled has a rule"),
        (lambda: made(_query(Owned)), "Owned needs the scope owner, which no role has"),
        (
            lambda: made(_query(int, access=RequiresScopes(scopes=[["admin"], ["root"]]))),
            "Query.given needs the scope root, which no role has",
        ),
        (
            lambda: made(strawberry.type(type("Query", (Query,), {}), description="Q.", directives=[SIGNED_IN])),
            "The root type Query has a rule, which would apply to all subgraphs",
        ),
    ],
)
def test_a_schema_without_a_valid_rule_for_each_field_is_refused(build: Callable[[], object], problem: str) -> None:
    with pytest.raises(Unruled) as refused:
        build()
    assert str(refused.value).startswith(problem)


def test_a_public_field_cannot_lead_to_other_fields() -> None:
    field = strawberry.field(resolver=lambda: None, name="_service", graphql_type=PlainThing, description="S.")
    query = strawberry.type(type("Query", (), {"service": field}), description="Q.")
    with pytest.raises(Unruled, match=r"Query\._service is public, but returns PlainThing\.id"):
        made(query)


def test_only_introspection_and_the_subgraphs_schema_are_public() -> None:
    assert public_fields(build.build_schema()._schema) == {"__schema", "__type", "__typename", "_service"}
