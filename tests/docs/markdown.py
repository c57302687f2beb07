"""Parse headings, links and code blocks of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tests.docs.judge import Answer

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
ANSWERS = {"json", "text"}
"""Languages of a block with the answer of the example directly before it."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Snippet:
    """A code block and its heading. ``answer`` is the block directly after it, if that is an answer."""

    heading: str
    language: str
    code: str
    answer: Answer | None = None


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return the page without its code."""
    return _FENCE.sub("", page.read_text())


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(marks), text) for marks, text in _HEADING.findall(prose(page))]


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchor(heading: str) -> str:
    """Return the anchor of a heading on the usual forges."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text()
    blocks = list(_FENCE.finditer(text))
    found = []
    for match, after in zip_longest(blocks, blocks[1:]):
        above = _HEADING.findall(_FENCE.sub("", text[: match.start()]))
        is_answer = after is not None and after[1] in ANSWERS and not text[match.end() : after.start()].strip()
        answer = Answer(after[1], after[2]) if after is not None and is_answer else None
        found.append(Snippet(above[-1][1] if above else "", match[1], match[2], answer))
    return found
