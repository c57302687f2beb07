from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from app.graphql.nul import nul_in_variables


def nested(depth: int, value: object) -> object:
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"a": "x"}, None),
        ({"a": "\0"}, "a"),
        ({"a": {"b": [1, "x", {"c": "x\0"}]}}, "a.b[2].c"),
        ({"a": [], "b": {}, "c": [[], ["\0"]]}, "c[1][0]"),
        ({"a\0": 1}, ""),
        ({"a": {"b": {"c\0": 1}}}, "a.b"),
        ({"a": nested(300, "x")}, None),
    ],
)
def test_the_path_of_a_text_with_nul_is_found(variables: dict[str, Any], place: str | None) -> None:
    assert nul_in_variables(variables) == place


def test_a_long_path_is_shortened() -> None:
    found = nul_in_variables({"a": nested(800, "\0")})
    assert found == "a" + ".a" * 99 + ".…"


@pytest.mark.parametrize("last", [{"z": "\0"}, {"z": nested(300, "x")}])
def test_finding_a_path_builds_no_paths_of_other_values(last: dict[str, Any]) -> None:
    variables = {"k" * 20_000: [1] * 2_000, **last}
    tracemalloc.start()
    try:
        nul_in_variables(variables)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
