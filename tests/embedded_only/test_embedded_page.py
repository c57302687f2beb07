from __future__ import annotations

import re
from dataclasses import asdict

from app.embedded.faults import Fault
from tests.support.embedded import embedded


async def test_the_page_shows_a_form_for_each_service_and_needs_nothing_from_elsewhere() -> None:
    async with embedded() as services:
        page = await services.page.get("")
        assert page.headers["content-type"].startswith("text/html")
        assert 'data-services="ams letta litellm"' in page.text
        assert not re.search(r"(?:src|href)=\"(?!data:)|https?://|@import|url\(", page.text)
        for words in ('lang="en"', "prefers-color-scheme: dark", 'aria-live="polite"', "<noscript>"):
            assert words in page.text


async def test_what_the_page_sends_sets_and_clears_a_fault() -> None:
    async with embedded() as services:
        none = asdict(Fault())
        fault = {**none, "status": 503}
        shown = (await services.page.put("faults", json={"service": "ams", **fault})).json()
        assert shown["ams"] == fault
        assert (await services.ams.get("/health")).status_code == 503
        await services.page.put("faults", json={"service": "ams", **none})
        assert (await services.ams.get("/health")).status_code == 200
        assert set((await services.page.get("stats")).json()) == {"inflight", "total", "disconnected"}
