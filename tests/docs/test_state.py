from __future__ import annotations

import re
from pathlib import Path

from app.state_page import rewritten
from clients.state.errors import StateCause
from clients.state.names import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "state.md"


def test_the_page_lists_every_kind_of_key() -> None:
    text = PAGE.read_text()
    assert rewritten(text) == text, "run `make generated`"
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_the_page_names_every_cause() -> None:
    row = re.search(r"agentgraph_state_failures_total.*", PAGE.read_text())
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[0])) - {"agentgraph_state_failures_total", "cause"} == set(StateCause)
