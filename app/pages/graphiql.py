"""GraphiQL at ``GET /graphql``, for a client that would rather have a page: a browser's address bar."""

from __future__ import annotations

import html
from collections.abc import Awaitable
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import accept_of
from app.graphql.media import prefers_page
from app.pages.files import built
from app.pages.local import local_token
from app.pages.page import Markup, digest, filled, page, policy, read
from app.settings import Settings

OPERATIONS = Path(__file__).parent / "operations"
CDN = "https://esm.sh"

_GAP = "{{config}}"
_LOOKS = {"style_src": "'self' 'unsafe-inline'", "img_src": "'self' data:", "font_src": "'self' data:"}
BUILT_POLICY = policy(script_src="'self'", worker_src="'self'", connect_src="'self'", **_LOOKS)
"""No host but this one. Monaco styles its lines by attributes, hence the inline styles."""


@cache
def operations() -> list[dict[str, str]]:
    """The saved operations, in the order of their files' names, each with its variables as JSON text."""
    return [
        {"query": path.read_text(), "variables": variables.read_text() if variables.exists() else ""}
        for path in sorted(OPERATIONS.glob("*.graphql"))
        for variables in [path.with_suffix(".json")]
    ]


class GraphiQL:
    """The page where a browser asks for one, and the GraphQL door for everybody else. Never in production."""

    def __init__(self, settings: Settings, door: ASGIApp) -> None:
        self._settings = settings
        self._door = door
        self._operations = operations()
        self._page, self._policy = _built_page() or _cdn_page()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        serve = self._door if self._settings.is_production or not _wants_page(scope) else self._answer
        return serve(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = local_token(scope, self._settings)
        config = {
            "token": token,
            "developmentTokens": self._settings.development_tokens,
            "operations": self._operations,
        }
        text = self._page.replace(_GAP, html.escape(orjson.dumps(config).decode()))
        answer = page(text, self._policy, secret=token is not None, vary="Accept")
        await answer(scope, receive, send)


def _wants_page(scope: Scope) -> bool:
    """Whether it is a browser without a query; one with a query gets its answer."""
    return (
        scope["method"] == "GET"
        and prefers_page(accept_of(scope))
        and "query" not in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    )


def _built_page() -> tuple[str, str] | None:
    text = built("index.html")
    return None if text is None else (text, BUILT_POLICY)


def _cdn_page() -> tuple[str, str]:
    """The same page from the same sources, but for the libraries, which a CDN makes into modules."""
    imports = read("graphiql/cdn.importmap.json").strip()
    text = filled(read("graphiql/cdn.html"), {"imports": Markup(imports), "cdn": CDN, "config": Markup(_GAP)})
    looks = {**_LOOKS, "style_src": f"{_LOOKS['style_src']} {CDN}", "font_src": f"{_LOOKS['font_src']} {CDN}"}
    scripts = f"'self' {CDN} {digest(imports)}"
    return text, policy(script_src=scripts, worker_src="'self' blob:", connect_src=f"'self' {CDN}", **looks)
