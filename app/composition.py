"""Creates and connects the gateway's parts at startup, and closes them in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from app.caching import open_cache
from app.drain import Drain
from app.gateway import Gateway
from app.graphql.engine import Engine, EngineLimits
from app.platform import Platform, issuer_of, open_platform, with_platform
from app.probes import probes_of, report
from app.setting_kinds import OnOff, revealed
from app.settings import Settings
from app.shared_streams import share_streams
from app.signin.opening import open_authenticator
from app.slots import Slots
from app.state_metrics import StateMetrics
from app.telemetry import Telemetry
from app.upstream_tls import trusting
from app.upstreams import health_checks, open_upstream
from app.version import VERSION
from clients.ams import Ams
from clients.errors import Service
from clients.health import HealthCheck
from clients.letta.client import Letta
from clients.limiter import MemoryLimiter
from clients.litellm import LiteLLM
from clients.state.breaker_news import RedisBreakerNews
from clients.state.keys import SharedKeys
from clients.state.limits import RedisLimiter
from clients.state.shared import SharedState, memory_state, redis_state
from clients.supabase import Supabase
from clients.upstream import Upstream
from resolvers.idempotency import IdempotencyKeys
from resolvers.limits import LimitKind, RateLimits
from resolvers.outcome_unknown import SETTLE_SECONDS
from resolvers.platform import Health
from resolvers.resources import Resources
from resolvers.shared_answers import SharedAnswers
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import READERS_PER_STREAM, StreamLimits
from resolvers.streams.timeouts import Timeouts
from schema.build import build_schema

if TYPE_CHECKING:
    from app.embedded.store import Store


async def open_gateway(
    settings: Settings,
    telemetry: Telemetry,
    drain: Drain,
    slots: Slots,
    stack: AsyncExitStack,
    store: Store | None = None,
    *,
    shared: Platform | None = None,
    check_services: bool = False,
) -> Gateway:
    """Open the gateway. If ``check_services`` is true, check the configured services in the background.

    ``shared`` is the embedded platform of the supervisor; ``None`` if this process starts its own.
    """
    configured = settings
    platform = shared or await open_platform(settings, stack, store)
    settings = with_platform(settings, platform)
    issuer_url, issuer = await issuer_of(settings, shared, stack)
    clients = _upstreams(settings, issuer_url, telemetry, stack)
    supabase = Supabase(clients[Service.SUPABASE])
    streams = _streams(settings, telemetry)
    embedded = {*configured.embedded_services, *(["supabase"] if settings.development_tokens else [])}
    state = await _state(settings, telemetry, clients, embedded, stack)
    keys = IdempotencyKeys(settings.stream_retention_seconds, shared=_shared_answers(settings, state))
    stack.push_async_callback(keys.aclose)
    drain.background(keys.settled)
    ams, letta, litellm = Ams(clients[Service.AMS]), Letta(clients[Service.LETTA]), LiteLLM(clients[Service.LITELLM])
    checks = health_checks([ams, letta, litellm, supabase], embedded, state)
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
        platform_key=revealed(settings.litellm_api_key),
        max_calls=settings.max_upstream_calls,
        cache=open_cache(settings, telemetry, state, stack),
    )
    share_streams(resources, state, settings, stack)
    if check_services:
        _probe(configured, resources, checks, telemetry, stack)
    return Gateway(
        engine=_engine(settings, telemetry),
        authenticator=await open_authenticator(settings, supabase, resources.sessions, telemetry, state, stack),
        resources=resources,
        telemetry=telemetry,
        drain=drain,
        slots=slots,
        open_introspection=not settings.is_production,
        open_metrics=not settings.is_production,
        max_body_bytes=settings.max_body_bytes,
        metrics_token=revealed(settings.metrics_token),
        fault_page=platform.page_url,
        issuer=issuer,
    )


def _upstreams(
    settings: Settings, issuer_url: str, telemetry: Telemetry, stack: AsyncExitStack
) -> dict[Service, Upstream]:
    urls = {service: getattr(settings, name) for service, name in _URLS.items()}
    urls[Service.SUPABASE] = settings.supabase_url or issuer_url
    tls = trusting(settings.upstream_ca_bundle)
    clients = {service: open_upstream(settings, service, url, telemetry, tls) for service, url in urls.items()}
    for upstream in clients.values():
        stack.push_async_callback(upstream.aclose)
    return clients


_URLS = {Service.AMS: "ams_base_url", Service.LETTA: "letta_base_url", Service.LITELLM: "litellm_base_url"}


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
    state = await redis_state(settings.redis_url, revealed(settings.redis_password), observer, stack)
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


def _engine(settings: Settings, telemetry: Telemetry) -> Engine:
    limits = EngineLimits(
        max_tokens=settings.max_query_tokens,
        max_depth=settings.max_query_depth,
        max_cost=settings.max_query_cost,
        max_answer_bytes=settings.max_answer_bytes,
    )
    compiled = settings.compiled_execution is OnOff.ON
    return Engine(build_schema(), telemetry, limits, compiled=compiled)


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


def _rate_limits(settings: Settings, telemetry: Telemetry, state: SharedState) -> RateLimits:
    limits = {
        LimitKind.GENERAL: settings.rate_limit_general,
        LimitKind.LLM: settings.rate_limit_llm,
        LimitKind.PROXY: settings.rate_limit_proxy,
        LimitKind.TOKENS: settings.llm_tokens_per_minute,
    }
    limiter = MemoryLimiter() if state.connection is None else RedisLimiter(state.connection)
    return RateLimits(limiter, limits, telemetry)
