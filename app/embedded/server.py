"""The embedded platform's server. It listens on a loopback port, in the event loop that starts it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from dataclasses import dataclass, field, replace

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.connections.stoppable import StoppableServer
from app.embedded import http_client, seed
from app.embedded.ams import EmbeddedAms
from app.embedded.ams.proxied import ProxyTarget
from app.embedded.faults import TRANSPORT, Fault, FaultSwitch, routes
from app.embedded.guard import OwnNameOnly
from app.embedded.letta import EmbeddedLetta
from app.embedded.litellm import EmbeddedLiteLLM
from app.embedded.restore import restore
from app.embedded.state import State, User
from app.embedded.store import Store

ALL = frozenset({"ams", "letta", "litellm"})

ADOPT_SECONDS = 3.0
"""The maximum wait for the agents of a separate Letta at the start, in seconds.

This is also the interval between later attempts.
"""


def _key() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, kw_only=True)
class EmbeddedOptions:
    """The options of the embedded platform: which services are embedded, and the services' keys.

    Attributes:
        gateway: the proxy to which agents send model calls.
        letta_url: the URL of a separate Letta, in which AMS makes agents.
        letta_own_key: the key that the embedded Letta sends for agents without a secret. A separate Letta sends its
            OPENAI_API_KEY.
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


class _Protocol(HttpToolsProtocol):
    """Adds the connection's transport to the ASGI scope, so that a fault can abort the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


class LoopbackServer:
    """Serves an ASGI application on a loopback port, in the running event loop."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._server: StoppableServer | None = None
        self._task: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        # asyncio disables Nagle's algorithm only for sockets with an explicit protocol
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
        """Serve one request. If ``stop`` cancels the task, suppress the cancellation.

        uvicorn would log the cancellation as an error.
        """
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if self._server is None or not self._server.force_exit:
                raise

    async def stop(self) -> None:
        """Stop at once, and abort open streams."""
        if self._server is not None and self._task is not None:
            self._server.force_exit = True
            self._server.stop()
            await self._task


class EmbeddedPlatform:
    """The services at ``/ams``, ``/letta`` and ``/litellm`` of one port, each with fault injection.

    The data and the keys are restored from ``store``. Without a store, the data is in memory only. ``page_url`` is the
    fault page's address, which contains a secret of this process.
    """

    def __init__(self, options: EmbeddedOptions | None = None, store: Store | None = None) -> None:
        options = options or EmbeddedOptions()
        self.state = State(store=store or Store(), letta=options.letta_url or "")
        restore(self.state)
        self.options = options = _with_stored_keys(self.state, options)
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
        self._server: LoopbackServer | None = None
        self.urls: dict[str, str] = {}
        self.page_url = ""
        self._adopting: list[asyncio.Task[None]] = []

    def _seed(self) -> None:
        """Add the initial data at the first start only, so that data which a user has deleted stays deleted."""
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
        """Return one service with its fault injection."""
        return FaultSwitch(self._apps[name], name, self.faults, self.state)

    def reach_gateway(self, gateway: ProxyTarget | None, letta_own_key: str | None = None) -> None:
        """Set the proxy for the model calls of new agents, and set Letta's own key."""
        self.ams.agents.models.gateway = gateway
        if letta_own_key is not None:
            self._letta.model_calls.key = letta_own_key

    def reach_letta(self, url: str, key: str) -> None:
        """Set the URL and key with which AMS calls Letta."""
        self._to_letta.base_url = httpx.URL(url)
        self._to_letta.headers["authorization"] = f"Bearer {key}"

    async def start(self) -> None:
        """Start the server. If Letta is a separate server, give each user the agents with the user's tag."""
        self._server = server = LoopbackServer(self._app(), self.options.port)
        await server.start()
        self.urls = {name: f"{server.url}/{name}" for name in self.options.services}
        self.page_url = f"{server.url}{self._page_path}"
        if self.options.letta_url is not None:
            self.reach_letta(self.options.letta_url, self.options.letta_api_key or "")
            await self._adopt()
        else:
            self.reach_letta(f"{server.url}/letta", self.options.letta_key)
        await self.ams.agents.start()

    async def _adopt(self) -> None:
        """Give the users their agents in a separate Letta. If Letta does not answer, retry in the background."""
        tries = [(user, asyncio.create_task(self._try_adopt(user))) for user in self.state.users.values()]
        if tries:
            await asyncio.wait([task for _, task in tries], timeout=ADOPT_SECONDS)
        self._adopting = [asyncio.create_task(self._adopt_later(user, first)) for user, first in tries]

    async def _adopt_later(self, user: User, first: asyncio.Task[bool]) -> None:
        adopted = await first
        while not adopted:
            await asyncio.sleep(ADOPT_SECONDS)
            adopted = await self._try_adopt(user)

    async def _try_adopt(self, user: User) -> bool:
        """Make AMS's rows for a user's agents in Letta. Return whether Letta has answered as expected."""
        try:
            await self.ams.agents.adopt(user)
        except (httpx.HTTPError, ValueError, TypeError, KeyError):
            return False
        return True

    async def stop(self) -> None:
        """Stop everything, and close the store."""
        await self.stop_runs()
        if self._server is not None:
            await self._server.stop()
        self.state.store.close()

    async def stop_runs(self) -> None:
        """Stop the turns, the queued upgrades, and AMS's client of Letta."""
        for task in self._adopting:
            task.cancel()
        await asyncio.gather(*self._adopting, return_exceptions=True)
        await self._letta.stop()
        await self.ams.agents.stop()
        await self._to_letta.aclose()

    def _app(self) -> ASGIApp:
        switches = routes(self._page_path, self.faults, self.options.services, self.state)
        services = [Mount(f"/{name}", self.service(name)) for name in self.options.services]
        return OwnNameOnly(Starlette(routes=[*switches, *services]))


def _with_stored_keys(state: State, options: EmbeddedOptions) -> EmbeddedOptions:
    """Return the options with the keys from the store. Clients with these keys can then continue to work."""
    names = ("ams_key", "letta_key", "user_key")
    keys = state.marks.get("keys")
    if keys is None:
        keys = {name: getattr(options, name) for name in names}
        state.mark("keys", keys)
    return replace(options, **keys)
