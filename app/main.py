"""The gateway as an ASGI application: settings in, doors and middleware out. Nothing is opened before its lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from app import VERSION
from app.circle import proxy_secrets
from app.composition import open_doors
from app.doors import Doors
from app.doubts import announce_doubts
from app.drain import Drain
from app.embedded.store import Store
from app.gate import Gate, Handover
from app.graphql.http import GraphQLHttp
from app.graphql.ws import GraphQLWebSocket
from app.lag import LoopWatch
from app.limits import HEADERS
from app.middleware import REQUEST_ID, HeadAsGet, RequestScope, Shield
from app.operators import add_operators_routes
from app.pages.demo import demo_routes
from app.pages.graphiql import GraphiQL
from app.pages.routes import page_routes
from app.rest.door import RestDoor
from app.rest.table import PROXY
from app.restdocs import describe
from app.settings import Settings
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
"""What a page of another origin may read, besides what CORS lets it read of every answer (Fetch, 3.3.4)."""


def create_app(
    settings: Settings | None = None,
    telemetry: Telemetry | None = None,
    *,
    store: Store | None = None,
    drain: Drain | None = None,
    announces: bool | None = None,
) -> ASGIApp:
    """The gateway as an ASGI application.

    Args:
        settings: without them, those of the environment and ``.env``.
        telemetry: without one, metrics of its own and a log on standard output.
        store: keeps what is embedded; without one, it is in memory.
        drain: what the server advances when it is to stop.
        announces: whether the log says at the start what may be wrong with the settings and with the services that are
            real. By default it does where ``settings`` is not given: a server's own process.

    Raises:
        SettingsError: when the environment's settings cannot be used.
    """
    announces = settings is None if announces is None else announces
    settings = settings or Settings.load()
    telemetry = telemetry or Telemetry(make_logger(settings.log_level))
    drain = drain or Drain()
    gate, watch = Gate(), LoopWatch(telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if announces:
                announce_doubts(settings, telemetry)
            doors = await open_doors(settings, telemetry, drain, stack, store, check_services=announces)
            _open(gate, doors, settings)
            stack.enter_context(watch.running())
            yield

    api = FastAPI(title="agentgraph", version=VERSION, lifespan=lifespan, redirect_slashes=False)
    api.router.routes[:0] = [
        *page_routes(settings, gate),
        *demo_routes(settings),
        Route("/graphql", GraphiQL(settings, Handover(gate, "graphql"))),
        WebSocketRoute("/graphql", Handover(gate, "socket")),
        *(Route(path, Handover(gate, "rest")) for path in ("/v1/{path:path}", PROXY, f"{PROXY}/{{path:path}}")),
    ]
    add_operators_routes(api, gate)
    describe(api)
    api.add_middleware(Shield, telemetry=telemetry, max_concurrent=settings.max_concurrent_requests, drain=drain)
    api.add_middleware(HeadAsGet)
    api.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_origin_regex=settings.cors_origin_regex,
        allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
        max_age=600,
    )
    api.add_middleware(RequestScope, telemetry=telemetry, drain=drain)
    return api


def _open(gate: Gate, doors: Doors, settings: Settings) -> None:
    gate.doors = doors
    gate.graphql, gate.rest = GraphQLHttp(doors), RestDoor(doors, proxy_secrets(settings))
    gate.socket = GraphQLWebSocket(
        doors, grace=settings.stream_grace_seconds, init_seconds=settings.socket_init_seconds
    )
