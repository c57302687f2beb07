"""The threat model: every asset and endpoint names threats, and every threat names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "threat-model.md"
Row = tuple[str, ...]


def rows(*header: str) -> list[Row]:
    """Return the rows of all tables with a header."""
    found: list[Row] = []
    inside = False
    for line in PAGE.read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|")) if line.startswith("|") else ()
        inside = bool(cells) and (inside or cells == header)
        if inside and cells != header and set(line) - set("|- "):
            found.append(cells)
    return found


ASSETS = rows("asset", "who may have it", "threats")
ENDPOINTS = rows("endpoint", "who can send requests", "threats")
THREATS = rows("id", "threat", "answer", "tests")


@cache
def known_tests(module: str) -> dict[str, bool]:
    """Return the test functions of a module under ``tests``, and whether each is always skipped."""
    path = ROOT / "tests" / module
    if not path.is_file():
        return {}
    functions = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    return {one.name: any("skip" in ast.unparse(mark) for mark in one.decorator_list) for one in functions}


@pytest.mark.parametrize("row", THREATS, ids=[row[0] for row in THREATS])
def test_a_threat_names_tests_that_exist(row: Row) -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row[3])
    assert named
    assert re.sub(r"`[\w/]+\.py::test_\w+`(, )?", "", row[3]) == ""
    for module, test in named:
        assert known_tests(module).get(test) is False, f"{module}::{test}"


def test_threats_have_different_ids() -> None:
    ids = [row[0] for row in THREATS]
    assert len(set(ids)) == len(ids) > 30


@pytest.mark.parametrize("row", [*ASSETS, *ENDPOINTS], ids=lambda row: row[0])
def test_an_asset_or_endpoint_names_threats(row: Row) -> None:
    assert set(row[2].split(", ")) <= {threat[0] for threat in THREATS}


def test_every_threat_belongs_to_an_asset_or_endpoint() -> None:
    named = {one for row in [*ASSETS, *ENDPOINTS] for one in row[2].split(", ")}
    assert {row[0] for row in THREATS} <= named
