"""Each fault of each service at each endpoint: the client's answer is the one in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import resilience
from tests.support.cells import OPERATIONS
from tests.support.faulting import FAULTS
from tests.support.faulttable import CellKey, Row, measured, timed

PAGE = Path(__file__).parents[2] / "docs" / "resilience.md"


PATIENCE = 5.0
"""How much longer the timeouts are in a second measurement. On a busy machine, the wrong timeout can pass first."""


def differing(found: dict[CellKey, Row]) -> dict[CellKey, tuple[Row, Row | None]]:
    """Return the measured rows that are not in the table, with the table's rows."""
    promised = resilience.promised()
    return {key: (row, promised.get(key)) for key, row in found.items() if row != promised.get(key)}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", OPERATIONS)
async def test_each_fault_has_its_promised_answer(service: str) -> None:
    found = await measured(service)
    if slow := {fault for _, _, fault in differing(found)}:
        found |= await timed(service, PATIENCE, slow)
    assert differing(found) == {}
    assert found.keys() == {key for key in resilience.promised() if key[0] == service}


def test_the_table_has_every_cell() -> None:
    cells = {(name, one.name, fault) for name, all_ in OPERATIONS.items() for one in all_ for fault in FAULTS}
    assert resilience.promised().keys() == cells


def test_docs_resilience_is_the_table() -> None:
    assert resilience.page() == PAGE.read_text(), "make generated"
