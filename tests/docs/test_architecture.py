"""The page of the architecture names files that exist, and every package."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT, prose

PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("app", "schema", "resolvers", "clients")


def test_every_file_that_the_page_names_exists() -> None:
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w./]*)`", prose(PAGE))
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_diagram_has_at_most_twelve_nodes() -> None:
    for diagram in re.findall(r"^```mermaid\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        nodes = re.findall(r"participant \w+|\b\w+(?:\[|\{)", diagram)
        assert 3 < len(nodes) <= 12, diagram
