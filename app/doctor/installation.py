"""The settings, and the servers that the settings name."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from app.doctor.findings import NotChecked
from app.doctor.redis_server import RedisServer
from app.doctor.secrecy import Secrets
from app.embedded.guard import MARK
from app.setting_kinds import revealed
from app.settings import Settings
from app.upstream_tls import trusting
from clients.calls import Answer
from clients.decode import display_name
from clients.errors import Service
from clients.site import Site

LITELLM_MASTER_KEY = "LITELLM_MASTER_KEY"
"""The environment variable with LiteLLM's master key. Only the doctor reads this variable, and only if it is set."""

SERVICES = (Service.AMS, Service.LETTA, Service.LITELLM, Service.SUPABASE)
"""The services over HTTP."""

_Asked = tuple[str, str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command.

    Attributes:
        origin: the origin whose web pages use the gateway, or ``None``.
        seconds: the time limit of each call, in seconds.
    """

    origin: str | None = None
    seconds: float = 5.0


class Server:
    """A server at a URL. The answer to a request is kept, so that several checks make only one call.

    Attributes:
        name: the server's name for operators.
        variable: the environment variable with the URL.
    """

    def __init__(self, name: str, variable: str, site: Site) -> None:
        self.name = name
        self.variable = variable
        self.site = site
        self._asked: dict[_Asked, asyncio.Task[Answer]] = {}

    @property
    def url(self) -> str:
        """The base URL."""
        return self.site.url

    @property
    def is_local(self) -> bool:
        """Whether the URL's host is this machine."""
        return is_loopback(self.site.origin.host)

    async def answer(
        self,
        path: str,
        *,
        key: str | None = None,
        method: str = "GET",
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Return the server's answer to a request with a bearer token ``key``. Raises NoAnswer."""
        sent = {**(headers or {}), **({"authorization": f"Bearer {key}"} if key else {})}
        asked = (method, path, tuple(params), tuple(sent.items()), body)
        if asked not in self._asked:
            call = self.site.answer(path, method=method, headers=sent, params=params, body=body)
            self._asked[asked] = asyncio.create_task(call)
        return await asyncio.shield(self._asked[asked])

    async def aclose(self) -> None:
        """Cancel the requests in progress, and close the connections."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await self.site.aclose()


class Installation:
    """What the checks look at: the settings, and the servers that the settings name.

    Attributes:
        environment: the environment variables.
        redis: the Redis server, or ``None`` if ``REDIS_URL`` is not set.
        gateway: the gateway at ``PORT``, which need not run.
        operations: the gateway at ``OPERATIONS_PORT``, or ``None``.
        public: the gateway at ``PUBLIC_URL``, or ``None``.
    """

    def __init__(self, settings: Settings, options: Options, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.options = options
        self.environment = environment
        self._tls = trusting(settings.upstream_ca_bundle)
        urls = {service: getattr(settings, variable_of(service).lower()) for service in SERVICES}
        self._services = {
            service: self.server_at(display_name(service), variable_of(service), url)
            for service, url in urls.items()
            if url is not None
        }
        self.redis = None if settings.redis_url is None else RedisServer(settings, options.seconds)
        self.gateway = self.server_at("the gateway", "PORT", _own_url(settings.bind_host, settings.port))
        host, port = settings.operations_host or settings.bind_host, settings.operations_port
        self.operations = (
            None if port is None else self.server_at("the gateway", "OPERATIONS_PORT", _own_url(host, port))
        )
        public = settings.public_url
        self.public = None if public is None else self.server_at("the gateway", "PUBLIC_URL", public)

    def server_at(self, name: str, variable: str, url: str) -> Server:
        """Return the server at a URL. The caller closes the server."""
        return Server(name, variable, Site(url, seconds=self.options.seconds, tls=self._tls))

    def service(self, service: Service) -> Server:
        """Return a service over HTTP. Raises NotChecked if the service's URL is not set."""
        found = self._services.get(service)
        if found is None:
            instead = "accepts development tokens" if service is Service.SUPABASE else "embeds the service"
            raise NotChecked(f"{variable_of(service)} is not set, so the gateway {instead}.")
        return found

    def redis_server(self) -> RedisServer:
        """Return the Redis server. Raises NotChecked if ``REDIS_URL`` is not set."""
        if self.redis is None:
            raise NotChecked("REDIS_URL is not set, so the process keeps its state in memory.")
        return self.redis

    @property
    def platform_key(self) -> str | None:
        """``LITELLM_API_KEY``."""
        return revealed(self.settings.litellm_api_key)

    @property
    def admin_key(self) -> str | None:
        """The key with which the doctor reads LiteLLM's settings."""
        return self.environment.get(LITELLM_MASTER_KEY, "").strip() or None

    def secrets(self) -> Secrets:
        """Return all secrets that the doctor knows. No output may contain them."""
        values = [getattr(self.settings, name) for name in Settings.model_fields]
        texts = [value.get_secret_value() for value in values if hasattr(value, "get_secret_value")]
        redis = urlsplit(self.settings.redis_url or "")
        written = redis.password or ""
        options = parse_qs(redis.query).get("password", [])  # redis-py reads this option, too
        return Secrets(text for text in (*texts, written, unquote(written), *options, self.admin_key) if text)

    async def aclose(self) -> None:
        """Close all connections."""
        others = [one for one in (self.gateway, self.operations, self.public) if one is not None]
        await asyncio.gather(*(one.aclose() for one in (*self._services.values(), *others)))
        if self.redis is not None:
            await self.redis.aclose()


def variable_of(service: Service) -> str:
    """Return the environment variable with a service's URL."""
    return f"{service.name}_URL" if service in {Service.SUPABASE, Service.REDIS} else f"{service.name}_BASE_URL"


def is_embedded(answer: Answer) -> bool:
    """Return whether an answer comes from a service of ``agentgraph embedded``."""
    return MARK in answer.headers


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _own_url(host: str, port: int) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared only
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - compared only
    return f"http://{f'[{host}]' if ':' in host else host}:{port or 8000}"
