"""TLS to all services with an own certificate authority, redirects, and proxies of the environment."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.embedded import http_client
from app.embedded.server import LoopbackServer
from app.embedded.supabase.service import EmbeddedSupabase
from app.logs import make_logger
from app.main import create_app
from app.settings import Settings, SettingsError
from app.telemetry import Telemetry
from tests.support.serving import served
from tests.support.settings import settings_of
from tests.support.stack import Stack, embedded_stack
from tests.support.supabase import SECRET, supabase_project, token_of
from tests.support.tls import over_tls

in_one_loop = pytest.mark.asyncio(loop_scope="module")

SERVICES = ("ams", "letta", "litellm", "supabase")
QUERY = {"query": "{ viewer { name agents { nodes { conversations(first: 1) { nodes { id } } } } } }"}


@dataclass
class Secured:
    """A gateway whose four services are behind TLS."""

    client: httpx.AsyncClient
    headers: dict[str, str]
    log: io.StringIO

    async def health(self) -> dict[str, tuple[str, str | None]]:
        """Return the status and cause of each service."""
        services = (await self.client.get("/health")).json()["services"]
        return {name: (services[name]["status"], services[name]["cause"]) for name in SERVICES}


@dataclass
class Plain:
    """The services without TLS, and the authority of their certificates."""

    stack: Stack
    project: EmbeddedSupabase
    authority: trustme.CA
    folder: Path

    @asynccontextmanager
    async def secured(self, *, bundle: bool, name: str = "localhost", **settings: Any) -> AsyncIterator[Secured]:
        """Run a gateway that calls the services over TLS."""
        options, log = self.stack.platform.options, io.StringIO()
        path = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(path))
        async with AsyncExitStack() as opened:
            urls = {f"{one}_base_url": self.stack.servers[one].url for one in ("ams", "letta", "litellm")}
            urls["supabase_url"] = self.project.url
            for field, url in urls.items():
                urls[field] = await opened.enter_async_context(over_tls(url, self.authority, name))
            keys = {"supabase_service_key": options.ams_key, "letta_api_key": options.letta_key}
            keys["supabase_jwt_issuer"] = self.project.sessions.issuer
            given = settings_of(**urls, **keys, upstream_ca_bundle=str(path) if bundle else None, **settings)
            app = create_app(given, Telemetry(make_logger("INFO", log)))
            url = await opened.enter_async_context(served(app, given))
            client = await opened.enter_async_context(http_client.client(base_url=url, timeout=20))
            yield Secured(client, {"authorization": f"Bearer {token_of(self.project)}"}, log)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plain]:
    async with embedded_stack() as stack, supabase_project() as project:
        yield Plain(stack, project, trustme.CA(), tmp_path_factory.mktemp("tls"))


@in_one_loop
async def test_one_setting_trusts_an_own_authority_at_all_services(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxies of the environment are not used: the calls carry the services' keys."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with plain.secured(bundle=True) as gateway:
        answer = (await gateway.client.post("/graphql", json=QUERY, headers=gateway.headers)).json()
        assert "errors" not in answer
        assert answer["data"]["viewer"]["agents"]["nodes"][0]["conversations"]
        assert (await gateway.client.get("/v1/models", headers=gateway.headers)).json()["data"]
        assert await gateway.health() == dict.fromkeys(SERVICES, ("ok", None))


@in_one_loop
@pytest.mark.parametrize(
    ("bundle", "name", "cause"),
    [
        (False, "localhost", "the TLS certificate is not trusted (unable to get local issuer certificate)"),
        (True, "other.example", "the TLS certificate is not trusted (Hostname mismatch, certificate is not valid for"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_refused_by_all(
    plain: Plain, bundle: bool, name: str, cause: str
) -> None:
    async with plain.secured(bundle=bundle, name=name, supabase_jwt_secret=SECRET) as gateway:
        refused = await gateway.client.post("/graphql", json=QUERY, headers=gateway.headers)
        extensions = refused.json()["errors"][0]["extensions"]
        assert (refused.status_code, extensions["code"], extensions["reason"]) == (
            503,
            "UPSTREAM_UNAVAILABLE",
            "ISSUER",
        )
        for service, (status, told) in (await gateway.health()).items():
            assert status == "down", service
            assert (told or "").startswith(cause)
    assert plain.stack.platform.options.ams_key not in gateway.log.getvalue()


@in_one_loop
async def test_a_bundle_that_cannot_be_used_stops_the_start(plain: Plain, tmp_path: Path) -> None:
    wrong = {
        str(tmp_path / "missing.pem"): "cannot be read: No such file or directory",
        str(tmp_path): "cannot be read: Is a directory",
        "a\0b": "cannot be read: the path is invalid",
    }
    blob = plain.authority.private_key_pem.bytes()
    contents = {"empty": b"", "key": blob, "der": b"\x30\x82\x01\x0a", "cut": plain.authority.cert_pem.bytes()[:200]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        wrong[str(tmp_path / name)] = "has no readable certificate"
    for path, problem in wrong.items():
        with pytest.raises(SettingsError) as caught:
            Settings.load(_env_file=None, upstream_ca_bundle=path)
        [line] = caught.value.problems
        assert line.startswith("UPSTREAM_CA_BUNDLE: the file ")
        assert problem in line
    assert blob.decode()[40:80] not in line


async def test_no_service_can_redirect_a_call() -> None:
    followed, asked = [], set()

    async def trap(request: Request) -> Response:
        followed.append(request.url.path)
        return JSONResponse({})

    async with AsyncExitStack() as opened:
        goal = LoopbackServer(Starlette(routes=[Route("/{path:path}", trap, methods=["GET", "POST"])]))
        await goal.start()
        opened.push_async_callback(goal.stop)

        async def moved(request: Request) -> Response:
            asked.add(request.url.path.split("/")[1])
            return RedirectResponse(f"{goal.url}/stolen", 307)

        mover = LoopbackServer(Starlette(routes=[Route("/{path:path}", moved, methods=["GET", "POST"])]))
        await mover.start()
        opened.push_async_callback(mover.stop)
        urls = {f"{name}_base_url": f"{mover.url}/{name}" for name in ("ams", "letta", "litellm")}
        keys = {"supabase_service_key": "k", "letta_api_key": "k", "litellm_api_key": "k"}
        given = settings_of(**urls, **keys, supabase_url=f"{mover.url}/supabase")
        url = await opened.enter_async_context(
            served(create_app(given, Telemetry(make_logger("INFO", io.StringIO()))), given)
        )
        async with http_client.client(base_url=url) as client, supabase_project() as project:
            headers = {"authorization": f"Bearer {token_of(project)}"}
            assert (await client.post("/graphql", json=QUERY, headers=headers)).status_code == 503
            services = (await client.get("/health")).json()["services"]
    assert asked == set(SERVICES)
    assert {one["status"] for one in services.values()} == {"down"}
    for one in services.values():
        assert "the redirect status 307. Check " in one["note"]
    assert followed == []
