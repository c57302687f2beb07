"""The chat example at ``/demo``, outside production, where ``make demo`` has built it; and a token to try it with."""

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
from app.pages.local import is_from_this_machine
from app.settings import Settings

DIST = Path(__file__).parents[2] / "examples" / "chat" / "dist"

_POLICY = "default-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
}
_FOR_GOOD = "public, max-age=31536000, immutable"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def demo_routes(settings: Settings, dist: Path = DIST) -> list[BaseRoute]:
    """The routes: none in production or where nothing was built; ``/demo/token`` where development tokens sign in."""
    if settings.is_production or not (dist / "index.html").is_file():
        return []
    token = [Route("/demo/token", _token)] if settings.development_tokens else []
    return [
        *token,
        Route("/demo", lambda _: RedirectResponse("/demo/")),
        Mount("/demo", _Built(directory=dist, html=True)),
    ]


class _Built(StaticFiles):
    """The built page. What Vite names by its content may be kept for good; the rest is asked for again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file."""
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        answer.headers["cache-control"] = _FOR_GOOD if path.startswith("assets/") else "no-cache"
        if answer.status_code == 200 and (kind := _TYPES.get(Path(path).suffix)) is not None:
            answer.headers["content-type"] = kind  # a machine's own table may say anything
        return answer


async def _token(request: Request) -> Response:
    """A development token for the page itself, in a browser of this machine; for all else there is no such address."""
    private = {"cache-control": "no-store"}
    if not asks_itself(request.scope):
        return JSONResponse({"detail": "Not Found"}, 404, private)
    user_id, email, _ = PEOPLE["ada"]
    return JSONResponse({"token": make_token(dev_secret(), user_id=user_id, email=email)}, headers=private)


def asks_itself(scope: Scope) -> bool:
    """Whether a page of this very origin asks, or the person by the address bar, on this machine.

    Another local page does not (Fetch Metadata), although CORS would let it read the answer.
    """
    return header(scope, b"sec-fetch-site") in {"same-origin", "none"} and is_from_this_machine(scope)
