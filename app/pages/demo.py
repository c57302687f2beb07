"""Serves the chat example and a development token at ``/demo``, except in production."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.asgi import header
from app.devtokens import make_token, signing_key
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
    """Return the routes of the chat example. The list is empty in production, or if the example is not built."""
    if settings.is_production or not (dist / "index.html").is_file():
        return []
    token = [Route("/demo/token", _token)] if settings.development_tokens else []
    return [
        *token,
        Route("/demo", lambda _: RedirectResponse("/demo/")),
        Mount("/demo", _Built(directory=dist, html=True)),
    ]


class _Built(StaticFiles):
    """Serves the chat example's built files. Browsers may cache assets, whose names contain a hash of the content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Serve one file."""
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        answer.headers["cache-control"] = IMMUTABLE if path.startswith("assets/") else "no-cache"
        if answer.status_code == 200 and (kind := _TYPES.get(Path(path).suffix)) is not None:
            answer.headers["content-type"] = kind  # the machine's own table may differ
        return answer


async def _token(request: Request) -> Response:
    private = {"cache-control": "no-store"}
    if not _is_same_origin(request.scope):
        return JSONResponse({"detail": "Not Found"}, 404, private)
    user_id, email, _ = PEOPLE["ada"]
    return JSONResponse({"token": make_token(signing_key(), user_id=user_id, email=email)}, headers=private)


def _is_same_origin(scope: Scope) -> bool:
    """Return whether a request comes from this machine, and from a page of this origin or the address bar.

    Local pages of other origins are refused, because CORS would let them read the response.
    """
    return header(scope, b"sec-fetch-site") in {"same-origin", "none"} and is_from_this_machine(scope)
