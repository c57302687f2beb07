"""The routes of ``/``, ``/docs``, the files under ``/pages``, and the development sign-in.

``GraphiQL`` serves ``/graphql``.
"""

from starlette.routing import BaseRoute, Mount, Route

from app.endpoints import Endpoints
from app.pages import rest_docs
from app.pages.files import BUILT, PREFIX, SOURCES, Files, built
from app.pages.landing import Landing
from app.pages.page import page, policy
from app.settings import Settings

_DOCS_POLICY = policy(
    script_src="'self'", style_src="'self' 'unsafe-inline'", img_src="'self' data:", connect_src="'self'"
)


def page_routes(settings: Settings, endpoints: Endpoints) -> list[BaseRoute]:
    """Return the routes of the pages.

    If ``/docs`` is not built, its files come from a CDN. Production has neither ``/docs`` nor ``/redoc``.
    """
    routes: list[BaseRoute] = [
        Route("/", Landing(settings, endpoints), methods=["GET"]),
        Mount(f"{PREFIX}/assets", Files(BUILT / "assets", hashed=True)),
        Mount(f"{PREFIX}/src", Files(SOURCES, hashed=False)),
    ]
    if not settings.is_production:
        text = built("docs.html")
        docs = rest_docs.swagger() if text is None else page(text, _DOCS_POLICY)
        routes += [Route("/docs", docs, methods=["GET"]), Route("/redoc", rest_docs.redoc(), methods=["GET"])]
    if settings.development_tokens:
        routes.append(Mount("/auth/v1", endpoints.issuer))
    return routes
