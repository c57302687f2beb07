from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app.pages.demo import demo_routes
from app.settings import Environment
from tests.support.settings import settings_of

HOME = {"host": "127.0.0.1:8000", "sec-fetch-site": "same-origin"}
NAME = "assets/index-abc.js"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>Chat</title>")
    (folder / NAME).write_text("export {}")
    (tmp_path / "secret.txt").write_text("not for you")
    return folder


def asking(app: ASGIApp, client: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, client=(client, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


def served(dist: Path, **settings: Any) -> ASGIApp:
    return Starlette(routes=demo_routes(settings_of(**settings), dist))


async def test_files_have_content_type_policy_and_cache_control(dist: Path) -> None:
    async with asking(served(dist)) as client:
        page, script = await client.get("/demo/"), await client.get(f"/demo/{NAME}")
        assert (await client.get("/demo")).headers["location"] == "/demo/"
    assert page.text == "<title>Chat</title>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    for answer in (page, script):
        assert "default-src 'self'; connect-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/demo/../secret.txt", "/demo/%2e%2e/secret.txt", "/demo/assets/..%2f..%2fsecret.txt", "/demo/nothing.js"]
)
async def test_nothing_else_is_served(dist: Path, path: str) -> None:
    async with asking(served(dist)) as client:
        assert (await client.get(path)).status_code == 404


async def test_the_demo_is_not_served_in_production_or_before_it_is_built(dist: Path, tmp_path: Path) -> None:
    development = settings_of()
    assert demo_routes(development.model_copy(update={"environment": Environment.PRODUCTION}), dist) == []
    assert demo_routes(development, tmp_path) == []


async def test_the_page_itself_gets_a_token(dist: Path) -> None:
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        async with asking(served(dist)) as client:
            answer = await client.get("/demo/token", headers=HOME | {"host": host})
        assert answer.json()["token"].startswith("eyJ")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"host": "rebound.example"}, "127.0.0.1"),
        ({"host": "127.0.0.1.rebound.example"}, "127.0.0.1"),
        ({"sec-fetch-site": "same-site"}, "127.0.0.1"),
        ({"sec-fetch-site": "cross-site"}, "127.0.0.1"),
        ({"x-forwarded-for": "127.0.0.1"}, "127.0.0.1"),
        ({}, "192.0.2.7"),
    ],
)
async def test_other_clients_get_no_token(dist: Path, headers: dict[str, str], client: str) -> None:
    async with asking(served(dist), client) as asker:
        assert (await asker.get("/demo/token", headers=HOME | headers)).status_code == 404


async def test_a_client_without_sec_fetch_site_gets_no_token(dist: Path) -> None:
    async with asking(served(dist)) as client:
        assert (await client.get("/demo/token")).status_code == 404


async def test_with_supabase_there_are_no_tokens(dist: Path) -> None:
    app = served(dist, supabase_url="http://127.0.0.1:1", supabase_jwt_secret="k" * 48)
    async with asking(app) as client:
        assert (await client.get("/demo/token", headers=HOME)).status_code == 404
