"""Published client libraries against a gateway, as ``docs/clients.md`` shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clienttable import PAGE, committed, lines_of, page
from tests.support.libraries import LIBRARIES, Library

EACH = [pytest.param(one, id=one.name, marks=getattr(pytest.mark, one.needs)) for one in LIBRARIES]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("library", EACH)
async def test_a_library_does_what_the_page_shows(library: Library, tmp_path: Path) -> None:
    seen = list((await lines_of(library, tmp_path)).values())
    assert seen == committed(library), "check each changed cell, and run: make clients"


def test_the_page_has_the_libraries_and_tables_of_the_run() -> None:
    rows = {line for library in LIBRARIES for line in committed(library)}
    lines = PAGE.read_text().splitlines()
    assert [line for line in lines if line not in rows] == page({}).splitlines()
