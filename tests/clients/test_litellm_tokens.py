from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from clients.litellm.fields import json_object
from clients.litellm.tokens import header_cost, updated, usage_of, whole_usage, with_counts
from clients.usage import Usage


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (7, 7),
        (0, 0),
        ("7", 7),
        (" 7 ", 7),
        (7.0, 7),
        (2**31 - 1, 2**31 - 1),
        (7.5, None),
        (-1, None),
        (2**31, None),
        (10**40, None),
        (True, None),
        (None, None),
        ("many", None),
        ("", None),
        ("9" * 10_000, None),
        ([7], None),
        ({"total": 7}, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_a_count_that_cannot_be_read_is_unknown_and_the_others_are_kept(sent: object, count: int | None) -> None:
    usage = usage_of({"prompt_tokens": sent, "completion_tokens": 5})
    assert usage == Usage(prompt_tokens=count, completion_tokens=5)


@pytest.mark.parametrize(
    ("sent", "cost"),
    [
        (0.1 + 0.2, Decimal("0.3")),
        ("0.25", Decimal("0.25")),
        (0, Decimal(0)),
        ({"total_cost": 0.3}, None),
        ("n/a", None),
        (-0.5, None),
        (1e300, None),
        (float("nan"), None),
        (float("inf"), None),
        ("NaN", None),
        (True, None),
        ([0.3], None),
        (None, None),
    ],
)
def test_a_cost_that_cannot_be_read_is_unknown(sent: object, cost: Decimal | None) -> None:
    assert usage_of({"total_tokens": 1, "cost": sent}) == Usage(total_tokens=1, cost_usd=cost)
    assert header_cost({"x-litellm-response-cost": str(sent)}) == cost


@pytest.mark.parametrize("sent", [None, [], [1], "12", 12, True, {}, {"prompt_tokens": {}}, {"other": 1}])
def test_usage_of_another_shape_is_unknown(sent: object) -> None:
    assert usage_of(sent) is None


@pytest.mark.parametrize("details", [None, [], "x", 1, {"cached_tokens": "x"}, {"reasoning_tokens": []}])
def test_details_of_another_shape_are_unknown(details: object) -> None:
    sent = {"total_tokens": 3, "prompt_tokens_details": details, "completion_tokens_details": details}
    assert usage_of(sent) == Usage(total_tokens=3)


def test_later_usage_replaces_the_counts_that_it_has() -> None:
    first = Usage(prompt_tokens=7, completion_tokens=1, cost_usd=Decimal("0.1"))
    second = Usage(prompt_tokens=7, completion_tokens=5)
    assert updated(first, second) == Usage(prompt_tokens=7, completion_tokens=5, cost_usd=Decimal("0.1"))
    assert updated(first, None) is first
    assert updated(None, second) is second


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage": {"prompt_tokens": 2, "total_tokens": "3"}}', Usage(prompt_tokens=2, total_tokens=3)),
        (b'{"usage": null}', None),
        (b"{}", None),
        (b"<html>", None),
        (b"\xff", None),
    ],
)
def test_the_usage_of_a_whole_answer(body: bytes, usage: Usage | None) -> None:
    assert whole_usage(body) == usage


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"usage": {"a_tokens": null, "b": null}}', '{"usage": {"a_tokens": 0, "b": null}}'),
        ('{"x_tokens": null, "usage": {"a_tokens":null}}', '{"x_tokens": null, "usage": {"a_tokens":0}}'),
        ('{"usage": {"d": {"a_tokens" : null}}}', '{"usage": {"d": {"a_tokens" : 0}}}'),
        ('{"x": "\\"a_tokens\\": null", "usage": 1}', '{"x": "\\"a_tokens\\": null", "usage": 1}'),
        ('{"usage": null, "a_tokens": null}', '{"usage": null, "a_tokens": null}'),
        ('data: {"usage":{"a_tokens":null}}\n\n', 'data: {"usage":{"a_tokens":0}}\n\n'),
        ('"a_tokens": null', '"a_tokens": null'),
    ],
)
def test_null_counts_become_zero_and_nothing_else_changes(before: str, after: str) -> None:
    assert with_counts(before.encode()) == after.encode()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": NaN, "b": "x"}', "x"),
        (b'{"a": -Infinity, "b": "x"}', "x"),
        (b'{"a": 1e400, "b": "x"}', "x"),
        (b'{"a": ' + b"9" * 9000 + b', "b": "x"}', "x"),
        (b'\xef\xbb\xbf{"b": "x"}', "x"),
        (b'{"b": "x\xff"}', "x\ufffd"),
        (b'{"b": "a\tb"}', "a\tb"),
        (b'{"b": "\\ud83d"}', "\ud83d"),
    ],
)
def test_json_that_other_writers_produce_is_read(data: bytes, value: str) -> None:
    read: dict[str, Any] | None = json_object(data)
    assert read is not None
    assert read["b"] == value


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"1", b"null", b"ping", b"[" * 100_000, json.dumps("x").encode()])
def test_data_that_is_not_a_json_object(data: bytes) -> None:
    assert json_object(data) is None
