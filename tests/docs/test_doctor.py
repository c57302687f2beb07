"""The page about ``agentgraph doctor``, and the names of checks in other pages."""

from __future__ import annotations

import json
import re

from app.doctor.findings import Status
from app.doctor.page import rewritten
from app.doctor.registry import CHECKS, TITLES
from app.doctor.report import ExitStatus, Report
from tests.docs.markdown import PAGES, ROOT, snippets

PAGE = ROOT / "docs" / "doctor.md"


def test_the_page_lists_every_check() -> None:
    text = PAGE.read_text()
    assert rewritten(text) == text, "run `make generated`"


def test_checks_have_unique_names_and_stand_after_the_checks_that_they_need() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    assert [check.name for at, check in enumerate(CHECKS) if not set(check.needs) <= set(names[:at])] == []
    assert list(dict.fromkeys(check.group for check in CHECKS)) == list(TITLES)


def test_every_check_that_a_page_names_exists() -> None:
    names = {check.name for check in CHECKS}
    named = {
        (page.name, name)
        for page in PAGES
        if page.parent == ROOT / "docs"
        for name in re.findall(rf"`((?:{'|'.join(TITLES)})\.[a-z_]+)`", page.read_text())
        if not name.endswith((".py", ".md"))
    }
    assert {one for one in named if one[1] not in names} == set()
    assert {"operating.md", "doctor.md", "state.md"} <= {page for page, _ in named}


def test_the_page_has_the_form_of_the_report_and_every_exit_status() -> None:
    [example] = [json.loads(one.code) for one in snippets(PAGE) if one.language == "json"]
    report = json.loads(Report([]).as_json())
    assert list(example) == list(report)
    assert list(example["counts"]) == list(report["counts"]) == list(Status)
    rows = re.findall(r"^\| (\d) \|", PAGE.read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == list(ExitStatus)
