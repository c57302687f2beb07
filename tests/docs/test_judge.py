"""The comparison of examples with their answers accepts and refuses the right output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.docs.judge import Answer, Output, faults, json_difference, text_difference

REFUSED = '{"errors": [{"message": "The request body is not valid JSON.", "extensions": {"code": "BAD_REQUEST"}}]}'
STREAM = 'event: next\ndata: {"data":{"completion":{"text":"Hello"}}}\n\nevent: complete\ndata:\n'
FAILED = 'event: next\ndata: {"data":{"completion":{"outcome":"FAILED"}}}\n\nevent: complete\ndata:\n'


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (Output(REFUSED, statuses=(400,)), "HTTP status 400"),
        (Output("", statuses=(200, 503)), "HTTP status 503"),
        (Output("", statuses=(307,)), "HTTP status 307"),
        (Output("", exit_code=7), "exit status 7"),
        (Output("Traceback (most recent call last):\n"), "a traceback"),
        (Output("", stderr="Traceback (most recent call last):\n"), "a traceback"),
        (Output(REFUSED), "errors, which the page does not show"),
        (Output('{"data": {"a": {"errors": [{"message": "no"}]}}}'), "errors, which the page does not show"),
        (Output('{"data": {"a": null}, "errors": [{"message": "no"}]}'), "errors, which the page does not show"),
        (Output(f"event: next\ndata: {REFUSED}\n\n"), "errors, which the page does not show"),
        (Output('data: {"error": {"message": "no"}}\n\n'), "error, which the page does not show"),
        (Output(f"--graphql\r\n\r\n{REFUSED}\r\n--graphql--"), "errors, which the page does not show"),
        (Output(FAILED), "outcome FAILED, which the page does not show"),
    ],
)
def test_an_error_without_a_shown_answer_is_a_fault(output: Output, fault: str) -> None:
    assert fault in faults(output, None)


@pytest.mark.parametrize(
    "text", ["", STREAM, '{"data": {"a": {"errors": []}}}', '{"data": {"a": {"error": null}}}', "[1]"]
)
def test_a_success_needs_no_answer(text: str) -> None:
    assert faults(Output(text, statuses=(200,)), None) == []


def test_an_http_error_is_a_fault_even_if_it_is_shown() -> None:
    assert faults(Output(REFUSED, statuses=(400,)), Answer("json", REFUSED)) == ["HTTP status 400"]


def test_a_shown_user_error_is_required_and_no_fault() -> None:
    answer = Answer("json", '{"data": {"publish": {"errors": [{"message": "…"}]}}}')
    refused = '{"data": {"publish": {"errors": [{"message": "The file is not valid.", "problems": ["x"]}]}}}'
    assert faults(Output(refused), answer) == []
    assert faults(Output('{"data": {"publish": {"errors": []}}}'), answer)


@pytest.mark.parametrize(
    ("shown", "actual", "where"),
    [
        ('{"a": 1}', '{"a": 1, "b": 2}', None),
        ('{"a": 1}', '{"a": 2}', "the answer.a"),
        ('{"a": 1}', '{"b": 1}', "the answer has no"),
        ('{"a": 1}', '{"a": true}', "the answer.a"),
        ('{"a": 1}', '{"a": 1.0}', "the answer.a"),
        ('{"a": null}', '{"a": 0}', "the answer.a"),
        ('{"a": …}', '{"a": [1]}', None),
        ('{"a": …}', '{"a": null}', "the answer.a is null"),
        ('{"a": "…"}', '{"a": 4}', None),
        ('{"a": "agent-…"}', '{"a": "agent-1"}', None),
        ('{"a": "agent-…"}', '{"a": "run-1"}', "the answer.a"),
        ('{"a": "x … z"}', '{"a": "x y\\nz"}', "the answer.a"),
        ('{"a": [1, 2]}', '{"a": [1, 2, 3]}', "the answer.a has 3 items, not 2"),
        ('{"a": [1, …]}', '{"a": [1, 2, 3]}', None),
        ('{"a": [1, …]}', '{"a": []}', "the answer.a has 0 items, not 1 or more"),
        ('{"a": []}', '{"a": []}', None),
        ('{"a": [{"b": 1}]}', '{"a": [{"b": 2}]}', "the answer.a[0].b"),
        ('{"a": {}}', '{"a": []}', "the answer.a"),
        ('{"a": 1}', "nothing", "no JSON"),
        ('{"a": 1}\n…\n{"a": 3}', '{"a": 1}\n{"a": 2}\n{"a": 3}', None),
        ('{"a": 1}\n…\n{"a": 3}', '{"a": 1}\n{"a": 3}', None),
        ('{"a": 1}\n{"a": 3}', '{"a": 1}\n{"a": 2}\n{"a": 3}', "does not come"),
        ('{"a": 1}\n…\n{"a": 3}', '{"a": 1}\n{"a": 3}\n{"a": 4}', "more than what is shown"),
        ('{"a": 1}\n…', '{"a": 2}\n{"a": 1}', "does not come"),
        ('…\n{"a": 1}', "", "does not come"),
    ],
)
def test_json_is_compared(shown: str, actual: str, where: str | None) -> None:
    found = faults(Output(actual), Answer("json", shown))
    assert found == [] if where is None else where in found[0]


@pytest.mark.parametrize(
    ("shown", "actual", "same"),
    [
        ("a\nb\n", "a\nb", True),
        ("a\nb\n", "a\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("a…\n", "abc\n", True),
        ("a…\n", "ab\nc\n", False),
        ("a\n…\nz\n", "a\nz\n", True),
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\n", "a\nb\n", True),
        ("a\n…\nz\n", "a\nb\n", False),
        ("(a.c)\n", "(abc)\n", False),
        ("…\nevent: complete\ndata:\n", STREAM, True),
        ("…\nevent: complete\ndata:\n", f"{STREAM}event: next\n", False),
    ],
)
def test_text_is_compared(shown: str, actual: str, same: bool) -> None:
    assert (text_difference(shown, actual) is None) == same


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc…", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(DOCUMENTS)
def test_a_document_without_gaps_matches_only_itself(document: object) -> None:
    plain = json.loads(json.dumps(document).replace("\\u2026", "e"))
    assert json_difference(plain, plain) is None
    assert json_difference([plain], [plain, plain])
    assert json_difference({"x": [plain]}, {"y": [plain]})


async def test_a_refused_curl_is_a_fault(tmp_path: Path) -> None:
    """curl exits with 0; the HTTP status and the errors of the answer reveal the failure."""
    from tests.docs.examples import ExampleRunner
    from tests.support.process import serving

    async with serving(tmp_path, {"LOG_LEVEL": "WARNING"}) as gateway:
        runner = ExampleRunner(gateway, tmp_path)
        headers = '-H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json"'
        output = await runner.shell(f'curl -s {gateway.url}/graphql {headers} -d \'{{"query": "{{\n __typename }}"}}\'')
    assert (output.exit_code, output.statuses) == (0, (400,))
    assert {"HTTP status 400", "errors, which the page does not show"} <= set(faults(output, None))
