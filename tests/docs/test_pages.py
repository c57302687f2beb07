from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from app.graphql.subprotocol import Close
from app.rest.envelope import envelope
from clients.codes import ErrorCode
from clients.errors import HTTP_STATUS, error_of
from tests.docs.markdown import PAGES, ROOT, anchor, headings, links, name_of, prose, snippets

LIMITS = ROOT / "docs" / "limits.md"
MESSAGE_TOO_BIG = 1009
"""A code of RFC 6455, sent by the server."""
TRANSLATED = [(ROOT / f"{name}.md", ROOT / f"{name}.ru.md") for name in ("README", "API_CLIENT_GUIDE")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_targets_exist(page: Path) -> None:
    for link in links(page):
        target, _, place = link.partition("#")
        if re.match(r"https?://", target):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/\S*)?|http://127\.0\.0\.1:\d+(/\S*)?", target), link
            continue
        file = page if not target else (page.parent / target).resolve()
        assert file.exists(), link
        assert not place or place in {anchor(text) for _, text in headings(file)}, link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_has_one_title_and_skips_no_heading_level(page: Path) -> None:
    levels = [level for level, _ in headings(page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("pair", TRANSLATED, ids=lambda pair: name_of(pair[0]))
def test_a_translation_has_the_same_headings_and_the_same_code(pair: tuple[Path, Path]) -> None:
    original, translation = pair
    assert [level for level, _ in headings(translation)] == [level for level, _ in headings(original)]
    assert [(one.language, one.code) for one in snippets(translation)] == [
        (one.language, one.code) for one in snippets(original)
    ]
    assert [link for link in links(translation) if "://" not in link and not link.startswith("#")] == [
        link for link in links(original) if "://" not in link and not link.startswith("#")
    ]
    russian = len(re.findall(r"[\u0400-\u04ff]", prose(translation)))
    assert russian > len(prose(translation)) / 3


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
    assert set(PAGES) - reached == set()


def test_the_table_of_errors_matches_the_gateway() -> None:
    """Code, HTTP status, OpenAI's type and effect on a WebSocket."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| (?:`(\w+)` )?\| ([\w: ]+) \|", LIMITS.read_text(), re.MULTILINE)
    closing = {ErrorCode.UNAUTHENTICATED: int(Close.FORBIDDEN), ErrorCode.PAYLOAD_TOO_LARGE: MESSAGE_TOO_BIG}
    sent = {
        (code.value, *answered(code), f"closes: {closing[code]}" if code in closing else "stays open")
        for code in ErrorCode
    }
    assert len(rows) == len(sent)
    assert set(rows) == sent


def answered(code: ErrorCode) -> tuple[str, str]:
    """Return status and OpenAI's type; ``/v1`` has no errors of documents."""
    if code not in HTTP_STATUS:
        return "400", ""
    error = error_of(code, "", reason=None, service=None, retryable=False)
    return str(HTTP_STATUS[code]), envelope(error)["error"]["type"]
