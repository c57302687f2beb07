"""The embedded platform as a server on a loopback port, in the event loop that starts it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.embedded import seed
from app.embedded.ams import EmbeddedAms
from app.embedded.faults import TRANSPORT, Fault, FaultSwitch, control
from app.embedded.letta import EmbeddedLetta
from app.embedded.litellm import EmbeddedLiteLLM
from app.embedded.state import State

ALL = frozenset({"ams", "letta", "litellm"})


def _key() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, kw_only=True)
class EmbeddedOptions:
    """What is embedded, and with which keys. ``letta_url`` is a real Letta that AMS makes agents in."""

    services: frozenset[str] = ALL
    port: int = 0
    letta_url: str | None = None
    letta_api_key: str | None = None
    litellm_is_real: bool = False
    letta_redis: bool = True
    words_per_second: float = 20.0
    ams_key: str = field(default_factory=_key)
    letta_key: str = field(default_factory=_key)
    user_key: str = field(default_factory=lambda: f"sk-{_key()}")


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to whoever runs the loop, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Hands out the connection, for a fault that breaks it off."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


class LoopbackServer:
    """An ASGI application on a free loopback port, in the running loop."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        # asyncio turns Nagle's algorithm off only where the protocol is named
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(2048)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=0,
            ws="none",
            http=_Protocol,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.is_up.wait()

    async def stop(self) -> None:
        """Stop at once, open streams and all."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                if (transport := getattr(connection, "transport", None)) is not None:
                    transport.abort()
            await self._task


class EmbeddedPlatform:
    """The services, each behind its fault switch, at ``/ams``, ``/letta``, ``/litellm`` of one port."""

    def __init__(self, options: EmbeddedOptions | None = None) -> None:
        self.options = options = options or EmbeddedOptions()
        self.state = State()
        self.faults: dict[str, Fault] = {}
        keys = {uid: None if options.litellm_is_real else f"{options.user_key}-{uid}" for uid in (seed.ADA, seed.GRACE)}
        self.state.users = seed.people(keys)
        self._letta = EmbeddedLetta(
            self.state, key=options.letta_key, words_per_second=options.words_per_second, redis=options.letta_redis
        )
        real = options.letta_url is not None
        seed.seed(self.state, None if real else self._letta)
        self._to_letta = httpx.AsyncClient(timeout=30, trust_env=False)
        self.ams = EmbeddedAms(
            self.state,
            key=options.ams_key,
            letta=self._to_letta,
            model_prefix="openai-proxy/",
            embedding="openai/text-embedding-3-small",
        )
        litellm = EmbeddedLiteLLM(
            self.state, {key: None for key in keys.values() if key}, words_per_second=options.words_per_second
        )
        self._apps: dict[str, ASGIApp] = {"ams": self.ams.app(), "letta": self._letta.app(), "litellm": litellm.app()}
        self._server = LoopbackServer(self._app(), options.port)
        self.urls: dict[str, str] = {}

    def service(self, name: str) -> ASGIApp:
        """One service behind its fault switch, to be served by itself."""
        return FaultSwitch(self._apps[name], name, self.faults, self.state)

    def reach_letta(self, url: str, key: str) -> None:
        """Tell AMS where Letta is."""
        self._to_letta.base_url = httpx.URL(url)
        self._to_letta.headers["authorization"] = f"Bearer {key}"

    async def start(self) -> None:
        """Serve; with a real Letta, the users' agents are those that carry their tags there."""
        await self._server.start()
        self.urls = {name: f"{self._server.url}/{name}" for name in self.options.services}
        if self.options.letta_url is not None:
            self.reach_letta(self.options.letta_url, self.options.letta_api_key or "")
            await self._adopt()
        else:
            self.reach_letta(f"{self._server.url}/letta", self.options.letta_key)

    async def _adopt(self) -> None:
        """AMS's rows are in memory: after a start they are learnt from Letta. One that is down has none to tell."""
        for user in self.state.users.values():
            with contextlib.suppress(httpx.HTTPError):
                await self.ams.adopt_agents(user)

    async def stop(self) -> None:
        """Stop everything."""
        await self.stop_runs()
        await self._server.stop()

    async def stop_runs(self) -> None:
        """Stop what goes on without a server: turns, and AMS's way to Letta."""
        await self._letta.stop()
        await self._to_letta.aclose()

    def _app(self) -> Starlette:
        async def stats(_: Request) -> JSONResponse:
            return JSONResponse(asdict(self.state.stats))

        async def calls(request: Request) -> JSONResponse:
            seen = list(self.state.calls)
            if request.method == "DELETE":
                self.state.calls.clear()
            return JSONResponse(seen)

        switch = control(self.faults, self.options.services)
        routes = [
            Route("/_embedded/faults", switch, methods=["GET", "PUT", "DELETE"]),
            Route("/_embedded/stats", stats),
            Route("/_embedded/calls", calls, methods=["GET", "DELETE"]),
        ]
        return Starlette(routes=[*routes, *(Mount(f"/{name}", self.service(name)) for name in self.options.services)])
