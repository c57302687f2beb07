"""Serves GraphiQL to browsers at ``GET /graphql``."""

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

_PLACEHOLDER = "{{config}}"
_SOURCES = {"style_src": "'self' 'unsafe-inline'", "img_src": "'self' data:", "font_src": "'self' data:"}
BUILT_POLICY = policy(script_src="'self'", worker_src="'self'", connect_src="'self'", **_SOURCES)
"""GraphiQL's content security policy, which allows only this host and inline styles.

The Monaco editor sets inline styles on its lines.
"""


@cache
def operations() -> list[dict[str, str]]:
    """Return GraphiQL's saved operations, sorted by file name. Each operation's variables are JSON text."""
    return [
        {"query": path.read_text(), "variables": variables.read_text() if variables.exists() else ""}
        for path in sorted(OPERATIONS.glob("*.graphql"))
        for variables in [path.with_suffix(".json")]
    ]


class GraphiQL:
    """Serves GraphiQL to browsers, except in production.

    If a request does not ask for a page, ``endpoint`` serves the request.
    """

    def __init__(self, settings: Settings, endpoint: ASGIApp) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._operations = operations()
        self._page, self._policy = _built_page() or _cdn_page()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        serve = self._endpoint if self._settings.is_production or not _wants_page(scope) else self._answer
        return serve(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = local_token(scope, self._settings)
        config = {
            "token": token,
            "developmentTokens": self._settings.development_tokens,
            "operations": self._operations,
        }
        text = self._page.replace(_PLACEHOLDER, html.escape(orjson.dumps(config).decode()))
        answer = page(text, self._policy, secret=token is not None, vary="Accept")
        await answer(scope, receive, send)


def _wants_page(scope: Scope) -> bool:
    return (
        scope["method"] == "GET"
        and prefers_page(accept_of(scope))
        and "query" not in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    )


def _built_page() -> tuple[str, str] | None:
    text = built("index.html")
    return None if text is None else (text, BUILT_POLICY)


def _cdn_page() -> tuple[str, str]:
    imports = read("graphiql/cdn.importmap.json").strip()
    text = filled(read("graphiql/cdn.html"), {"imports": Markup(imports), "cdn": CDN, "config": Markup(_PLACEHOLDER)})
    more = {name: f"{_SOURCES[name]} {CDN}" for name in ("style_src", "font_src")}
    scripts = f"'self' {CDN} {digest(imports)}"
    return text, policy(script_src=scripts, worker_src="'self' blob:", connect_src=f"'self' {CDN}", **(_SOURCES | more))
