"""The gateway under test on loopback, with embedded or real services."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import orjson
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from app import devtokens
from app.drain import Drain
from app.embedded import http_client
from app.embedded.ams.proxied import ProxyTarget, provider_name
from app.embedded.litellm.keys import make_key
from app.embedded.people import ADA, GRACE
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform, LoopbackServer
from app.logs import make_logger
from app.main import create_app
from app.rest.secrets import agent_secret
from app.telemetry import Telemetry
from tests.support.seeded import SeededStore
from tests.support.serving import served
from tests.support.settings import settings_of
from tests.support.websocket import PROTOCOL

KEY = "k" * 48

EMBEDDED_MODEL, REAL_MODEL = "gpt-4o-mini", "fake-chat"
"""The chat models of the embedded and of the real LiteLLM."""

ONE_ADDRESS = {"sign_in_failures_per_minute": 0}
"""Settings for tests, whose clients all have one address."""


@dataclass
class Stack:
    """A running gateway with its services.

    ``real`` is whether LiteLLM is a real one. Letta is a real one unless ``servers`` has an embedded Letta.
    """

    url: str
    platform: EmbeddedPlatform
    telemetry: Telemetry
    log: io.StringIO
    client: httpx.AsyncClient
    chat_model: str
    real: bool
    app: ASGIApp
    drain: Drain
    servers: dict[str, LoopbackServer] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def real_letta(self) -> bool:
        """Whether Letta is a real one."""
        return "letta" not in self.servers

    def token(self, user_id: str = ADA, **options: Any) -> str:
        """Return a development token."""
        return devtokens.make_token(devtokens.signing_key(), user_id=user_id, email="ada@example.com", **options)

    def agent_secret(self, user_id: str = ADA) -> str:
        """Return the secret of a user's agents."""
        return agent_secret(devtokens.master_key(settings_of()) or "", user_id)

    def proxy(self, user_id: str = ADA) -> str:
        """Return the address of the proxy of a user's agents."""
        return f"{self.url}/api/v1/agents/{user_id}/proxy"

    @asynccontextmanager
    async def circle(self, letta_key: str | None = None) -> AsyncIterator[None]:
        """Let new agents call their models through the gateway until the context ends."""
        key = devtokens.master_key(settings_of()) or ""
        gateway = ProxyTarget(url=self.url, master_key=key, takes_lettas_key=letta_key is not None)
        self.platform.reach_gateway(gateway, letta_key)
        try:
            yield
        finally:
            self.platform.reach_gateway(None)
            if self.real_letta:
                await self._forget_providers()

    async def _forget_providers(self) -> None:
        base, key = os.environ["LETTA_BASE_URL"], os.environ["LETTA_API_KEY"]
        headers = {"authorization": f"Bearer {key}"}
        async with http_client.client(base_url=base, headers=headers, timeout=30) as letta:
            for user in self.platform.state.users:
                found = (await letta.get("/v1/providers/", params={"name": provider_name(user)})).json()
                for provider in found:
                    (await letta.delete(f"/v1/providers/{provider['id']}")).raise_for_status()

    @property
    def embedding_model(self) -> str:
        """Return an embedding model."""
        return "fake-embed" if self.real else "text-embedding-3-small"

    async def own_key(self, user_id: str = ADA, *, litellm_user: str | None = "", **facts: Any) -> str:
        """Give a user a virtual key; with the real LiteLLM, one that is created there.

        It belongs to ``litellm_user``: by default a new one, ``None`` for none.
        """
        under = f"{user_id}-{uuid.uuid4()}" if litellm_user == "" else litellm_user
        asked = {"max_budget": 5.0, "user_id": under, **facts}
        key = await self._made_key(asked) if self.real else f"sk-test-{uuid.uuid4()}"
        if not self.real:
            reset = {"budget_reset_at": "2099-01-01T00:00:00+00:00"} if "budget_duration" in asked else {}
            make_key(self.platform.state, key, **{**asked, **reset})
        self.platform.state.users[user_id].litellm_key = key
        return key

    async def _made_key(self, asked: dict[str, Any]) -> str:
        async with self.litellm() as admin:
            made = (await admin.post("/key/generate", json=asked)).raise_for_status().json()
        return str(made["key"])

    async def spent(self, user_id: str = ADA) -> Decimal:
        """Return the spend of a user's key in US dollars."""
        answer = await self.graphql("{ viewer { budget { spendUsd } } }", user=user_id)
        return Decimal(answer["data"]["viewer"]["budget"]["spendUsd"])

    def headers(self, user_id: str = ADA) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(user_id)}"}

    async def graphql(self, query: str, variables: dict[str, Any] | None = None, *, user: str = ADA) -> dict[str, Any]:
        """Return the answer's body; the status must be a success."""
        body = {"query": query, "variables": variables or {}}
        response = await self.client.post("/graphql", json=body, headers=self.headers(user))
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def make_agent(self, user: str = ADA, name: str = "Test agent") -> str:
        """Create an agent through AMS and return its id."""
        template = self.platform.state.templates["support-bot"] | {"model": self.chat_model}
        agent = await self.platform.ams.agents.make(self.platform.state.users[user], template, name)
        return str(agent["id"])

    async def change_model(self, agent_id: str, **config: Any) -> None:
        """Change fields of an agent's model configuration in Letta."""
        async with self.letta() as letta:
            agent = (await letta.get(f"/v1/agents/{agent_id}")).raise_for_status().json()
            body = {"llm_config": {**agent["llm_config"], **config}}
            (await letta.patch(f"/v1/agents/{agent_id}", json=body)).raise_for_status()

    async def give_tool(self, agent_id: str, tool: str, *, approval: bool = False) -> None:
        """Let an agent call a tool, with or without approval. With the embedded Letta the message itself does that."""
        if not self.real_letta:
            return
        async with self.letta() as letta:
            [found] = (await letta.get("/v1/tools/", params={"name": tool})).raise_for_status().json()
            path = f"/v1/agents/{agent_id}/tools"
            (await letta.patch(f"{path}/attach/{found['id']}")).raise_for_status()
            asked = {"requires_approval": approval}
            (await letta.patch(f"{path}/approval/{tool}", json=asked, params=asked)).raise_for_status()

    async def require_approval(self, agent_id: str, tool: str) -> None:
        """Require approval for an agent's calls of a tool."""
        await self.give_tool(agent_id, tool, approval=True)

    def letta(self) -> httpx.AsyncClient:
        """Call Letta directly."""
        if self.real_letta:
            base, key = os.environ["LETTA_BASE_URL"], os.environ["LETTA_API_KEY"]
        else:
            base, key = self.servers["letta"].url, self.platform.options.letta_key
        headers = {"authorization": f"Bearer {key}"}
        return http_client.client(base_url=base, headers=headers, timeout=30)

    def litellm(self) -> httpx.AsyncClient:
        """Call the real LiteLLM directly as its administrator."""
        headers = {"authorization": f"Bearer {os.environ['LITELLM_API_KEY']}"}
        return http_client.client(base_url=os.environ["LITELLM_BASE_URL"], headers=headers, timeout=30)

    @property
    def litellm_url(self) -> str:
        """The base URL of LiteLLM."""
        return os.environ["LITELLM_BASE_URL"] if self.real else self.servers["litellm"].url

    async def litellm_version(self) -> tuple[int, ...]:
        """Return the version of LiteLLM."""
        async with http_client.client(base_url=self.litellm_url) as client:
            return await version_of(client, os.environ.get("LITELLM_API_KEY", ""))

    async def model_stats(self) -> dict[str, int]:
        """Return the model's counters."""
        if not self.real:
            stats = self.platform.state.stats
            return {"inflight": stats.inflight, "total": stats.total, "disconnected": stats.disconnected}
        async with http_client.client() as client:
            answer = await client.get(os.environ.get("MODEL_URL", "http://127.0.0.1:19301") + "/_log")
            stats_: dict[str, int] = answer.json()["stats"]
            return stats_

    async def charged(self, user_id: str = ADA) -> float:
        """Return the spend in US dollars that LiteLLM has recorded for an end user, with any key."""
        if not self.real:
            return sum(float(entry["spend"]) for entry in self.platform.state.spend if entry["end_user"] == user_id)
        async with self.litellm() as admin:
            answer = await admin.get("/customer/info", params={"end_user_id": user_id})
        return 0.0 if answer.status_code == 404 else float(answer.raise_for_status().json()["spend"])

    def calls(self, service: str) -> list[str]:
        """Return ``METHOD path`` of a service's calls."""
        return [f"{c['method']} {c['path']}" for c in self.platform.state.calls if c["service"] == service]


async def until(check: Any, seconds: float = 5) -> Any:
    """Wait until ``check``, a function or a coroutine function, returns something true, and return it."""
    end = time.monotonic() + seconds
    while True:
        result = check()
        if result := (await result if inspect.isawaitable(result) else result):
            return result
        assert time.monotonic() < end, "the condition did not become true in time"
        await asyncio.sleep(0.01)


async def version_of(litellm: httpx.AsyncClient, key: str) -> tuple[int, ...]:
    """Ask a LiteLLM for its version. The real one tells only its administrator."""
    ready = (await litellm.get("/health/readiness")).raise_for_status().json()
    if "litellm_version" not in ready:
        headers = {"authorization": f"Bearer {key}"}
        ready = (await litellm.get("/health/readiness/details", headers=headers)).raise_for_status().json()
    return tuple(int(part) for part in str(ready["litellm_version"]).split(".")[:3])


async def stop_all(servers: dict[str, LoopbackServer]) -> None:
    await asyncio.gather(*(server.stop() for server in servers.values()))


@asynccontextmanager
async def embedded_stack(**settings: Any) -> AsyncIterator[Stack]:
    """Run embedded services on separate ports, so that each can be killed."""
    options = EmbeddedOptions(words_per_second=2000, letta_redis=settings.pop("letta_redis", True))
    platform = EmbeddedPlatform(options, SeededStore())
    options = platform.options
    async with AsyncExitStack() as stack:
        servers = {name: LoopbackServer(platform.service(name)) for name in ("ams", "letta", "litellm")}
        stack.push_async_callback(stop_all, servers)
        for server in servers.values():
            await server.start()
        platform.reach_letta(servers["letta"].url, options.letta_key)
        stack.push_async_callback(platform.stop_runs)
        given = {
            "ams_base_url": servers["ams"].url,
            "supabase_service_key": options.ams_key,
            "letta_base_url": servers["letta"].url,
            "letta_api_key": options.letta_key,
            "litellm_base_url": servers["litellm"].url,
            "breaker_reset_seconds": 0.2,
            "stream_look_seconds": 0.2,
            **ONE_ADDRESS,
            **settings,
        }
        running = await run_gateway(stack, given, platform, chat_model=EMBEDDED_MODEL, real=False)
        running.servers = servers
        yield running


@asynccontextmanager
async def replica_of(running: Stack, **settings: Any) -> AsyncIterator[Stack]:
    """Run another gateway for the same services, with the settings of ``running`` except ``settings``."""
    async with AsyncExitStack() as stack:
        given = {**running.given, **settings}
        other = await run_gateway(stack, given, running.platform, chat_model=running.chat_model, real=running.real)
        other.servers = running.servers
        yield other


@asynccontextmanager
async def real_stack(**settings: Any) -> AsyncIterator[Stack]:
    """Use the real LiteLLM and Letta that the environment names, with an embedded AMS.

    Letta is embedded too if the environment names none.
    """
    letta, key = os.environ.get("LETTA_BASE_URL"), os.environ.get("LETTA_API_KEY")
    options = EmbeddedOptions(letta_url=letta, letta_api_key=key, litellm_is_real=True, words_per_second=2000)
    platform = EmbeddedPlatform(options)
    names = ("ams", "letta") if letta is None else ("ams",)
    servers = {name: LoopbackServer(platform.service(name)) for name in names}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_all, dict(servers))
        for server in servers.values():
            await server.start()
        ams = servers.pop("ams")
        if letta is None:
            letta, key = servers["letta"].url, platform.options.letta_key
            platform.state.models[REAL_MODEL] = platform.state.models[EMBEDDED_MODEL]
        platform.reach_letta(letta, key or "")
        stack.push_async_callback(platform.stop_runs)
        given = {
            "ams_base_url": ams.url,
            "supabase_service_key": platform.options.ams_key,
            "letta_base_url": letta,
            "letta_api_key": key,
            "litellm_base_url": os.environ["LITELLM_BASE_URL"],
            "litellm_api_key": os.environ["LITELLM_API_KEY"],
            **ONE_ADDRESS,
            **settings,
        }
        running = await run_gateway(stack, given, platform, chat_model=REAL_MODEL, real=True)
        running.servers = servers
        yield running


def any_stack(**settings: Any) -> AbstractAsyncContextManager[Stack]:
    """Run a stack with these settings, embedded or real as the test run has it."""
    real = os.environ.get("AGENTGRAPH_TEST_REAL") == "1"
    return real_stack(**settings) if real else embedded_stack(**settings)


async def run_gateway(
    stack: AsyncExitStack, given: dict[str, Any], platform: EmbeddedPlatform, *, chat_model: str, real: bool
) -> Stack:
    """Run a gateway with these settings until ``stack`` is closed. Its services run already."""
    log = io.StringIO()
    telemetry = Telemetry(make_logger("INFO", log))
    settings = settings_of(**given)
    drain = Drain()
    app = create_app(settings, telemetry, drain=drain)
    url = await stack.enter_async_context(served(app, settings))
    client = await stack.enter_async_context(http_client.client(base_url=url, timeout=30))
    return Stack(url, platform, telemetry, log, client, chat_model, real, app, drain, given=given)


class GraphQLSocket:
    """A graphql-transport-ws client that returns every message."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def tell(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(await self.socket.recv())
        return message

    async def subscribe(self, query: str, variables: dict[str, Any] | None = None) -> str:
        operation_id = str(uuid.uuid4())
        await self.tell(id=operation_id, type="subscribe", payload={"query": query, "variables": variables or {}})
        return operation_id

    async def events(self, query: str, variables: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        """Yield the events of one subscription to ``complete``; an error is an AssertionError."""
        operation_id = await self.subscribe(query, variables)
        while (message := await self.hear())["type"] != "complete":
            assert message["type"] == "next", message
            assert message["id"] == operation_id
            assert "errors" not in message["payload"], message
            yield next(iter(message["payload"]["data"].values()))


@asynccontextmanager
async def opened_socket(stack: Stack, token: str | None = None) -> AsyncIterator[GraphQLSocket]:
    """Open a signed-in socket."""
    url = stack.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as connection:
        socket = GraphQLSocket(connection)
        await socket.tell(type="connection_init", payload={"authorization": f"Bearer {token or stack.token()}"})
        assert (await socket.hear())["type"] == "connection_ack"
        yield socket


__all__ = ["ADA", "GRACE", "Stack", "any_stack", "embedded_stack", "opened_socket", "until"]
