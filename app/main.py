"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from app import garbage
from app.admission import Admission
from app.audit_file import audit_logger
from app.composition import open_gateway
from app.drain import Drain
from app.endpoints import Endpoints, Router
from app.gateway import Gateway
from app.graphql.http import GraphQLHttp
from app.graphql.ws import GraphQLWebSocket
from app.lag import LoopWatch
from app.limits import HEADERS
from app.logs import make_logger
from app.middleware import Edge
from app.operators import Details, operators_routes
from app.pages.demo import demo_routes
from app.pages.graphiql import GraphiQL
from app.pages.routes import page_routes
from app.proxy_settings import proxy_secrets
from app.response_headers import REQUEST_ID, ResponseHeaders
from app.rest.endpoint import RestEndpoint
from app.settings import Settings
from app.settings_warnings import announce_warnings
from app.shedding import Shedder
from app.slots import Slots
from app.sockets import Sockets
from app.telemetry import Telemetry

if TYPE_CHECKING:
    from app.embedded.store import Store
    from app.workers.link import Link

EXPOSED_HEADERS = [
    REQUEST_ID,
    "X-Stream-Id",
    "X-Conversation-Id",
    "Retry-After",
    "X-Should-Retry",
    *HEADERS,
    *(f"X-LiteLLM-{name}" for name in ("Call-Id", "Model-Id", "Model-Group", "Response-Cost", "Key-Spend")),
    "Accept-Encoding",
    "Allow",
    "WWW-Authenticate",
]
"""The response headers that CORS lets pages of other origins read.

CORS always allows the safelisted headers, too (Fetch, 3.3.4).
"""


def create_app(
    settings: Settings | None = None,
    telemetry: Telemetry | None = None,
    *,
    store: Store | None = None,
    drain: Drain | None = None,
    endpoints: Endpoints | None = None,
    announces: bool | None = None,
    link: Link | None = None,
) -> ASGIApp:
    """Return the gateway as an ASGI application.

    The ASGI lifespan opens and closes the gateway.

    Args:
        settings: the settings; by default, from the environment and ``.env``.
        telemetry: receives metrics and log lines; by default, logs to standard output, and to ``AUDIT_LOG``.
        store: the embedded platform's data; by default, in memory.
        drain: tracks the graceful shutdown. The server begins each stage.
        endpoints: the endpoints that the lifespan opens. By default, new ones; the operations port shares them.
        announces: whether to log warnings about settings and failing services. By default, this is ``True`` if
            ``settings`` is ``None``.
        link: the worker's connection to its supervisor; ``None`` if this process is the only one.

    Raises:
        SettingsError: the environment's settings are invalid.
        UsageError: the file of the audit log cannot be opened.
    """
    announces = settings is None if announces is None else announces
    settings = settings or Settings.load()
    telemetry = telemetry or Telemetry(make_logger(settings.log_level), audit_logger(settings.audit_log))
    drain, endpoints, watch = drain or Drain(), endpoints or Endpoints(), LoopWatch(telemetry)
    slots = _slots(settings, telemetry, watch)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(telemetry.audit.flush)
            if announces:
                announce_warnings(settings, telemetry)
            endpoints.metrics = partial(asyncio.to_thread, telemetry.exposition)
            if link is not None:
                await link.open(telemetry.registry, stack)
                endpoints.metrics = link.exposition
            platform = None if link is None else link.welcome.platform
            parts = settings, telemetry, drain, slots, stack, store
            gateway = await open_gateway(*parts, shared=platform, check_services=announces)
            _open(endpoints, gateway, settings)
            stack.enter_context(watch.running())
            if announces:
                garbage.settle()
            if link is not None:
                link.ready()
            yield

    operators = operators_routes(endpoints, Details.PROTECTED if settings.operations_port is None else Details.HIDDEN)
    routes = [*page_routes(settings, endpoints, operators), *demo_routes(settings), *operators]
    api = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refusal})
    api.router.redirect_slashes = False
    return _admitted(_router(api, endpoints, settings), endpoints, settings, telemetry, drain, slots)


def _slots(settings: Settings, telemetry: Telemetry, watch: LoopWatch) -> Slots:
    shedder = Shedder(settings.max_concurrent_requests, watch.overdue)
    watch.follow(shedder.tick)
    requests, streams = settings.max_concurrent_requests, settings.max_concurrent_streams
    slots = Slots(requests, streams, shedder, settings.max_body_bytes)
    slots.watched_by(telemetry)
    return slots


def _admitted(
    app: ASGIApp, endpoints: Endpoints, settings: Settings, telemetry: Telemetry, drain: Drain, slots: Slots
) -> ASGIApp:
    """Add all middleware outside Starlette, whose wrappers would stay in memory until the end of each stream."""
    headers = ResponseHeaders(_cors(settings), settings.hsts_seconds)
    return Admission(
        Edge(app, telemetry=telemetry, drain=drain, headers=headers),
        endpoints=endpoints,
        slots=slots,
        secrets=proxy_secrets(settings),
        telemetry=telemetry,
        headers=headers,
    )


def _refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - for mypy: the handler of this class
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))  # Starlette's order is a set's
    return JSONResponse({"detail": error.detail}, error.status_code, headers)


def _cors(settings: Settings) -> dict[str, Any]:
    return {
        "allow_origins": list(settings.cors_origins),
        "allow_origin_regex": settings.cors_origin_regex,
        "allow_methods": ["GET", "HEAD", "POST", "OPTIONS"],
        "allow_headers": ["*"],
        "expose_headers": EXPOSED_HEADERS,
        "max_age": 600,
    }


def _router(api: Starlette, endpoints: Endpoints, settings: Settings) -> Router:
    graphql = GraphiQL(settings, endpoints.graphql)
    return Router(api, graphql=graphql, socket=endpoints.socket, rest=endpoints.rest)


def _open(endpoints: Endpoints, gateway: Gateway, settings: Settings) -> None:
    endpoints.gateway = gateway
    endpoints.graphql.app, endpoints.rest.app = GraphQLHttp(gateway), RestEndpoint(gateway)
    endpoints.issuer.app = gateway.issuer
    sockets = Sockets(
        total=settings.max_sockets,
        per_user=settings.max_sockets_per_user,
        messages_per_second=settings.max_socket_messages_per_second,
    )
    endpoints.socket.app = GraphQLWebSocket(
        gateway, sockets, grace=settings.stream_grace_seconds, init_seconds=settings.socket_init_seconds
    )
