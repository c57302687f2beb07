"""The embedded platform as a server on a loopback port, in the event loop that starts it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.embedded import http_client, seed
from app.embedded.ams import EmbeddedAms
from app.embedded.ams.proxied import ProxyTarget
from app.embedded.faults import TRANSPORT, Fault, FaultSwitch, routes
from app.embedded.guard import OwnNameOnly
from app.embedded.letta import EmbeddedLetta
from app.embedded.litellm import EmbeddedLiteLLM
from app.embedded.restore import restore
from app.embedded.state import State, User
from app.embedded.store import Memory, Store

ALL = frozenset({"ams", "letta", "litellm"})

ADOPT_SECONDS = 3.0
"""How long the start waits for a real Letta to list its agents, and how long until it is asked again."""


def _key() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, kw_only=True)
class EmbeddedOptions:
    """What is embedded, and with which keys.

    ``letta_url`` is a real Letta that AMS makes agents in; ``gateway`` is where the agents' model calls come back to;
    ``letta_own_key`` is what the embedded Letta sends where it cannot send an agent's secret, as the real one does with
    its OPENAI_API_KEY.
    """

    services: frozenset[str] = ALL
    port: int = 0
    gateway: ProxyTarget | None = None
    letta_url: str | None = None
    letta_api_key: str | None = None
    litellm_is_real: bool = False
    letta_redis: bool = True
    letta_own_key: str | None = None
    words_per_second: float = 20.0
    ams_key: str = field(default_factory=_key)
    letta_key: str = field(default_factory=_key)
    user_key: str = field(default_factory=lambda: f"sk-{_key()}")


class StoppableServer(uvicorn.Server):
    """A uvicorn server that leaves signals to whoever runs the loop, says when it listens, and stops without delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """End the main loop now, not at its next tick."""
        self.should_exit = True
        self._wake.set()

    async def main_loop(self) -> None:
        """Run until the server is stopped."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._wake.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close listeners and connections, without the delay of uvicorn if none are open."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        if self.force_exit:
            await self._break_off()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown()  # waits a tenth of a second at least
        else:
            await self.lifespan.shutdown()

    async def _break_off(self) -> None:
        for connection in list(self.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()
        answering = list(self.server_state.tasks)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and set ``is_up``."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
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
        self._server: StoppableServer | None = None
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
            self._serve,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=0,
            ws="none",
            interface="asgi3",
            http=_Protocol,
        )
        self._server = StoppableServer(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.is_up.wait()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the stop cancels ends here, so that uvicorn does not log it as an error."""
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if self._server is None or not self._server.force_exit:
                raise

    async def stop(self) -> None:
        """Stop at once, open streams and all."""
        if self._server is not None and self._task is not None:
            self._server.force_exit = True
            self._server.stop()
            await self._task


class EmbeddedPlatform:
    """The services, each behind its fault switch, at ``/ams``, ``/letta``, ``/litellm`` of one port.

    ``page_url`` is where faults are set; it has a secret of this process in it. What ``store`` has kept is taken up
    again, keys included; without one all is forgotten at the end.
    """

    def __init__(self, options: EmbeddedOptions | None = None, store: Store | None = None) -> None:
        options = options or EmbeddedOptions()
        self.state = State(store=store or Memory(), letta=options.letta_url or "")
        restore(self.state)
        self.options = options = _with_kept_keys(self.state, options)
        self.faults: dict[str, Fault] = {}
        self._letta = EmbeddedLetta(
            self.state,
            key=options.letta_key,
            words_per_second=options.words_per_second,
            redis=options.letta_redis,
            own_key=options.letta_own_key,
        )
        self._seed()
        self._to_letta = http_client.client(timeout=30)
        self.ams = EmbeddedAms(
            self.state,
            key=options.ams_key,
            letta=self._to_letta,
            model_prefix="openai-proxy/",
            embedding="openai/text-embedding-3-small",
        )
        self.reach_gateway(options.gateway)
        litellm = EmbeddedLiteLLM(self.state, words_per_second=options.words_per_second)
        self._apps: dict[str, ASGIApp] = {"ams": self.ams.app(), "letta": self._letta.app(), "litellm": litellm.app()}
        self._page_path = f"/_embedded/{_key()}/"
        self._server = LoopbackServer(self._app(), options.port)
        self.urls: dict[str, str] = {}
        self.page_url = ""
        self._adopting: list[asyncio.Task[None]] = []

    def _seed(self) -> None:
        """Fill what is empty, once: what a user has deleted does not come back at the next start."""
        state, options = self.state, self.options
        seed.seed_models(state)
        with state.store.together():
            if "people" not in state.marks:
                seed.seed_people(state, options.user_key)
                state.mark("people", value=True)
            if options.letta_url is None and "letta" not in state.marks:
                seed.seed_letta(state, self._letta)
                state.mark("letta", value=True)
        keys = {record["info"]["user_id"]: key for key, record in state.keys.items()}
        for user in state.users.values():
            user.litellm_key = None if options.litellm_is_real else keys.get(user.id)

    def service(self, name: str) -> ASGIApp:
        """One service behind its fault switch, to be served by itself."""
        return FaultSwitch(self._apps[name], name, self.faults, self.state)

    def reach_gateway(self, gateway: ProxyTarget | None, letta_own_key: str | None = None) -> None:
        """Tell AMS where the model calls of agents come back to, and Letta the key it has for all of them."""
        self.ams.reach_gateway(gateway)
        if letta_own_key is not None:
            self._letta.voice.key = letta_own_key

    def reach_letta(self, url: str, key: str) -> None:
        """Tell AMS where Letta is."""
        self._to_letta.base_url = httpx.URL(url)
        self._to_letta.headers["authorization"] = f"Bearer {key}"

    async def start(self) -> None:
        """Serve; with a real Letta, the users' agents are those that carry their tags there."""
        await self._server.start()
        self.urls = {name: f"{self._server.url}/{name}" for name in self.options.services}
        self.page_url = f"{self._server.url}{self._page_path}"
        if self.options.letta_url is not None:
            self.reach_letta(self.options.letta_url, self.options.letta_api_key or "")
            await self._adopt()
        else:
            self.reach_letta(f"{self._server.url}/letta", self.options.letta_key)
        await self.ams.start()

    async def _adopt(self) -> None:
        """Learn from a real Letta which agents there are now. The start waits a moment; then it is asked again."""
        tries = [(user, asyncio.create_task(self._adopts(user))) for user in self.state.users.values()]
        if tries:
            await asyncio.wait([task for _, task in tries], timeout=ADOPT_SECONDS)
        self._adopting = [asyncio.create_task(self._adopt_later(user, first)) for user, first in tries]

    async def _adopt_later(self, user: User, first: asyncio.Task[bool]) -> None:
        adopted = await first
        while not adopted:
            await asyncio.sleep(ADOPT_SECONDS)
            adopted = await self._adopts(user)

    async def _adopts(self, user: User) -> bool:
        """Whether Letta was there, and was a Letta."""
        try:
            await self.ams.adopt_agents(user)
        except (httpx.HTTPError, ValueError, TypeError, KeyError):
            return False
        return True

    async def stop(self) -> None:
        """Stop everything, and let go of the store."""
        await self.stop_runs()
        await self._server.stop()
        self.state.store.close()

    async def stop_runs(self) -> None:
        """Stop what goes on without a server: turns, queued upgrades, and AMS's way to Letta."""
        for task in self._adopting:
            task.cancel()
        await asyncio.gather(*self._adopting, return_exceptions=True)
        await self._letta.stop()
        await self.ams.stop()
        await self._to_letta.aclose()

    def _app(self) -> ASGIApp:
        switches = routes(self._page_path, self.faults, self.options.services, self.state)
        services = [Mount(f"/{name}", self.service(name)) for name in self.options.services]
        return OwnNameOnly(Starlette(routes=[*switches, *services]))


def _with_kept_keys(state: State, options: EmbeddedOptions) -> EmbeddedOptions:
    """The keys that are kept win over fresh ones, so that what was set up with them goes on working."""
    names = ("ams_key", "letta_key", "user_key")
    kept = state.marks.get("keys")
    if kept is None:
        kept = {name: getattr(options, name) for name in names}
        state.mark("keys", kept)
    return replace(options, **kept)
