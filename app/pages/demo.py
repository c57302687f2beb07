"""The chat example at ``/demo``, if ``make demo`` has built it, with a development token. Never in production."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.asgi import header
from app.devtokens import dev_secret, make_token
from app.embedded.people import PEOPLE
from app.pages.files import IMMUTABLE
from app.pages.local import is_from_this_machine
from app.settings import Settings

DIST = Path(__file__).parents[2] / "examples" / "chat" / "dist"

_POLICY = "default-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def demo_routes(settings: Settings, dist: Path = DIST) -> list[BaseRoute]:
    """Return the routes: none in production or without a build; ``/demo/token`` if development tokens are accepted."""
    if settings.is_production or not (dist / "index.html").is_file():
        return []
    token = [Route("/demo/token", _token)] if settings.development_tokens else []
    return [
        *token,
        Route("/demo", lambda _: RedirectResponse("/demo/")),
        Mount("/demo", _Built(directory=dist, html=True)),
    ]


class _Built(StaticFiles):
    """Serves the built files. Assets are immutable, since Vite names them by their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Serve one file."""
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        answer.headers["cache-control"] = IMMUTABLE if path.startswith("assets/") else "no-cache"
        if answer.status_code == 200 and (kind := _TYPES.get(Path(path).suffix)) is not None:
            answer.headers["content-type"] = kind  # not from the machine's own table
        return answer


async def _token(request: Request) -> Response:
    """Return a development token to the page itself in a browser of this machine; 404 to others."""
    private = {"cache-control": "no-store"}
    if not _is_same_origin(request.scope):
        return JSONResponse({"detail": "Not Found"}, 404, private)
    user_id, email, _ = PEOPLE["ada"]
    return JSONResponse({"token": make_token(dev_secret(), user_id=user_id, email=email)}, headers=private)


def _is_same_origin(scope: Scope) -> bool:
    """Whether a request comes from this machine, and from a page of this origin or the address bar (Fetch Metadata).

    Other local pages are refused: CORS would let them read the response.
    """
    return header(scope, b"sec-fetch-site") in {"same-origin", "none"} and is_from_this_machine(scope)
