"""The routes of ``/``, ``/docs``, the files under ``/pages``, and the development sign-in.

``GraphiQL`` serves ``/graphql``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from app.endpoints import Endpoints
from app.pages.files import BUILT, PREFIX, SOURCES, Files, built
from app.pages.landing import Landing
from app.pages.page import page, policy
from app.settings import Settings

_DOCS_POLICY = policy(
    script_src="'self'", style_src="'self' 'unsafe-inline'", img_src="'self' data:", connect_src="'self'"
)


def page_routes(settings: Settings, endpoints: Endpoints, operators: Sequence[Route]) -> list[BaseRoute]:
    """Return the routes of the pages. The description of the REST API includes the routes ``operators``.

    If ``/docs`` is not built, its files come from a CDN. Production has neither ``/docs``, ``/redoc`` nor
    ``/openapi.json``.
    """
    routes: list[BaseRoute] = [
        Route("/", Landing(settings, endpoints), methods=["GET"]),
        Mount(f"{PREFIX}/assets", Files(BUILT / "assets", hashed=True)),
        Mount(f"{PREFIX}/src", Files(SOURCES, hashed=False)),
    ]
    if not settings.is_production:
        routes += _docs_routes(operators)
    if settings.development_tokens:
        routes.append(Mount("/auth/v1", endpoints.issuer))
    return routes


def _docs_routes(operators: Sequence[Route]) -> list[Route]:
    """Return the routes of the REST API's documentation. The first request imports FastAPI, which is slow."""

    @cache
    def document() -> Response:
        from app.restdocs import openapi  # noqa: PLC0415

        return JSONResponse(openapi(operators))

    @cache
    def docs() -> Response:
        from app.pages import rest_docs  # noqa: PLC0415

        text = built("docs.html")
        return rest_docs.swagger() if text is None else page(text, _DOCS_POLICY)

    @cache
    def redoc() -> Response:
        from app.pages import rest_docs  # noqa: PLC0415

        return rest_docs.redoc()

    makers = {"/openapi.json": document, "/docs": docs, "/redoc": redoc}
    return [Route(path, _once_made(make), methods=["GET"]) for path, make in makers.items()]


def _once_made(make: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return await asyncio.to_thread(make)

    return serve
