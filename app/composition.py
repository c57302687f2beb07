"""Creates and connects the gateway's parts at startup, and closes them in reverse order."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from app import devtokens
from app.caching import open_cache
from app.drain import Drain
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.embedded.store import Store
from app.embedded.supabase.service import EmbeddedSupabase
from app.gateway import Gateway
from app.graphql.engine import Engine, EngineLimits
from app.probes import probes_of, report
from app.proxy_settings import letta_key, proxy_target
from app.settings import Settings
from app.shared_streams import share_streams
from app.signin.attempts import SignInAttempts
from app.signin.authenticator import Authenticator
from app.signin.issuer import IssuerKeys
from app.signin.keys import VerifyingKey, public_keys
from app.slots import Slots
from app.state_metrics import StateMetrics
from app.telemetry import Telemetry
from app.upstream_tls import trusting
from app.version import VERSION
from clients.ams import Ams
from clients.calls import CallScope, UpstreamLimits
from clients.errors import Service
from clients.health import HealthCheck
from clients.letta.client import Letta
from clients.limiter import MemoryLimiter
from clients.litellm import LiteLLM
from clients.state.breaker_news import RedisBreakerNews
from clients.state.keys import SharedKeys
from clients.state.limits import RedisLimiter
from clients.state.revocations import RedisRevocations
from clients.state.shared import SharedState, memory_state, redis_check, redis_state
from clients.supabase import Supabase
from clients.transport import AiohttpTransport
from clients.upstream import Upstream
from resolvers.idempotency import IdempotencyKeys
from resolvers.limits import LimitKind, RateLimits
from resolvers.outcome_unknown import SETTLE_SECONDS
from resolvers.platform import Health
from resolvers.resources import Resources
from resolvers.sessions import MAX_REVOKED, Sessions
from resolvers.shared_answers import SharedAnswers
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import READERS_PER_STREAM, StreamLimits
from resolvers.streams.timeouts import Timeouts
from schema.build import build_schema

HEALTH_SECONDS = 3.0
"""The timeout of a health check, in seconds."""

JWKS_SECONDS = 3.0
"""The timeout for fetching Supabase's public keys, in seconds."""


async def open_gateway(
    settings: Settings,
    telemetry: Telemetry,
    drain: Drain,
    slots: Slots,
    stack: AsyncExitStack,
    store: Store | None = None,
    *,
    check_services: bool = False,
) -> Gateway:
    """Open the gateway. If ``check_services`` is true, check the configured services in the background."""
    configured = settings
    settings, platform = await _with_embedded(settings, stack, store)
    urls = {service: getattr(settings, name) for service, name in _URLS.items()}
    issuer = await _embedded_issuer(stack) if settings.development_tokens else None
    urls[Service.SUPABASE] = settings.supabase_url or (issuer.url if issuer else "")
    tls = trusting(settings.upstream_ca_bundle)
    clients = {service: _client(settings, service, url, telemetry, tls) for service, url in urls.items()}
    for upstream in clients.values():
        stack.push_async_callback(upstream.aclose)
    supabase = Supabase(clients[Service.SUPABASE])
    streams = _streams(settings, telemetry)
    embedded = {*configured.embedded_services, *(["supabase"] if settings.development_tokens else [])}
    state = await _state(settings, telemetry, clients, embedded, stack)
    keys = IdempotencyKeys(settings.stream_retention_seconds, shared=_shared_answers(settings, state))
    stack.push_async_callback(keys.aclose)
    drain.background(keys.settled)
    ams, letta, litellm = Ams(clients[Service.AMS]), Letta(clients[Service.LETTA]), LiteLLM(clients[Service.LITELLM])
    checks = _checks([ams, letta, litellm, supabase], embedded, state)
    resources = Resources(
        ams=ams,
        letta=letta,
        litellm=litellm,
        streams=streams,
        keys=keys,
        metrics=telemetry,
        limits=_rate_limits(settings, telemetry, state),
        health=Health(checks, VERSION, state),
        timeouts=_timeouts(settings),
        platform_key=_secret(settings.litellm_api_key),
        max_calls=settings.max_upstream_calls,
        cache=open_cache(settings, telemetry, state, stack),
    )
    share_streams(resources, state, settings, stack)
    if check_services:
        _probe(configured, resources, checks, telemetry, stack)
    return Gateway(
        engine=Engine(build_schema(), telemetry, _engine_limits(settings)),
        authenticator=await _authenticator(settings, supabase, resources.sessions, telemetry, state, stack),
        resources=resources,
        telemetry=telemetry,
        drain=drain,
        slots=slots,
        open_introspection=not settings.is_production,
        open_metrics=not settings.is_production,
        max_body_bytes=settings.max_body_bytes,
        metrics_token=_secret(settings.metrics_token),
        fault_page=None if platform is None else platform.page_url,
        issuer=None if issuer is None else issuer.app(),
    )


async def _with_embedded(
    settings: Settings, stack: AsyncExitStack, store: Store | None
) -> tuple[Settings, EmbeddedPlatform | None]:
    """Start an embedded service for each service without a URL. Return settings that contain all URLs."""
    missing = settings.embedded_services
    if not missing:
        return settings, None
    options = EmbeddedOptions(
        services=missing,
        letta_url=settings.letta_base_url,
        letta_api_key=_secret(settings.letta_api_key),
        litellm_is_real="litellm" not in missing,
        gateway=proxy_target(settings),
        letta_own_key=letta_key(settings),
    )
    platform = EmbeddedPlatform(options, store)
    await platform.start()
    stack.push_async_callback(platform.stop)
    options = platform.options
    changes: dict[str, Any] = {f"{name}_base_url": platform.urls[name] for name in missing}
    keys = {"ams": ("supabase_service_key", options.ams_key), "letta": ("letta_api_key", options.letta_key)}
    changes |= {field: key for name, (field, key) in keys.items() if name in missing}
    return Settings.load(**{**settings.model_dump(exclude_none=True), **changes}, _env_file=None), platform


_URLS = {Service.AMS: "ams_base_url", Service.LETTA: "letta_base_url", Service.LITELLM: "litellm_base_url"}
_TRANSLATIONS = {client.service: client.translate for client in (Ams, Letta, LiteLLM, Supabase)}


def _client(
    settings: Settings, service: Service, url: str, telemetry: Telemetry, tls: ssl.SSLContext | None
) -> Upstream:
    keys = {Service.AMS: settings.supabase_service_key, Service.LETTA: settings.letta_api_key}
    key = _secret(keys.get(service))
    limits = UpstreamLimits(
        max_model_calls=settings.max_concurrent_streams,
        connect=settings.connect_timeout_seconds,
        breaker_failures=settings.breaker_failures,
        breaker_calls=settings.breaker_calls,
        breaker_reset=settings.breaker_reset_seconds,
        slow=settings.breaker_slow_seconds or math.inf,
        retry_share=settings.upstream_retry_percent / 100,
        max_bytes=settings.max_upstream_bytes,
    )
    upstream = Upstream(
        service,
        url,
        translate=_TRANSLATIONS[service],
        headers={"authorization": f"Bearer {key}"} if key else {},
        limits=limits,
        observer=telemetry,
        transport=AiohttpTransport(tls=tls),
    )
    telemetry.watch_breakers(service, upstream.breakers)
    return upstream


def _checks(
    clients: list[Ams | Letta | LiteLLM | Supabase], embedded: set[str], state: SharedState
) -> list[HealthCheck]:
    checks = []
    for client in clients:

        async def ping(scope: CallScope, client: Ams | Letta | LiteLLM | Supabase = client) -> None:
            deadline = min(scope.deadline, time.monotonic() + HEALTH_SECONDS)
            await client.ping(replace(scope, deadline=deadline))

        upstream = client.upstream
        checks.append(
            HealthCheck(
                service=upstream.service,
                ping=ping,
                breakers=upstream.breakers,
                embedded=upstream.service.value in embedded,
                note=client.note,
            )
        )
    if state.connection is not None:
        checks.append(redis_check(state.connection))
    return checks


def _shared_answers(settings: Settings, state: SharedState) -> SharedAnswers | None:
    if state.connection is None:
        return None
    return SharedAnswers(
        SharedKeys(state.connection, retention=settings.stream_retention_seconds, settle=SETTLE_SECONDS)
    )


async def _state(
    settings: Settings,
    telemetry: Telemetry,
    clients: Mapping[Service, Upstream],
    embedded: set[str],
    stack: AsyncExitStack,
) -> SharedState:
    """Open the shared state, and share the breakers of services that are not embedded."""
    if settings.redis_url is None:
        return memory_state()
    observer = StateMetrics(telemetry.registry, telemetry.log)
    state = await redis_state(settings.redis_url, _secret(settings.redis_password), observer, stack)
    if state.connection is not None:
        breakers = {name: client.breakers for name, client in clients.items() if name.value not in embedded}
        news = RedisBreakerNews(state.connection, state.news, breakers)
        stack.push_async_callback(news.aclose)
        await news.open()
    return state


def _probe(
    settings: Settings, resources: Resources, checks: list[HealthCheck], telemetry: Telemetry, stack: AsyncExitStack
) -> None:
    pings = {check.service: check.ping for check in checks}
    task = asyncio.create_task(report(probes_of(settings, resources, pings), telemetry))

    async def stop() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(stop)


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        request=settings.request_timeout,
        llm_total=settings.llm_timeout_seconds,
        first_token=settings.stream_first_token_seconds,
        idle=settings.stream_idle_seconds,
    )


def _engine_limits(settings: Settings) -> EngineLimits:
    return EngineLimits(
        max_tokens=settings.max_query_tokens,
        max_depth=settings.max_query_depth,
        max_cost=settings.max_query_cost,
        max_answer_bytes=settings.max_answer_bytes,
    )


def _streams(settings: Settings, telemetry: Telemetry) -> StreamHub:
    streams = StreamHub(_stream_limits(settings), telemetry)
    telemetry.watch_streams(lambda: streams.memory)
    return streams


def _stream_limits(settings: Settings) -> StreamLimits:
    return StreamLimits(
        grace=settings.stream_grace_seconds,
        retention=settings.stream_retention_seconds,
        heartbeat=settings.stream_heartbeat_seconds,
        coalesce=settings.stream_coalesce_milliseconds / 1000,
        poll_interval=settings.stream_look_seconds,
        memory=settings.stream_memory_bytes,
        max_streams_per_user=settings.max_streams_per_user,
        max_readers_per_user=READERS_PER_STREAM * settings.max_streams_per_user,
    )


async def _share(sessions: Sessions, state: SharedState, stack: AsyncExitStack) -> None:
    """Share revoked sessions with other replicas. Wait until they have been read, or Redis fails."""
    if state.connection is None:
        return
    revocations = RedisRevocations(state.connection, state.news, sessions, MAX_REVOKED)
    stack.push_async_callback(revocations.aclose)
    sessions.share(revocations)
    await revocations.open()


def _rate_limits(settings: Settings, telemetry: Telemetry, state: SharedState) -> RateLimits:
    limits = {
        LimitKind.GENERAL: settings.rate_limit_general,
        LimitKind.LLM: settings.rate_limit_llm,
        LimitKind.PROXY: settings.rate_limit_proxy,
        LimitKind.TOKENS: settings.llm_tokens_per_minute,
    }
    limiter = MemoryLimiter() if state.connection is None else RedisLimiter(state.connection)
    return RateLimits(limiter, limits, telemetry)


async def _authenticator(
    settings: Settings,
    supabase: Supabase,
    sessions: Sessions,
    telemetry: Telemetry,
    state: SharedState,
    stack: AsyncExitStack,
) -> Authenticator:
    await _share(sessions, state, stack)

    async def fetch() -> Mapping[str, VerifyingKey]:
        scope = CallScope(request_id="jwks", deadline=time.monotonic() + JWKS_SECONDS)
        return public_keys(await supabase.keys(scope))

    keys = IssuerKeys(fetch)
    keys.on_removed(sessions.end_keys)
    stack.push_async_callback(keys.aclose)
    keys.refresh()
    issuer = devtokens.ISSUER if settings.development_tokens else settings.issuer
    attempts = SignInAttempts(settings.sign_in_failures_per_minute, telemetry)
    return Authenticator(
        issuer=issuer,
        secret=_secret(settings.supabase_jwt_secret),
        keys=keys,
        sessions=sessions,
        attempts=attempts,
    )


async def _embedded_issuer(stack: AsyncExitStack) -> EmbeddedSupabase:
    """Start the embedded Supabase, which signs development tokens."""
    embedded = EmbeddedSupabase(issuer=devtokens.ISSUER, password=devtokens.password(), key=devtokens.signing_key())
    await embedded.start()
    stack.push_async_callback(embedded.stop)
    return embedded


def _secret(value: Any) -> str | None:
    return None if value is None else str(value.get_secret_value())
