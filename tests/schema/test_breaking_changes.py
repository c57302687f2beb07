"""A change that could break a client's query is listed in docs/breaking-changes.md, or is not allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import build_schema, find_breaking_changes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "breaking-changes.md").read_text()
RELEASED = (ROOT / "schema" / "released.graphql").read_text()
PRESENT = (ROOT / "schema" / "schema.graphql").read_text()


def breaking(old: str, new: str) -> set[str]:
    return {change.description for change in find_breaking_changes(build_schema(old), build_schema(new))}


def listed(page: str) -> set[str]:
    """Return the changes listed as unreleased: the bold text at the beginning of each item."""
    unreleased = page.partition("## Unreleased")[2].partition("\n## ")[0]
    return set(re.findall(r"^- \*\*(.+?)\*\*", unreleased, re.MULTILINE))


def test_the_list_of_breaking_changes_is_exact() -> None:
    assert breaking(RELEASED, PRESENT) == listed(PAGE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type Query { a: Int b: Int }", "type Query { a: Int }"),
        ("type Query { a: Int! }", "type Query { a: Int }"),
        ("type Query { a(x: Int): Int }", "type Query { a(x: Int!): Int }"),
        ("enum E { A B } type Query { a: E }", "enum E { A } type Query { a: E }"),
    ],
)
def test_a_breaking_change_is_found(old: str, new: str) -> None:
    [change] = breaking(old, new)
    assert breaking(old, old) == set()
    assert listed(f"## Unreleased\n\n- **{change}** Do this.\n\n## 0.1.0\n\n- **Another.**\n") == {change}
