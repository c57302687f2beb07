"""Opens the clients of the services, and makes their health checks."""

from __future__ import annotations

import math
import ssl
import time

from msgspec.structs import replace

from app.setting_kinds import revealed
from app.settings import Settings
from app.telemetry import Telemetry
from clients.ams import Ams
from clients.calls import CallScope, UpstreamLimits
from clients.errors import Service
from clients.health import HealthCheck
from clients.http.transport import HttpTransport
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from clients.state.shared import SharedState, redis_check
from clients.supabase import Supabase
from clients.upstream import Upstream

HEALTH_SECONDS = 3.0
"""The timeout of a health check, in seconds."""

_TRANSLATIONS = {client.service: client.translate for client in (Ams, Letta, LiteLLM, Supabase)}


def open_upstream(
    settings: Settings, service: Service, url: str, telemetry: Telemetry, tls: ssl.SSLContext | None
) -> Upstream:
    """Return the calls to one service. ``tls`` replaces the default TLS context."""
    keys = {Service.AMS: settings.supabase_service_key, Service.LETTA: settings.letta_api_key}
    key = revealed(keys.get(service))
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
        transport=HttpTransport(tls=tls),
    )
    telemetry.watch_breakers(service, upstream.breakers)
    return upstream


def health_checks(
    clients: list[Ams | Letta | LiteLLM | Supabase], embedded: set[str], state: SharedState
) -> list[HealthCheck]:
    """Return the health checks of the services, and of Redis if the state is shared."""
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
