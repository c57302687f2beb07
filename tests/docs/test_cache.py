from __future__ import annotations

import re
from pathlib import Path

from app.cache_page import rewritten
from clients.state.cache import Tag
from resolvers.cache.policy import LOCAL_SECONDS, PATIENCE_SECONDS
from resolvers.cache.reads import Outcome
from resolvers.cache.stale import MAX_LISTED, REVALIDATING, SLOW

PAGE = (Path(__file__).parents[2] / "docs" / "cache.md").read_text()


def test_the_page_lists_every_kind_of_record() -> None:
    assert rewritten(PAGE) == PAGE, "run `make generated`"


def test_the_page_has_the_numbers_and_names_of_the_code() -> None:
    row = re.search(r"agentgraph_cache_reads_total.*", PAGE)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[0])) >= set(Outcome)
    parts = re.search(r"these parts: ([^.]*)\.", PAGE)
    assert parts is not None
    assert re.split(r",\s+", parts[1]) == list(Tag)
    texts = [
        f"within {PATIENCE_SECONDS:g} seconds",
        f"at most {LOCAL_SECONDS:g} seconds",
        f"more than {MAX_LISTED} fields",
    ]
    assert [text for text in (*texts, f"`{REVALIDATING}`", f"`{SLOW}`") if text not in PAGE] == []
