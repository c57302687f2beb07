"""The decision records: their form, and the index of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, name_of

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
_HEAD = re.compile(
    r"# (?P<number>\d{4}): (?P<title>.+)\n\nDate: (?P<date>\d{4}-\d\d-\d\d)\. "
    r"Status: (?P<status>accepted|accepted; amended by \[\d{4}\]\(\S+\.md\)|superseded by \[\d{4}\]\(\S+\.md\))\."
)


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_a_record_has_number_title_date_and_status(record: Path) -> None:
    head = _HEAD.match(record.read_text())
    assert head, record.read_text()[:200]
    assert record.name.startswith(head["number"] + "-")


def test_the_index_has_every_record() -> None:
    heads = {record.name: _HEAD.match(record.read_text()) for record in RECORDS}
    rows = [
        f"| [{head['number']}]({name}) | {head['title']} | {head['status']} | {head['date']} |"
        for name, head in heads.items()
        if head
    ]
    index = (FOLDER / "README.md").read_text()
    assert re.findall(r"^\| \[.*$", index, re.MULTILINE) == rows


def test_no_two_records_have_the_same_number() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert len(numbers) == len(set(numbers))
