from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.embedded.faults import Fault
from tests.support.attack import attacked
from tests.support.embedded import Embedded, embedded


async def test_the_fault_page_has_all_services_and_no_external_resources(services: Embedded) -> None:
    page = await services.page.get("")
    assert page.headers["content-type"].startswith("text/html")
    assert 'data-services="ams letta litellm"' in page.text
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://|@import|url\(", page.text)
    for words in ('lang="en"', "prefers-color-scheme: dark", 'aria-live="polite"', "<noscript>"):
        assert words in page.text


async def test_the_request_of_the_fault_page_sets_and_clears_a_fault(services: Embedded) -> None:
    none = asdict(Fault())
    fault = {**none, "status": 503}
    shown = (await services.page.put("faults", json={"service": "ams", **fault})).json()
    assert shown["ams"] == fault
    assert (await services.ams.get("/health")).status_code == 503
    await services.page.put("faults", json={"service": "ams", **none})
    assert (await services.ams.get("/health")).status_code == 200
    assert set((await services.page.get("stats")).json()) == {"inflight", "total", "disconnected"}


CROSS_SITE = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
DOWN = b'{"service":"ams","down":true}'


async def test_a_web_page_without_the_secret_cannot_set_a_fault(services: Embedded) -> None:
    """A browser sends the first requests without a CORS preflight, and OPTIONS as the preflight of the others."""
    base = services.platform.urls["ams"].removesuffix("/ams")
    sent = CROSS_SITE | {"content-type": "text/plain"}
    for path in ("/_embedded/", "/_embedded/faults", "/_embedded/x/faults", "/_embedded//faults", "/faults"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = await services.page.request(method, base + path, content=DOWN, headers=sent)
            assert answer.status_code == 404
    asked = {"access-control-request-method": "PUT"} | CROSS_SITE
    for url in (f"{base}/_embedded/faults", f"{services.platform.page_url}faults"):
        answer = await services.page.options(url, headers=asked)
        assert answer.status_code >= 400
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert services.platform.faults == {}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1@evil", ""],
)
async def test_a_host_that_is_not_loopback_is_refused(services: Embedded, host: str) -> None:
    for url in (services.platform.page_url, f"{services.platform.page_url}faults", services.platform.urls["ams"]):
        answer = await services.page.put(url, content=DOWN, headers={"host": host})
        assert answer.status_code == 421
    assert services.platform.faults == {}


async def test_loopback_hosts_are_served_at_any_port(services: Embedded) -> None:
    for host in ("localhost", "LOCALHOST:9999", "127.0.0.1:1", "[::1]:8000"):
        assert (await services.page.get("stats", headers={"host": host})).status_code == 200


async def test_the_address_of_the_fault_page_contains_a_secret(services: Embedded) -> None:
    async with embedded() as others:
        secrets = {urlsplit(one.platform.page_url).path for one in (services, others)}
        assert len(secrets) == 2
        assert min(map(len, secrets)) > 32
        page = await services.page.get("")
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert page.headers["cache-control"] == "no-store"
        wrong = services.platform.page_url.replace("_embedded/", "_embedded/A")
        assert (await services.page.get(wrong)).status_code == 404


async def test_only_a_navigation_to_the_landing_page_shows_the_fault_page(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target, target.client(None) as client:
        shown = (await client.get("/", headers={"sec-fetch-dest": "document"})).text
        [address] = re.findall(r'href="(http[^"]+/_embedded/[^"]+)"', shown)
        assert (await client.get(address)).status_code == 200
        for headers in ({"origin": "http://localhost:3000"}, {"sec-fetch-dest": "empty"}, {"host": "evil.example"}):
            assert "_embedded" not in (await client.get("/", headers=headers)).text
