"""The landing page and the REST documentation, in a browser that can reach only the gateway."""

from __future__ import annotations

import pytest

from tests.support.browser import run_in_browser
from tests.support.stack import Stack

pytestmark = [pytest.mark.needs_node, pytest.mark.needs_chromium]
QUIET: dict[str, list[str]] = {"elsewhere": [], "errors": []}


async def test_the_front_page_shows_health_and_copies_its_snippets(stack: Stack) -> None:
    whole, told = await run_in_browser("landing.mjs", url=stack.url)
    assert whole["health"] == {"ams": "ok", "letta": "ok", "litellm": "ok"}
    assert whole["overall"].startswith("Health: ok")
    assert whole["copied"] == whole["shown"]
    assert whole["shown"]["token"].startswith("export TOKEN=")
    assert whole["reached"] == ["Skip to content", "Open GraphiQL"]
    assert told == QUIET

    await stack.servers["letta"].stop()
    broken, told = await run_in_browser("landing.mjs", url=stack.url)
    assert broken["health"]["letta"].startswith("down")
    assert broken["overall"].startswith("Health: degraded")
    assert told == QUIET


@pytest.mark.needs_pages
async def test_the_api_description_of_v1_needs_no_network(stack: Stack) -> None:
    [told] = await run_in_browser("docs.mjs", url=stack.url)
    assert told == QUIET
