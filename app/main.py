"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app import garbage
from app.admission import Admission
from app.audit_file import audit_logger
from app.composition import open_gateway
from app.drain import Drain
from app.embedded.store import Store
from app.endpoints import Endpoints, Router
from app.gateway import Gateway
from app.graphql.http import GraphQLHttp
from app.graphql.ws import GraphQLWebSocket
from app.lag import LoopWatch
from app.limits import HEADERS
from app.middleware import REQUEST_ID, HeadAsGet, RequestScope, Shield
from app.operators import Details, add_operators_routes
from app.pages.demo import demo_routes
from app.pages.graphiql import GraphiQL
from app.pages.routes import page_routes
from app.proxy_settings import proxy_secrets
from app.rest.endpoint import RestEndpoint
from app.restdocs import described_api
from app.security_headers import SecurityHeaders
from app.settings import Settings
from app.settings_warnings import announce_warnings
from app.shedding import Shedder
from app.slots import Slots
from app.sockets import Sockets
from app.telemetry import Telemetry, make_logger

EXPOSED_HEADERS = [
    REQUEST_ID,
    "X-Stream-Id",
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

    Raises:
        SettingsError: the environment's settings are invalid.
        UsageError: the file of the audit log cannot be opened.
    """
    announces = settings is None if announces is None else announces
    settings = settings or Settings.load()
    telemetry = telemetry or Telemetry(make_logger(settings.log_level), audit_logger(settings.audit_log))
    drain = drain or Drain()
    endpoints, watch = endpoints or Endpoints(), LoopWatch(telemetry)
    shedder = Shedder(settings.max_concurrent_requests, watch.overdue)
    watch.follow(shedder.tick)
    requests, streams = settings.max_concurrent_requests, settings.max_concurrent_streams
    slots = Slots(requests, streams, shedder, settings.max_body_bytes)
    slots.watched_by(telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(telemetry.audit.flush)
            if announces:
                announce_warnings(settings, telemetry)
            gateway = await open_gateway(settings, telemetry, drain, slots, stack, store, check_services=announces)
            _open(endpoints, gateway, settings)
            stack.enter_context(watch.running())
            if announces:
                garbage.settle()
            yield

    api = described_api(settings, lifespan)
    api.router.routes[:0] = [*page_routes(settings, endpoints), *demo_routes(settings)]
    add_operators_routes(api, endpoints, Details.PROTECTED if settings.operations_port is None else Details.HIDDEN)
    return _admitted(_router(api, endpoints, settings), endpoints, settings, telemetry, drain, slots)


def _admitted(
    app: ASGIApp, endpoints: Endpoints, settings: Settings, telemetry: Telemetry, drain: Drain, slots: Slots
) -> ASGIApp:
    """Add all middleware outside FastAPI, whose wrappers would stay in memory until the end of each stream."""
    cors, security = _cors(settings), SecurityHeaders(settings.hsts_seconds)
    app = Shield(app, telemetry=telemetry, drain=drain)
    app = RequestScope(CORSMiddleware(HeadAsGet(app), **cors), telemetry=telemetry, drain=drain, security=security)
    return Admission(
        app,
        endpoints=endpoints,
        slots=slots,
        secrets=proxy_secrets(settings),
        telemetry=telemetry,
        cors=cors,
        security=security,
    )


def _cors(settings: Settings) -> dict[str, Any]:
    return {
        "allow_origins": list(settings.cors_origins),
        "allow_origin_regex": settings.cors_origin_regex,
        "allow_methods": ["GET", "HEAD", "POST", "OPTIONS"],
        "allow_headers": ["*"],
        "expose_headers": EXPOSED_HEADERS,
        "max_age": 600,
    }


def _router(api: FastAPI, endpoints: Endpoints, settings: Settings) -> Router:
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
