"""The pages for contributors name files that exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT, prose

ARCHITECTURE = ROOT / "docs" / "architecture.md"
FOLDERS = "app|schema|resolvers|clients|tests|docs"


@pytest.mark.parametrize(("name", "least"), [("docs/architecture.md", 40), ("CONTRIBUTING.md", 20)])
def test_every_file_that_a_page_names_exists(name: str, least: int) -> None:
    named = re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./-]*)", prose(ROOT / name))
    assert len(named) > least
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_diagram_has_at_most_twelve_nodes() -> None:
    diagrams = re.findall(r"^```mermaid\n(.*?)^```", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(diagrams) == 5
    for diagram in diagrams:
        nodes = re.findall(r"participant \w+|\b\w+(?:\[|\{)", diagram)
        assert 3 < len(nodes) <= 12, diagram
