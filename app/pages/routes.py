"""The routes of ``/``, ``/docs``, the files under ``/pages``, and the development sign-in.

``GraphiQL`` serves ``/graphql``.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from app.endpoints import Endpoints
from app.pages.files import BUILT, PREFIX, SOURCES, Files, built
from app.pages.landing import Landing
from app.pages.page import page, policy
from app.settings import Settings

_DOCS_POLICY = policy(
    script_src="'self'", style_src="'self' 'unsafe-inline'", img_src="'self' data:", connect_src="'self'"
)


def page_routes(settings: Settings, endpoints: Endpoints) -> list[BaseRoute]:
    """Return the routes of the pages.

    If ``/docs`` is not built, FastAPI serves a page that loads files from a CDN. Production has no ``/docs``.
    """
    routes: list[BaseRoute] = [
        Route("/", Landing(settings, endpoints), methods=["GET"]),
        Mount(f"{PREFIX}/assets", Files(BUILT / "assets", hashed=True)),
        Mount(f"{PREFIX}/src", Files(SOURCES, hashed=False)),
    ]
    if not settings.is_production and (text := built("docs.html")) is not None:

        async def docs(_: Request) -> Response:
            return page(text, _DOCS_POLICY)

        routes.append(Route("/docs", docs))
    if settings.development_tokens:
        routes.append(Mount("/auth/v1", endpoints.issuer))
    return routes
