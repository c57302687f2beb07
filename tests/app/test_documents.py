"""Documents are lexed and validated with the results of graphql-core, in linear time and within bounds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest
from graphql import (
    ExecutionResult,
    GraphQLError,
    Lexer,
    OverlappingFieldsCanBeMergedRule,
    Source,
    TokenKind,
    execute,
    get_introspection_query,
    parse,
    specified_rules,
    validate,
)
from graphql.execution import Executor
from hypothesis import given, settings
from hypothesis import strategies as st

from app.graphql import documents as documents_module
from app.graphql import introspection, lexer, merging, shape, validation
from app.graphql.documents import Documents
from app.graphql.errors import RequestError
from app.graphql.lexer import QuickLexer
from schema.build import build_schema
from tests.support import worstdocs
from tests.support.randomdocs import SCHEMA, RandomDocument
from tests.support.settings import settings_of

bound = pytest.mark.bound
GRAPH = build_schema()._schema
DEFAULTS = settings_of()
OTHER_RULES = [rule for rule in specified_rules if rule is not OverlappingFieldsCanBeMergedRule]
MOST_CALLS = 300_000
"""The most function calls for one document. The most expensive one makes 190,000, in 40 ms."""
MOST_WORK = {
    *("one-field", "leaves", "levels", "alike", "arguments", "conflicts", "inline", "inline-typed", "introspection"),
    *("far", "far-lines", "unknown", "unknown-types", "unknown-inputs", "floats", "braced-escapes-wrong"),
    *("operations", "subscriptions", "spreads", "combinations-7"),
}

PIECES = [
    *('"', '"""', "\\", '\\"""', "\\u", "{", "}", "\\u{41}", "\\u{110000}", "\\u0041", "\\ud83d\\ude00", "\\ud83d"),
    *("\n", "\r", "\r\n", " ", "\t", ",", "#", "a", "_b", "on", "0", "1", "-", ".", "...", "..", "e", "+", "12.5e3"),
    *(".5", "\x00", "\ufeff", "é", "😀", "$", "!", "(", ")", "[", "]", ":", "=", "@", "|", "&", "/", "\\n", "\\/", "'"),
]


def tokens(text: str, kind: type[Lexer]) -> list[Any]:
    """Return the tokens of a text, and the error that ends them."""
    reading, found = kind(Source(text)), list[Any]()
    end = 0
    try:
        while not found or found[-1][0] is not TokenKind.EOF:
            token = reading.read_next_token(end)
            end = token.end
            found.append((token.kind, token.start, token.end, token.line, token.column, token.value))
    except GraphQLError as error:
        found.append((error.message, error.locations))
    return found


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
@settings(max_examples=600, deadline=None)
def test_the_lexer_agrees_with_graphql_core(text: str) -> None:
    assert tokens(text, QuickLexer) == tokens(text, Lexer)


def told(errors: list[GraphQLError]) -> list[Any]:
    """Return messages and locations without suggestions, which only the first errors have."""
    return sorted((error.message.partition(" Did you mean")[0], str(error.locations)) for error in errors)


@given(seed=st.integers(0, 2**32), mistakes=st.sampled_from([0.0, 0.0, 0.01, 0.05]))
@settings(max_examples=80, deadline=None)
def test_validation_agrees_with_graphql_core(seed: int, mistakes: float) -> None:
    document = parse(RandomDocument(Random(seed), mistakes=mistakes).text())
    theirs = validate(SCHEMA, document, OTHER_RULES, max_errors=validation.MAX_ERRORS)
    ours = validation.invalid(SCHEMA, document)
    assert bool(theirs) == bool(ours)
    if len(theirs) <= validation.MAX_ERRORS:
        assert told(theirs) == told(ours)
    if not ours:
        try:
            conflicts = merging.conflicts(SCHEMA, document)
        except merging.TooManyError:
            return
        assert bool(conflicts) == bool(validate(SCHEMA, document, [OverlappingFieldsCanBeMergedRule]))


@pytest.mark.parametrize(
    "document",
    [
        "{ dog { a: name a: size } }",
        "{ dog { friends(first: 1) { x: __typename } friends(first: 2) { x: __typename } } }",
        "{ animals { ... on Cat { x } ... on Dog { x } } }",
        "{ dog { self { a: name } } dog { self { a: size } } }",
        "{ dog { ...A ...B } } fragment A on Dog { self { a: name } } fragment B on Dog { self { a: size } }",
        "{ named(id: 1) { ... on Dog { self { a: size } } ... on Cat { self { a: name } } } }",
        "{ named(id: 1) { ... on Dog { a: name } a: self { name } } }",
    ],
)
def test_conflicts_have_the_messages_of_graphql_core(document: str) -> None:
    parsed = parse(document)
    [ours] = merging.conflicts(SCHEMA, parsed)
    theirs = validate(SCHEMA, parsed, [OverlappingFieldsCanBeMergedRule])
    assert (ours.message, ours.locations) == (theirs[0].message, theirs[0].locations)


@pytest.mark.parametrize(
    "document",
    [
        "{ animals { ... on Cat { a: name } ... on Dog { a: x } } }",
        "{ animals { ... on Cat { friends(first: 1) { size } } ... on Dog { friends(first: 2) { __typename } } } }",
        '{ u: animals(filter: {text: "", tags: []}) { size } u: animals(filter: {tags: [], text: ""}) { size } }',
        "{ named(id: 1) { ... on Dog { self { x } } ... on Fish { self { x } self { name } } } }",
    ],
)
def test_fields_of_types_that_never_merge_can_differ(document: str) -> None:
    parsed = parse(document)
    theirs = validate(SCHEMA, parsed, [OverlappingFieldsCanBeMergedRule])
    assert bool(merging.conflicts(SCHEMA, parsed)) == bool(theirs)


def refusal(text: str, **limits: int) -> tuple[str, str | None] | None:
    """Return the code and reason with which a document is refused."""
    known = Documents(
        GRAPH, **{"max_tokens": DEFAULTS.max_query_tokens, "max_depth": DEFAULTS.max_query_depth} | limits
    )
    try:
        known.operation(text, "A0" if "query A0" in text else None)
    except RequestError as error:
        facts = error.errors[0]["extensions"]
        return facts["code"], facts.get("reason")
    return None


def function_calls(work: Callable[[], object]) -> int:
    """Count function calls: a measure of work that does not depend on other processes."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_no_document_within_the_bounds_makes_more_than_the_most_calls() -> None:
    documents = worstdocs.worst()
    assert documents.keys() >= MOST_WORK
    assert {
        name: count
        for name in sorted(MOST_WORK)
        if (count := function_calls(partial(refusal, documents[name]))) > MOST_CALLS
    } == {}


@pytest.mark.parametrize("name", ["arguments", "conflicts", "inline-typed", "operations", "spreads", "unknown-types"])
def test_work_is_linear_in_the_length_of_a_document(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(tokens: int) -> int:
        monkeypatch.setattr(worstdocs, "TOKENS", tokens)
        return function_calls(lambda: refusal(worstdocs.worst()[name], max_tokens=10_000))

    assert work(2_000) < 2.4 * work(1_000)


ONE = "{ viewer { id } }"
ESCAPE = r"\u{41}"
TYPE = '__type(name: "Agent")'


def spread(count: int) -> str:
    """Return a document that uses this number of fragments."""
    names = " ".join(f"...F{number}" for number in range(count))
    return f"{{ viewer {{ {names} }} }} " + " ".join(f"fragment F{number} on User {{ id }}" for number in range(count))


def with_variables(count: int) -> str:
    """Return an operation that uses this number of variables."""
    variables = " ".join(f"$v{number}: ID!" for number in range(count))
    ids = " ".join(f"$v{number}" for number in range(count))
    return f"query({variables}) {{ nodes(ids: [{ids}]) {{ id }} }}"


def aliased(field: str, count: int, inner: str = "") -> str:
    """Return a field under this number of aliases."""
    return " ".join(f"a{number}: {field} {inner}" for number in range(count))


def two_selections(field: str, count: int) -> str:
    """Return aliases of a field in two selections, with half of them in each."""
    first, second = count // 2, count - count // 2
    return f"{{ viewer {{ {aliased(field, first)} }} u: viewer {{ {aliased(field, second)} }} }}"


def roots(count: int) -> str:
    """Return an operation with this number of root fields."""
    half = count // 2
    models = " ".join(f"m{number}: models {{ id }}" for number in range(count - half))
    return f"{{ {aliased('viewer', half, '{ id }')} {models} }}"


def multiplied(count: int) -> str:
    """Return an operation that nested fragments multiply to this number of fields."""
    names = ("id", "name", "description", "version", "createdAt")
    more = " ".join(f"f{number}: {names[number % 5]}" for number in range(count - 3 - 9 * (2 + 10 * (2 + 48))))
    middle, inner = (aliased("defaultConversation", n, f"{{ agent {{ ...{of} }} }}") for n, of in ((9, "W"), (10, "X")))
    fragments = f"fragment W on Agent {{ {inner} }} fragment X on Agent {{ {aliased('id', 48)} }}"
    return f"{{ viewer {{ agents {{ nodes {{ {middle} {more} }} }} }} }} {fragments}"


def shared(count: int) -> str:
    """Return operations whose merging visits this number of fields; 50 share one fragment of 97."""
    more = " ".join(["email", "rateLimits { kind }"][: count - 50 * (3 + 97)])
    operations = " ".join(f"query A{number} {{ viewer {{ ...F id }} }}" for number in range(1, 50))
    return f"query A0 {{ viewer {{ ...F id {more} }} }} {operations} fragment F on User {{ {aliased('id', 97)} }}"


def several(count: int) -> str:
    return " ".join(f"query A{number} {{ viewer {{ id }} }}" for number in range(count))


def introspection_levels(count: int) -> str:
    return "{ __schema { types { " + "ofType { " * (count - 3) + "name " + "} " * (count - 3) + "} } }"


def bounded(key: str, document: Callable[[int], str], most: int, reason: str = "ALIASES") -> Any:
    """Return the case of a bound: its key, a document of a given size, the most, and the reason past it."""
    return pytest.param(document, most, reason, marks=bound(key))


OF = merging.MAX_ALIASES_OF
BOUNDS_AND_REASONS: list[Any] = [
    bounded("document", ONE.ljust, lexer.MAX_CHARS, "SIZE"),
    bounded("lines", lambda n: ONE + "\n" * (n - 1), lexer.MAX_LINES, "SIZE"),
    bounded("word", lambda n: f"{{ {'a' * n}: viewer {{ id }} }}", lexer.MAX_WORD, "SIZE"),
    bounded("braced-escapes", lambda n: f'{{ node(id: "{ESCAPE * n}") {{ id }} }}', lexer.MAX_BRACED_ESCAPES, "SIZE"),
    bounded("operations", several, shape.MAX_OPERATIONS, "OPERATIONS"),
    bounded("merges", shared, merging.MAX_MERGES, "FIELDS"),
    bounded("fragments", spread, shape.MAX_FRAGMENTS, "FRAGMENTS"),
    bounded("document-variables", with_variables, shape.MAX_VARIABLES, "VARIABLES"),
    bounded("document-aliases", partial(two_selections, "id"), shape.MAX_ALIASES_IN_DOCUMENT),
    bounded("aliases", lambda n: f"{{ viewer {{ {aliased('id', n)} }} }}", merging.MAX_ALIASES),
    bounded("root-fields", roots, merging.MAX_ROOT_FIELDS, "FIELDS"),
    bounded("fields", multiplied, merging.MAX_FIELDS, "FIELDS"),
    bounded("introspection-depth", introspection_levels, shape.MAX_INTROSPECTION_DEPTH, "INTROSPECTION"),
    bounded("aliases-schema", lambda n: f"{{ {aliased('__schema', n, '{ queryType { name } }')} }}", OF["__schema"]),
    bounded("aliases-type", lambda n: f"{{ {aliased(TYPE, n, '{ name }')} }}", OF["__type"]),
    bounded("aliases-service", lambda n: f"{{ {aliased('_service', n, '{ sdl }')} }}", OF["_service"]),
    bounded("aliases-sdl", lambda n: f"{{ _service {{ {aliased('sdl', n)} }} }}", OF["sdl"]),
    bounded(
        "aliases-introspection",
        lambda n: f"{{ __schema {{ {aliased('types', n, '{ name }')} }} }}",
        merging.MAX_INTROSPECTION_ALIASES,
    ),
]


@pytest.mark.parametrize(("document", "most", "reason"), BOUNDS_AND_REASONS)
def test_a_document_is_accepted_at_its_bound_and_refused_past_it(
    document: Callable[[int], str], most: int, reason: str
) -> None:
    assert refusal(document(most)) is None
    assert refusal(document(most + 1)) == ("QUERY_TOO_COMPLEX", reason)


@bound("directives")
def test_directives_past_the_bound_are_refused() -> None:
    most = shape.MAX_DIRECTIVES
    assert refusal(f"{{ viewer {'@a ' * most} {{ id }} }}") == ("GRAPHQL_VALIDATION_FAILED", None)
    for place in ("query {} {{ viewer {{ id }} }}", "{{ viewer {} {{ id }} }}", "{{ ... {} {{ viewer {{ id }} }} }}"):
        assert refusal(place.format("@a " * (most + 1))) == ("QUERY_TOO_COMPLEX", "DIRECTIVES")
    variable = f"query($v: ID! {'@a ' * (most + 1)}) {{ node(id: $v) {{ id }} }}"
    assert refusal(variable) == ("QUERY_TOO_COMPLEX", "DIRECTIVES")


class Reader(Executor[Any]):
    """graphql-core's executor with cached introspection."""

    def execute_collected_root_fields(self, root_type: Any, root_value: Any, grouped_field_set: Any, *rest: Any) -> Any:
        execute = super().execute_collected_root_fields
        return introspection.with_schema(
            self, root_type, grouped_field_set, lambda others: execute(root_type, root_value, others, *rest)
        )


def executed(text: str, variables: dict[str, Any] | None = None, **options: Any) -> ExecutionResult:
    result = execute(GRAPH, parse(text), variable_values=variables, **options)
    assert isinstance(result, ExecutionResult)
    return result


OPTIONS = ["descriptions", "specified_by_url", "directive_is_repeatable", "schema_description", "one_of"]


@pytest.mark.parametrize("chosen", [set(), {*OPTIONS}, {"descriptions"}, {"descriptions", "directive_is_repeatable"}])
def test_the_introspection_query_of_tools_has_the_answer_of_graphql_core(chosen: set[str]) -> None:
    text = get_introspection_query(**{name: name in chosen for name in OPTIONS}, input_value_deprecation=True)
    assert refusal(text) is None
    ours = executed(text, executor_class=Reader)
    assert ours.errors is None
    assert repr(ours.data) == repr(executed(text).data)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ('{ a: __type(name: "Agent") { name fields { name type { kind ofType { name } } } } }', None),
        ('{ __typename b: __type(name: "nothing") { name } __schema { types { __typename } } }', None),
        ("query($n: String!) { __type(name: $n) { enumValues(includeDeprecated: true) { name } } }", {"n": "Role"}),
        ("query($s: Boolean!) { __schema { queryType { name @skip(if: $s) kind } } }", {"s": True}),
        ("query($s: Boolean!) { __schema @include(if: $s) { queryType { name } } }", {"s": False}),
        ("{ ...F } fragment F on Query { __schema { directives { name args { name defaultValue } } } }", None),
        ("{ __schema { ...A types { kind } } } fragment A on __Schema { types { name } }", None),
        ("query($n: String!) { __type(name: $n) { name } }", {"n": 3}),
    ],
)
def test_introspection_has_the_answer_of_graphql_core(text: str, variables: dict[str, Any] | None) -> None:
    ours, theirs = executed(text, variables, executor_class=Reader), executed(text, variables)
    assert repr(ours.data) == repr(theirs.data)
    assert repr(ours.errors) == repr(theirs.errors)


@bound("introspection")
def test_introspection_is_answered_at_its_bound_and_refused_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{ a: __type(name: "Agent") { name kind } b: __type(name: "Agent") { name } }'
    monkeypatch.setattr(introspection, "MAX_VALUES", 5)
    assert executed(text, executor_class=Reader).errors is None
    monkeypatch.setattr(introspection, "MAX_VALUES", 4)
    [error] = executed(text, executor_class=Reader).errors or []
    assert getattr(error.original_error, "reason", None) == "INTROSPECTION"


def test_repeated_introspection_resolves_nothing() -> None:
    text = get_introspection_query()

    def calls() -> int:
        return function_calls(lambda: executed(text, executor_class=Reader))

    executed(text, executor_class=Reader)
    assert calls() * 3 < function_calls(lambda: executed(text))


def test_nested_lists_of_introspection_stop_at_the_bound() -> None:
    inner = "name " + " ".join(f"a{n}: description" for n in range(3))
    fields = f"fields {{ {inner} args {{ {inner} type {{ name }} }} }}"
    text = f"{{ __schema {{ types {{ fields {{ type {{ {fields} }} }} }} }} }}"
    assert refusal(text) is None
    answer = executed(text, executor_class=Reader)
    assert answer.errors is None or getattr(answer.errors[0].original_error, "reason", None) == "INTROSPECTION"


@pytest.mark.parametrize(
    "text",
    [
        "{ viewer { id " + "x " * 30 + "} }",
        "query(" + " ".join(f"$v{n}: Int" for n in range(30)) + ") { viewer { id } }",
        "{ " + "\n" * 4_000 + "viewr }",
        'mutation { createConversation(input: {a: 1, b: 1, c: 1, d: "' + "x" * 3_000 + '"}) { errors { message } } }',
        "{ viewer { " + " ".join(f"a: agents(first: {n}) {{ totalCount }}" for n in range(30)) + " } }",
    ],
)
def test_a_document_with_many_errors_reports_the_first(text: str) -> None:
    documents = Documents(GRAPH, max_tokens=2_000, max_depth=15)
    with pytest.raises(RequestError) as refused:
        documents.operation(text, None)
    assert 1 <= len(refused.value.errors) <= validation.MAX_ERRORS + 1
    assert {error["extensions"]["code"] for error in refused.value.errors} == {"GRAPHQL_VALIDATION_FAILED"}


@pytest.mark.parametrize("document", ["{{ a{} " + "viewr " * 20 + "}}", "{{ a{}: viewer {{ " + "id " * 500 + "}} }}"])
def test_cached_documents_are_counted_by_their_memory(document: str) -> None:
    documents = Documents(GRAPH, max_tokens=2_000, max_depth=15)
    with suppress(RequestError):
        documents.operation(document.format(0), None)
    once = documents.cached_bytes
    assert once > 10_000
    for number in [*range(1, 5), 0]:
        with suppress(RequestError):
            documents.operation(document.format(number), None)
    assert documents.cached_bytes == 5 * once


def test_the_cache_of_documents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "_CACHE_BYTES", 100_000)
    documents = Documents(GRAPH, max_tokens=2_000, max_depth=15)
    for number in range(50):
        documents.operation(f"{{ a{number}: viewer {{ id name: email }} }}", None)
        assert documents.cached_bytes <= 100_000
    assert documents.cached_bytes > 80_000
