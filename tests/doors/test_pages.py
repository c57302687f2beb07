from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.pages.files import BUILT
from tests.support.stack import KEY, Stack, any_stack, embedded_stack

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SIGN_IN = {"supabase_url": "http://127.0.0.1:1", "supabase_jwt_secret": KEY}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with any_stack(rate_limit_general=0, rate_limit_llm=0) as running:
        yield running


def config(text: str) -> dict[str, Any]:
    """Return the configuration in GraphiQL's page."""
    found = re.search(r'<meta name="agentgraph" content="([^"]*)">', text)
    assert found
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "application/json;q=0.5, text/html;q=0.6", "TEXT/HTML;q=1"])
async def test_a_client_that_prefers_html_gets_graphiql(stack: Stack, accept: str) -> None:
    answer = await stack.client.get("/graphql", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Accept" in answer.headers["vary"]
    assert answer.headers["cache-control"] == "no-store"
    operations = config(answer.text)["operations"]
    assert [re.search(r"(\w+) (\w+)", one["query"].split("\n\n")[0].split("#")[-1]) is not None for one in operations]


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "application/json, text/html", "text/html;q=0.5, */*", "text/html;q=0, */*;q=0.1"],
)
async def test_any_other_client_gets_the_graph(stack: Stack, accept: str) -> None:
    answer = await stack.client.get("/graphql", headers={"accept": accept})
    assert answer.status_code in {200, 400}
    assert "json" in answer.headers["content-type"]


async def test_a_browser_that_sends_a_query_gets_its_answer(stack: Stack) -> None:
    headers = {"accept": BROWSER}
    asked = {"query": "{ __typename }"}
    simple = await stack.client.get("/graphql", params=asked, headers=headers)
    assert (simple.status_code, simple.json()["errors"][0]["extensions"]["reason"]) == (400, "PREFLIGHT")
    preflighted = headers | {"graphql-require-preflight": "1"}
    read = await stack.client.get("/graphql", params=asked, headers=preflighted)
    empty = await stack.client.get("/graphql", params={"query": ""}, headers=headers)
    posted = await stack.client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert read.json() == posted.json() == {"data": {"__typename": "Query"}}
    assert empty.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("path", ["/", "/graphql", pytest.param("/docs", marks=pytest.mark.needs_pages)])
async def test_pages_have_a_strict_content_security_policy(stack: Stack, path: str) -> None:
    answer = await stack.client.get(path, headers={"accept": BROWSER})
    rules = answer.headers["content-security-policy"]
    assert "default-src 'none'" in rules
    assert "frame-ancestors 'none'" in rules
    assert "script-src 'unsafe-inline'" not in rules
    if BUILT.is_dir():
        assert "//" not in rules
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


TOKEN_FOR = [{"host": host} for host in ("localhost", "LOCALHOST:80", "127.0.0.1:65535", "[::1]:8000")]
NO_TOKEN_FOR = [
    {"host": host}
    for host in (
        "rebound.example",
        "rebound.example:8000",
        "127.0.0.1.rebound.example",
        "localhost.rebound.example",
        "localhost:8000.rebound.example",
        "127.0.0.2",
        "0.0.0.0",
        "2130706433",
        "[::]",
        "localhost.",
        "",
    )
] + [
    {"x-forwarded-for": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"x-forwarded-host": "localhost"},
    {"origin": "http://localhost:5173"},
    {"origin": "null"},
    {"sec-fetch-dest": "empty"},
    {"sec-fetch-dest": "iframe"},
]


@pytest.mark.parametrize("headers", TOKEN_FOR, ids=str)
async def test_a_local_browser_gets_a_valid_token(stack: Stack, headers: dict[str, str]) -> None:
    answer = await stack.client.get("/graphql", headers={"accept": BROWSER, "sec-fetch-dest": "document", **headers})
    token = config(answer.text)["token"]
    signed_in = await stack.client.post(
        "/graphql", json={"query": "{ viewer { email } }"}, headers={"authorization": f"Bearer {token}"}
    )
    assert signed_in.json() == {"data": {"viewer": {"email": "ada@example.com"}}}
    front = await stack.client.get("/", headers=headers)
    assert "export TOKEN=eyJ" in front.text
    assert front.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("headers", NO_TOKEN_FOR, ids=str)
async def test_other_clients_get_no_token(stack: Stack, headers: dict[str, str]) -> None:
    answer = await stack.client.get("/graphql", headers={"accept": BROWSER, **headers})
    assert config(answer.text)["token"] is None
    front = await stack.client.get("/", headers=headers)
    assert "eyJ" not in answer.text + front.text
    assert "rebound.example/" not in front.text or "host" in headers


@pytest.mark.parametrize("host", ["127.0.0.1@rebound.example", 'x"><script>alert(1)</script>', "a b", "a/b"])
async def test_an_invalid_host_is_refused_and_not_repeated(stack: Stack, host: str) -> None:
    answer = await stack.client.get("/", headers={"host": host})
    assert answer.status_code == 400
    assert host not in answer.text


async def test_with_supabase_there_is_no_token() -> None:
    async with embedded_stack(**SIGN_IN) as stack:
        told = config((await stack.client.get("/graphql", headers={"accept": BROWSER})).text)
        front = (await stack.client.get("/")).text
    assert (told["token"], told["developmentTokens"]) == (None, False)
    assert "eyJ" not in front
    assert "agentgraph token" not in front


async def test_production_has_no_graphiql_and_a_front_page_without_internals() -> None:
    async with embedded_stack(environment="production", **SIGN_IN) as stack:
        asked = await stack.client.get("/graphql", headers={"accept": BROWSER})
        front = await stack.client.get("/")
    assert asked.status_code == 401
    assert asked.headers["content-type"].startswith("application/json")
    assert f"{stack.url}/graphql" in front.text
    for word in ("eyJ", "TOKEN", "GraphiQL", "Letta", "LiteLLM", "metrics", "0.1.0", "<script"):
        assert word not in front.text
    assert "script-src" not in front.headers["content-security-policy"]


async def test_the_front_page_is_small_and_names_no_other_host(stack: Stack) -> None:
    answer = await stack.client.get("/")
    assert len(answer.content) < 20_000
    hosts = set(re.findall(r"//([^/\s\"'<]+)", answer.text))
    assert hosts == {stack.url.removeprefix("http://")}
    assert "{{" not in answer.text
    assert (await stack.client.post("/")).status_code == 405


async def test_the_front_page_says_which_services_are_real(stack: Stack) -> None:
    text = (await stack.client.get("/")).text
    assert '<tr data-service="letta"><th scope="row">Letta</th><td>real</td>' in text
    health = (await stack.client.get("/health")).json()
    assert set(re.findall('data-service="(.+?)"', text)) <= set(health["services"])


@pytest.mark.needs_pages
async def test_built_files_are_cached_as_immutable(stack: Stack) -> None:
    page = (await stack.client.get("/graphql", headers={"accept": BROWSER})).text
    names = re.findall(r'(?:src|href)="(/pages/[^"]+)"', page)
    assert names
    for name in names:
        answer = await stack.client.get(name)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path in (
        "/pages/assets/nothing.js",
        "/pages/assets/..%2findex.html",
        "/pages/assets/%2e%2e/%2e%2e/package.json",
    ):
        answer = await stack.client.get(path)
        assert answer.status_code == 404
        assert "cache-control" not in answer.headers


async def test_without_npm_the_libraries_come_from_one_cdn_in_the_same_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.pages.files.BUILT", tmp_path)
    async with embedded_stack() as stack:
        answer = await stack.client.get("/graphql", headers={"accept": BROWSER})
        scripts = [await stack.client.get(name) for name in re.findall('src="(/pages/.+?)"', answer.text)]
        docs = await stack.client.get("/docs")
    assert set(re.findall(r"https?://[^\s;/]+", answer.headers["content-security-policy"])) == {"https://esm.sh"}
    assert [script.status_code for script in scripts] == [200]
    assert "swagger" in docs.text
    package = json.loads((BUILT.parent / "package.json").read_text())["dependencies"]
    named = dict(re.findall(r"esm\.sh/((?:@[\w-]+/)?[\w-]+)@(\d+\.\d+\.\d+)", answer.text))
    assert len(named) == 7
    assert named == {name: package[name] for name in named}
    found = re.search(r'<script type="importmap">(.*?)</script>', answer.text, re.DOTALL)
    assert found
    assert json.loads(found[1])["imports"]["graphiql/"].endswith("/")
