"""Run every example of the docs and compare its output with the shown answer."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.examples import RUN, example_runner, installed_shells
from tests.docs.markdown import PAGES, ROOT, Snippet, name_of, snippets

SHOWN = {"json", "text", "ini", "tsx", "yaml", "mermaid"}
QUOTED = (
    "examples/*/src/**/*.ts*",
    "tests/node/cache/*.mjs",
    "tests/node/cache/relay/*.js",
    "tests/node/stock_clients.mjs",
)
WITH_CODE = [page for page in PAGES if snippets(page)]
WITH_EXAMPLES = [page for page in PAGES if any(one.language in RUN for one in snippets(page))]
ANSWERED = [page for page in WITH_EXAMPLES if page.parent == ROOT]
"""README and guide in both languages: each example with output shows it."""


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_each_code_block_has_a_known_language(page: Path) -> None:
    assert {one.language for one in snippets(page)} <= RUN | SHOWN


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_quoted_code_is_in_the_examples(page: Path) -> None:
    sources = [path.read_text() for pattern in QUOTED for path in ROOT.glob(pattern)]
    for one in snippets(page):
        if one.language == "tsx":
            pieces = [piece.strip("\n") for piece in re.split(r"^// …$", one.code, flags=re.MULTILINE)]
            assert any(all(piece in source for piece in pieces) for source in sources), one.code


def prints_something(snippet: Snippet) -> bool:
    lines = snippet.code.splitlines()
    return snippet.language != "sh" or not all(re.match(r"export |make |$", line) for line in lines)


@pytest.mark.parametrize("page", ANSWERED, ids=name_of)
def test_each_example_shows_its_answer(page: Path) -> None:
    examples = [one for one in snippets(page) if one.language in RUN]
    assert [one.code for one in examples if prints_something(one) and one.answer is None] == []


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_shell_examples_have_no_comments(page: Path) -> None:
    """An interactive zsh reads comments as arguments."""
    for one in snippets(page):
        assert one.language != "sh" or not re.search(r"(^|\s)#", one.code, re.MULTILINE), one.code


def test_bash_is_installed() -> None:
    assert "bash" in installed_shells()


def by_examples() -> dict[str, list[Snippet]]:
    """Return the examples of each page; a translation with the same code and answers runs with its original."""
    found: dict[tuple[Snippet, ...], list[Path]] = {}
    for page in WITH_EXAMPLES:
        examples = tuple(replace(one, heading="") for one in snippets(page) if one.language in RUN)
        found.setdefault(examples, []).append(page)
    return {" and ".join(map(name_of, pages)): list(examples) for examples, pages in found.items()}


EXAMPLES = by_examples()


def test_the_examples_of_both_languages_are_run() -> None:
    assert {page.name for page in ANSWERED} == {
        "README.md",
        "README.ru.md",
        "API_CLIENT_GUIDE.md",
        "API_CLIENT_GUIDE.ru.md",
    }
    assert all(any(name_of(page) in names.split(" and ") for names in EXAMPLES) for page in ANSWERED)


@pytest.mark.needs_node
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pages", EXAMPLES)
async def test_the_examples_answer_as_shown(pages: str, tmp_path: Path) -> None:
    async with example_runner(tmp_path) as runner:
        found = [(one, await runner.run(one)) for one in EXAMPLES[pages]]
    wrong = ["\n".join([one.code, *faults]) for one, faults in found if faults]
    assert not wrong, "\n\n".join(wrong)
