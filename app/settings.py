"""The gateway's settings: all environment variables, typed and immutable.

The environment takes precedence over ``.env``. An empty value counts as unset. Secrets are ``SecretStr`` and are never
printed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import addresses, origins, upstream_tls
from app.setting_kinds import (
    AuditLog,
    Count,
    HeaderSecret,
    Hs256Secret,
    LimitPerMinute,
    LogLevel,
    Lowered,
    Number,
    OnOff,
    Origins,
    Password,
    Port,
    Seconds,
    Secret,
)
from app.settings_checks import contradictions
from app.usage import UsageError

ENV_FILE = ".env"


class Environment(StrEnum):
    """The environment that the gateway runs in. Only production forbids insecure defaults."""

    DEVELOPMENT = "development"
    TEST = "test"
    STAGING = "staging"
    PRODUCTION = "production"


class SettingsError(UsageError):
    """The error for invalid settings. Each item of ``problems`` describes one problem and contains no secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """The gateway's settings. A field's name in capitals is the name of its environment variable."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",  # editors on Windows write a byte order mark
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    environment: Annotated[Environment, Lowered] = Environment.DEVELOPMENT
    """The environment: development, test, staging or production. Production forbids insecure defaults: embedded
    services, development tokens and CORS for any local origin.
    """
    ams_base_url: Annotated[str | None, AfterValidator(addresses.ams_url)] = None
    """Base URL of the Agent Management Service (AMS). If empty, the gateway uses the embedded AMS."""
    letta_base_url: Annotated[str | None, AfterValidator(addresses.letta_url)] = None
    """Base URL of Letta 0.16.8, without /v1. If empty, the gateway uses the embedded Letta."""
    litellm_base_url: Annotated[str | None, AfterValidator(addresses.litellm_url)] = None
    """Base URL of the LiteLLM proxy, without /v1. If empty, the gateway uses the embedded LiteLLM."""
    supabase_url: Annotated[str | None, AfterValidator(addresses.supabase_url)] = None
    """URL of the Supabase project that signs users in. The gateway reads the keys that verify tokens from the project's
    JWKS. If empty, the gateway accepts development tokens, except in production.
    """
    supabase_jwt_secret: Hs256Secret = None
    """The Supabase project's legacy HS256 JWT secret, at least 32 bytes. If empty, the gateway accepts only tokens that
    are signed with a key of the project's JWKS (ES256, RS256 or EdDSA).
    """
    supabase_jwt_issuer: Annotated[str | None, AfterValidator(addresses.issuer)] = None
    """The iss claim of the Supabase project's tokens. If empty, the issuer is SUPABASE_URL/auth/v1. A project with a
    custom domain can have a different issuer.
    """
    supabase_service_key: HeaderSecret = None
    """The gateway's API key for AMS."""
    letta_api_key: HeaderSecret = None
    """The gateway's API key for Letta."""
    litellm_api_key: HeaderSecret = None
    """The LiteLLM key that pays for the model calls of users without a virtual key."""
    upstream_ca_bundle: Annotated[str | None, AfterValidator(upstream_tls.ca_bundle)] = None
    """Path of a PEM file with the certificates of your own certificate authorities. In calls to AMS, Letta, LiteLLM and
    Supabase, the gateway trusts these authorities in addition to the system's. The gateway verifies every certificate.
    """
    agent_secret_master_key: Secret = None
    """The key, of at least 32 bytes, from which the gateway derives agent secrets. Letta sends an agent secret with
    each model call to the gateway's proxy. If this setting is empty and the gateway accepts development tokens, the
    gateway generates a key and stores the key on this machine. Without a key, the proxy accepts no agent secret.
    """
    agent_secret_master_key_previous: Secret = None
    """The former AGENT_SECRET_MASTER_KEY, during a rotation. The gateway's proxy accepts agent secrets that are derived
    from either key. The gateway derives new agent secrets only from AGENT_SECRET_MASTER_KEY.
    """
    letta_proxy_key: HeaderSecret = None
    """The OPENAI_API_KEY of the Letta server, of at least 32 characters. Letta sends this key with model calls without
    an agent secret. With this key, a client can use only the model proxy, but as any known user. If empty, the proxy
    accepts only agent secrets.
    """
    allowed_origins: Origins = None
    """Origins whose web pages may send requests (CORS), separated by commas: scheme://host or scheme://host:port. In
    https://*.example.com, * stands for one label: https://a.example.com, but not https://example.com or
    https://a.b.example.com. If empty, localhost and 127.0.0.1 with any port are allowed, except in production.
    """
    hsts_seconds: Annotated[int, Number, Field(ge=0, le=63_072_000)] = 0
    """The max-age of the header Strict-Transport-Security, in seconds. The gateway sends the header only in answers to
    https requests. If 0, the gateway sends no such header, because the proxy that terminates TLS usually sends one.
    """
    host: Annotated[str | None, AfterValidator(addresses.host)] = None
    """The address on which the gateway listens. If empty, the gateway listens on 127.0.0.1 if it accepts development
    tokens, and on 0.0.0.0 otherwise.
    """
    port: Port = 8000
    """The port on which the gateway listens."""
    workers: Annotated[int, Number, Field(ge=1, le=64)] = 1
    """The number of processes that serve PORT, at most 64. More than one require REDIS_URL. Each has its own limits."""
    operations_port: Port | None = None
    """A second port with /metrics, and with /health and its details. PORT then has no /metrics, and its /health shows
    only the gateway's status. The second port requires METRICS_TOKEN only if METRICS_TOKEN is set. If this setting is
    empty, there is no second port.
    """
    operations_host: Annotated[str | None, AfterValidator(addresses.host)] = None
    """The address on which the gateway listens for OPERATIONS_PORT. If empty, the same as for PORT."""
    public_url: Annotated[str | None, AfterValidator(addresses.public_url)] = None
    """The URL at which Letta reaches the gateway. Agents that the embedded AMS creates send their model calls to this
    URL. If empty, these model calls go to the provider that is configured in Letta.
    """
    metrics_token: HeaderSecret = None
    """The bearer token that /metrics and the details of /health require. If empty, production disables both at PORT,
    and other environments require no token.
    """
    log_level: LogLevel = "INFO"
    """The minimum level of log entries: DEBUG, INFO, WARNING or ERROR."""
    audit_log: AuditLog = "on"
    """Where the gateway writes the audit log: `on` for the standard output, whatever LOG_LEVEL is, the absolute path of
    a file, or `off`.
    """
    max_concurrent_requests: Count = 1000
    """Maximum number of concurrent HTTP requests and WebSocket operations. One user can have a quarter of this number.
    In addition, there can be the same number of calls from Letta, and a quarter of this number of unauthenticated
    requests. The gateway refuses further requests.
    """
    max_concurrent_streams: Count = 2000
    """Maximum number of concurrent streams, together with requests that wait for a model. One user can have a quarter
    of this number. The gateway refuses further streams and requests.
    """
    max_streams_per_user: Count = 100
    """Maximum number of running streams of one user, even if no client reads the streams. The user's agents can run the
    same number of streams through the proxy. The user can read twice as many streams at a time.
    """
    forwarded_allow_ips: Annotated[str, AfterValidator(addresses.proxies)] = "127.0.0.1"
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted: IP addresses or networks, separated by
    commas. `*` trusts all proxies.
    """
    max_sockets: Count = 4000
    """Maximum number of authenticated WebSockets. The gateway refuses further WebSockets."""
    max_sockets_per_user: Count = 100
    """Maximum number of WebSockets of one user."""
    max_socket_messages_per_second: Count = 200
    """Maximum rate of frames that one user can send over all WebSockets, in frames per second. Bursts of 10 times this
    number are allowed.
    """
    max_connections: Count = 10_000
    """Maximum number of connections. The number is never higher than three quarters of the process's file descriptor
    limit. Above the maximum, the gateway closes the connection that has been idle longest.
    """
    max_body_bytes: Count = 1_000_000
    """Maximum size of a request body and of a WebSocket message, in bytes."""
    max_upstream_bytes: Count = 32 * 1024 * 1024
    """Maximum size of an embeddings response from a service, in bytes. Lists and completions can have half of this
    size. Single records and all AMS responses can have an eighth of this size.
    """
    max_query_depth: Count = 15
    """Maximum nesting depth of a GraphQL document."""
    max_query_tokens: Count = 2000
    """Maximum number of tokens in a GraphQL document. Parsing and validating a document takes up to 20 µs per token."""
    max_query_cost: Count = 100_000
    """Maximum static cost of an operation, computed from @cost and @listSize. A value costs 1, an upstream call 50.
    """
    max_upstream_calls: Count = 500
    """Maximum number of upstream calls for one operation, and for each event of a subscription."""
    max_answer_bytes: Count = 16_777_216
    """Maximum size of the response to an operation, and of a subscription event, in bytes of JSON."""
    compiled_execution: Annotated[OnOff, Lowered] = OnOff.ON
    """Whether operations are executed by compiled plans: `on` or `off`. If `off`, graphql-core executes all of them."""
    request_timeout: Seconds = 30.0
    """Timeout of a request that starts no model work, in seconds."""
    write_timeout_seconds: Seconds = 30.0
    """Write timeout, in seconds. In this time, a client must read 8 KiB or a tenth of the buffered bytes, whichever is
    more. Otherwise the gateway resets the connection.
    """
    socket_init_seconds: Seconds = 10.0
    """Timeout for a client to send connection_init on a new WebSocket, in seconds."""
    connect_timeout_seconds: Seconds = 5.0
    """Timeout for connecting to a service, in seconds."""
    llm_timeout_seconds: Seconds = 600.0
    """Timeout of a turn, completion or embedding, in seconds."""
    shutdown_grace_seconds: Seconds = 10.0
    """How long a stopping gateway waits for requests and streams to end, in seconds. Shortly before this deadline, the
    gateway detaches the readers of the remaining streams. The process ends at most one second after the deadline.
    """
    breaker_failures: Count = 5
    """The number of consecutive failures that opens a breaker."""
    breaker_calls: Count = 20
    """The minimum number of calls within 30 seconds before a failure rate of 50 % opens a breaker."""
    breaker_slow_seconds: Annotated[float, Number, Field(ge=0, le=10_000_000)] = 15.0
    """The time after which an answer counts as slow, in seconds. Slow answers count in the failure rate. Models'
    answers are never slow. If 0, slow answers do not count.
    """
    upstream_retry_percent: Annotated[int, Number, Field(ge=0, le=100)] = 10
    """The retry budget of each service: the maximum number of repeated calls, in percent of the calls. If 0, no failed
    call is repeated.
    """
    breaker_reset_seconds: Seconds = 10.0
    """How long an open breaker refuses calls before it goes half-open and admits one trial call, in seconds."""
    stream_first_token_seconds: Seconds = 120.0
    """Timeout for a model's first token, in seconds."""
    stream_idle_seconds: Seconds = 60.0
    """Maximum time between two parts of a model's answer, in seconds."""
    stream_grace_seconds: Annotated[float, Number, Field(ge=0, le=10_000_000)] = 60.0
    """Grace period: how long a stream without readers continues, in seconds."""
    stream_retention_seconds: Seconds = 300.0
    """Retention: how long a stream can be read after its end, in seconds."""
    stream_memory_bytes: Annotated[int, Number, Field(ge=64 * 1024 * 1024)] = 512 * 1024 * 1024
    """Maximum memory of all running and retained streams, in bytes. The minimum value is 67108864. One user's quota is
    an eighth of this memory. If the gateway cannot free memory, it refuses new streams.
    """
    stream_heartbeat_seconds: Seconds = 15.0
    """Interval between heartbeats on a silent connection, in seconds."""
    stream_coalesce_milliseconds: Annotated[int, Number, Field(ge=0, le=1000)] = 16
    """Time for which the gateway collects tokens into one GraphQL event, in milliseconds. If 0, each token has a
    separate event.
    """
    stream_look_seconds: Seconds = 3.0
    """Interval at which the gateway polls Letta for an agent's runs while clients follow the agent's conversations, in
    seconds. While the agent is idle, the interval is up to five times as long.
    """
    rate_limit_general: LimitPerMinute = 1000
    """Rate limit of a user's GraphQL operations and /v1 requests together, per minute. If 0, there is no limit."""
    rate_limit_llm: LimitPerMinute = 300
    """Rate limit of a user's operations and requests that start model work (messages, approval decisions, completions,
    embeddings), per minute. If 0, there is no limit.
    """
    rate_limit_proxy: LimitPerMinute = 3000
    """Rate limit of model calls that a user's agents make through the gateway, per minute. If 0, there is no limit."""
    llm_tokens_per_minute: LimitPerMinute = 0
    """Limit of the input and output tokens of a user's completions and embeddings, per minute. The gateway reserves
    tokens before a model call, and corrects the number after the call. The model calls of a user's agents count, but
    are never refused. If 0, there is no limit.
    """
    sign_in_failures_per_minute: LimitPerMinute = 100
    """How many requests without a token, and how many requests with an invalid token, one IP address may send per
    minute. Each process has its own counters. Above the limit, the process refuses the tokens of new sessions. If 0,
    there is no limit.
    """
    cache: Annotated[OnOff, Lowered] = OnOff.ON
    """Whether queries read from the cache: `on` or `off`."""
    cache_memory_bytes: Annotated[int, Number, Field(ge=1024 * 1024)] = 64 * 1024 * 1024
    """Maximum memory of the records that the process has cached, in bytes. One user's records can use an eighth."""
    redis_url: Annotated[str | None, AfterValidator(addresses.redis_url)] = None
    """URL of Redis or Valkey, in which the replicas share state. If empty, each process keeps its state in memory."""
    redis_password: Password = None
    """The password for Redis, if REDIS_URL has none."""

    @classmethod
    def load(cls, **values: Any) -> Settings:
        """Load the settings from arguments, the environment and ``.env``.

        Raise SettingsError if a setting is invalid.
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
        """Return whether the gateway runs in production. Production forbids insecure defaults."""
        return self.environment is Environment.PRODUCTION

    @property
    def embedded_services(self) -> frozenset[str]:
        """Return the names of the embedded services. The gateway embeds a service if the service has no URL."""
        urls = {"ams": self.ams_base_url, "letta": self.letta_base_url, "litellm": self.litellm_base_url}
        return frozenset(name for name, url in urls.items() if url is None)

    @property
    def development_tokens(self) -> bool:
        """Return whether the gateway accepts development tokens. ``agentgraph token`` creates these tokens."""
        return self.supabase_url is None and not self.is_production

    @property
    def issuer(self) -> str:
        """Return the ``iss`` claim of the Supabase project's tokens (Supabase contract)."""
        return self.supabase_jwt_issuer or f"{self.supabase_url}/auth/v1"

    @property
    def bind_host(self) -> str:
        """Return the address on which the gateway listens.

        By default, this is ``127.0.0.1`` if development tokens are accepted, and ``0.0.0.0`` otherwise.
        """
        return self.host or ("127.0.0.1" if self.development_tokens else "0.0.0.0")  # noqa: S104 - a server's default

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Return the origins in ``ALLOWED_ORIGINS``."""
        return origins.parse(self.allowed_origins).exact

    @property
    def cors_origin_regex(self) -> str | None:
        """Return a regular expression for the patterns in ``ALLOWED_ORIGINS``.

        If ``ALLOWED_ORIGINS`` is not set, it is for local origins, except in production.
        """
        if self.allowed_origins is None:
            return None if self.is_production else origins.LOCALHOST
        return origins.parse(self.allowed_origins).pattern

    @model_validator(mode="after")
    def _check_combinations(self) -> Settings:
        if problems := list(contradictions(self)):
            raise ValueError("\n".join(problems))
        return self


def _lines(problem: Any) -> list[str]:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["loc"]:
        return [f"{str(problem['loc'][0]).upper()}: {message}"]
    return message.splitlines()
