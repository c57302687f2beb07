"""The gateway's settings: every variable it knows, typed and frozen, wrong ones refused with one line each.

The real environment wins over ``.env``; an empty value is an unset one. Secrets are ``SecretStr`` and never printed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import addresses
from app.setting_kinds import (
    Count,
    HeaderSecret,
    Hs256Secret,
    LimitPerMinute,
    LogLevel,
    Lowered,
    Number,
    Origins,
    Seconds,
    Secret,
)
from app.usage import UsageError

ENV_FILE = ".env"
LOCALHOST_ORIGIN = r"https?://(localhost|127\.0\.0\.1)(:\d+)?"
MIN_SECRET_BYTES = 32


class Environment(StrEnum):
    """Where the gateway runs. Only production refuses what is convenient and insecure."""

    DEVELOPMENT = "development"
    TEST = "test"
    STAGING = "staging"
    PRODUCTION = "production"


class SettingsError(UsageError):
    """The settings cannot be used. ``problems`` has one line each, naming the variable and no secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """All of them. Field names in capitals are the variables' names; units are in the names where there is one."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",  # editors on Windows begin a file with a byte order mark
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    environment: Annotated[Environment, Lowered] = Environment.DEVELOPMENT
    """Where the gateway runs: development, test, staging or production. Only production refuses what is convenient and
    insecure: embedded upstreams, development tokens, calls from any origin of this machine.
    """
    ams_base_url: Annotated[str | None, AfterValidator(addresses.ams_url)] = None
    """The Agent Management Service. Empty: the embedded one."""
    letta_base_url: Annotated[str | None, AfterValidator(addresses.letta_url)] = None
    """Letta's base address, without /v1. Empty: the embedded one."""
    litellm_base_url: Annotated[str | None, AfterValidator(addresses.litellm_url)] = None
    """The LiteLLM proxy's base address, without /v1. Empty: the embedded one."""
    supabase_url: Annotated[str | None, AfterValidator(addresses.supabase_url)] = None
    """The Supabase project that signs users in. Empty, with SUPABASE_JWT_SECRET: development tokens sign in."""
    supabase_jwt_secret: Hs256Secret = None
    """The project's HS256 secret, 32 bytes or more."""
    supabase_service_key: HeaderSecret = None
    """The gateway's own credential for AMS."""
    letta_api_key: HeaderSecret = None
    """The gateway's key for Letta."""
    litellm_api_key: HeaderSecret = None
    """Pays for users who have no virtual key of their own."""
    agent_secret_master_key: Secret = None
    """The key from which agents' secrets are derived, 32 bytes or more. Empty: one of this machine's own while
    development tokens sign in, else no agent's secret opens the proxy.
    """
    letta_proxy_key: HeaderSecret = None
    """What Letta sends where it cannot send an agent's secret: its own OPENAI_API_KEY, 32 characters or more. It opens
    every known user's proxy, and nothing else. Empty: off.
    """
    allowed_origins: Origins = None
    """Origins that may call from a browser, separated by commas: scheme://host or scheme://host:port. Empty: any port
    of localhost and 127.0.0.1 outside production, none in production.
    """
    host: Annotated[str | None, AfterValidator(addresses.host)] = None
    """The address to listen on. Empty: 127.0.0.1 while development tokens sign in, else 0.0.0.0."""
    port: Annotated[int, Number, Field(ge=0, le=65535)] = 8000
    """The port to listen on."""
    public_url: Annotated[str | None, AfterValidator(addresses.public_url)] = None
    """Where Letta reaches this gateway. The embedded AMS makes agents whose model calls come back to it; empty: they go
    wherever Letta sends them.
    """
    metrics_token: HeaderSecret = None
    """A bearer token that /metrics and the details of /health ask for. Empty: open outside production, closed in
    production.
    """
    log_level: LogLevel = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    max_concurrent_requests: Count = 1000
    """Requests and operations of sockets at a time, of which one user has a quarter at most; more are refused. What
    Letta sends back has as many places of its own, and requests that are not signed in have a quarter as many.
    """
    max_concurrent_streams: Count = 2000
    """Streams, and requests that wait for a model, at a time, of which one user has a quarter at most; more are
    refused.
    """
    forwarded_allow_ips: str = "127.0.0.1"
    """The proxies and load balancers whose X-Forwarded-For and X-Forwarded-Proto are trusted: addresses or networks,
    separated by commas; `*` for all.
    """
    max_sockets: Count = 4000
    """WebSockets at a time that have signed in; more are refused."""
    max_sockets_per_user: Count = 100
    """WebSockets of one user at a time."""
    max_socket_messages_per_second: Count = 200
    """What one user may send over all WebSockets, in frames a second; ten seconds' worth may come at once."""
    max_connections: Count = 10_000
    """Connections at a time, or three quarters of the files that the process may open. One more closes the one that has
    waited longest for a request.
    """
    max_body_bytes: Count = 1_000_000
    """The largest body and the largest WebSocket message, in bytes."""
    max_upstream_bytes: Count = 32 * 1024 * 1024
    """The largest answer of an upstream that is read whole, in bytes: for embeddings. Lists and completions may have
    half of it, single records and all of AMS an eighth.
    """
    max_query_depth: Count = 15
    """How deep a query may be nested."""
    max_query_tokens: Count = 2000
    """How many tokens a query may have. Each costs up to 20 µs to parse and check."""
    max_query_cost: Count = 100_000
    """What an operation may cost, by the weights in the schema: a value costs 1, a call to a service 50."""
    max_upstream_calls: Count = 500
    """How many calls to services one operation may make, and each event of a subscription."""
    max_answer_bytes: Count = 16_777_216
    """The largest answer to an operation, and the largest event of a subscription, in bytes of JSON."""
    request_timeout: Seconds = 30.0
    """Bounds everything but model work, in seconds."""
    write_timeout_seconds: Seconds = 30.0
    """How long a client may take less than 8 KiB of an answer, or less than a tenth of what waits for it, in seconds.
    Then its connection is reset.
    """
    socket_init_seconds: Seconds = 10.0
    """How long a socket may take to introduce itself, in seconds."""
    connect_timeout_seconds: Seconds = 5.0
    """How long connecting to an upstream may take, in seconds."""
    llm_timeout_seconds: Seconds = 600.0
    """Bounds model work, in seconds."""
    shutdown_grace_seconds: Seconds = 10.0
    """How long a stopping gateway waits for requests and streams to end, in seconds. Readers of streams that go on are
    detached shortly before; the process ends at most a second after.
    """
    breaker_reset_seconds: Seconds = 10.0
    """How long an open breaker refuses calls before it lets one through on trial, in seconds."""
    stream_first_token_seconds: Seconds = 120.0
    """How long a model may take to its first token, in seconds."""
    stream_idle_seconds: Seconds = 60.0
    """How long a model may pause within an answer, in seconds."""
    stream_grace_seconds: Annotated[float, Number, Field(ge=0, le=10_000_000)] = 60.0
    """How long a stream without readers is kept going, in seconds."""
    stream_retention_seconds: Seconds = 300.0
    """How long a stream can be read again after its end, in seconds."""
    stream_memory_bytes: Annotated[int, Number, Field(ge=64 * 1024 * 1024)] = 512 * 1024 * 1024
    """How much memory the streams that run or can be read again may take, in bytes; at least 67108864. One user's may
    take an eighth of it. Beyond that, new streams are refused.
    """
    stream_heartbeat_seconds: Seconds = 15.0
    """How often a quiet connection shows that it is alive, in seconds."""
    stream_coalesce_milliseconds: Annotated[int, Number, Field(ge=0, le=1000)] = 16
    """Tokens that come closer together than this share a frame at the GraphQL doors, in milliseconds. 0: each has its
    own.
    """
    stream_look_seconds: Seconds = 3.0
    """How often Letta is polled for the runs of an agent whose conversations are followed, in seconds; up to five times
    as rarely while the agent is idle.
    """
    rate_limit_general: LimitPerMinute = 1000
    """What a user may ask in a minute: GraphQL operations, by whichever transport, and requests at /v1 together. 0: no
    limit.
    """
    rate_limit_llm: LimitPerMinute = 300
    """How often a user may put a model to work in a minute: messages, decisions, completions, embeddings. 0: no limit.
    """
    rate_limit_proxy: LimitPerMinute = 3000
    """How many model calls a user's agents may have come back through the proxy in a minute. 0: no limit."""
    redis_url: Annotated[str | None, AfterValidator(addresses.redis_url)] = None
    """Redis or Valkey. So far /health asks whether it is there, and state is kept in memory."""
    redis_password: SecretStr | None = None
    """Its password, where the URL has none."""

    @classmethod
    def load(cls, **values: Any) -> Settings:
        """The settings of this process: given values, environment, ``.env``.

        Raises:
            SettingsError: with a line for each problem.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError([line for problem in error.errors() for line in _lines(problem)]) from None
        except UnicodeDecodeError:
            raise SettingsError([".env: must be UTF-8 text"]) from None
        except OSError as error:
            raise SettingsError([f".env: cannot be read: {error.strerror}"]) from None

    @property
    def is_production(self) -> bool:
        """Whether what is convenient and insecure is refused."""
        return self.environment is Environment.PRODUCTION

    @property
    def embedded_services(self) -> frozenset[str]:
        """The services that the gateway stands in for: those without a URL."""
        urls = {"ams": self.ams_base_url, "letta": self.letta_base_url, "litellm": self.litellm_base_url}
        return frozenset(name for name, url in urls.items() if url is None)

    @property
    def development_tokens(self) -> bool:
        """Whether tokens made by ``agentgraph token`` sign in."""
        return self.supabase_url is None and self.supabase_jwt_secret is None and not self.is_production

    @property
    def bind_host(self) -> str:
        """Where to listen: on this machine alone while development tokens sign in, unless ``HOST`` says otherwise."""
        return self.host or ("127.0.0.1" if self.development_tokens else "0.0.0.0")  # noqa: S104 - a server's default

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Origins that may call from a browser, besides ``cors_origin_regex``."""
        return addresses.origins(self.allowed_origins)

    @property
    def cors_origin_regex(self) -> str | None:
        """Outside production, without ``ALLOWED_ORIGINS``: any port of this machine."""
        return LOCALHOST_ORIGIN if self.allowed_origins is None and not self.is_production else None

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if problems := self._problems():
            raise ValueError("\n".join(problems))
        return self

    def _problems(self) -> list[str]:
        """What does not fit together, a line each, naming the variable."""
        found = [*self._production_problems()] if self.is_production else []
        secret = self.supabase_jwt_secret
        found += self._short_secrets()
        found += self._padded_secrets()
        if (self.supabase_url is None) != (secret is None) and not self.is_production:
            missing = "SUPABASE_URL" if self.supabase_url is None else "SUPABASE_JWT_SECRET"
            found.append(f"{missing}: needed, since the other half of SUPABASE_URL and SUPABASE_JWT_SECRET is set")
        if self.ams_base_url is not None and self.supabase_service_key is None:
            found.append("SUPABASE_SERVICE_KEY: needed for the AMS at AMS_BASE_URL")
        if self.letta_base_url is not None and self.letta_api_key is None:
            found.append("LETTA_API_KEY: needed for the Letta at LETTA_BASE_URL")
        if self.litellm_base_url is not None and self.ams_base_url is None and self.litellm_api_key is None:
            found.append(
                "LITELLM_API_KEY: needed for the LiteLLM at LITELLM_BASE_URL, since the embedded AMS knows no keys"
            )
        if self.is_production:
            open_to = sorted(addresses.ANY.intersection(self.cors_origins))
            found += [f"ALLOWED_ORIGINS: {one} is not allowed in production" for one in open_to]
        return found

    def _short_secrets(self) -> list[str]:
        """Secrets that could be guessed."""
        names = ("supabase_jwt_secret", "agent_secret_master_key", "letta_proxy_key")
        given: dict[str, SecretStr | None] = {name: getattr(self, name) for name in names}
        return [
            f"{name.upper()}: must have at least {MIN_SECRET_BYTES} bytes"
            for name, value in given.items()
            if value is not None and len(value.get_secret_value().encode()) < MIN_SECRET_BYTES
        ]

    def _padded_secrets(self) -> list[str]:
        """Secrets with a space or line end around them, as `echo` leaves one: no signature and no key would match."""
        given = ((name, getattr(self, name)) for name in type(self).model_fields)
        return [
            f"{name.upper()}: must have no space or line end around it"
            for name, value in given
            if isinstance(value, SecretStr) and value.get_secret_value() != value.get_secret_value().strip()
        ]

    def _production_problems(self) -> list[str]:
        needed = {
            "AMS_BASE_URL": self.ams_base_url,
            "LETTA_BASE_URL": self.letta_base_url,
            "LITELLM_BASE_URL": self.litellm_base_url,
            "SUPABASE_URL": self.supabase_url,
            "SUPABASE_JWT_SECRET": self.supabase_jwt_secret,
        }
        return [f"{name}: needed when ENVIRONMENT is production" for name, value in needed.items() if value is None]


def _lines(problem: Any) -> list[str]:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["loc"]:
        return [f"{str(problem['loc'][0]).upper()}: {message}"]
    return message.splitlines()
