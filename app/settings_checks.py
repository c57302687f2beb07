"""Checks settings that depend on each other. No error message contains a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import SecretStr

from app import origins

if TYPE_CHECKING:
    from app.settings import Settings

MIN_SECRET_BYTES = 32

_MASTER_KEY = "AGENT_SECRET_MASTER_KEY"
_SECRETS = ("supabase_jwt_secret", "agent_secret_master_key", "agent_secret_master_key_previous", "letta_proxy_key")


def contradictions(settings: Settings) -> Iterator[str]:
    """Yield a line for each setting that other settings require or forbid, and for each short secret."""
    if settings.is_production:
        yield from _production(settings)
    yield from _short_secrets(settings)
    yield from _master_keys(settings)
    yield from _operations(settings)
    yield from _supabase(settings)
    yield from _workers(settings)
    yield from _missing_keys(settings)


def _production(settings: Settings) -> Iterator[str]:
    for name in ("ams_base_url", "letta_base_url", "litellm_base_url", "supabase_url"):
        if getattr(settings, name) is None:
            yield f"{name.upper()}: required if ENVIRONMENT is production"
    for one in sorted(origins.ANY.intersection(settings.cors_origins)):
        yield f"ALLOWED_ORIGINS: {one} is not allowed in production"


def _short_secrets(settings: Settings) -> Iterator[str]:
    for name in _SECRETS:
        value: SecretStr | None = getattr(settings, name)
        if value is not None and len(value.get_secret_value().encode()) < MIN_SECRET_BYTES:
            yield f"{name.upper()}: must have at least {MIN_SECRET_BYTES} bytes"


def _master_keys(settings: Settings) -> Iterator[str]:
    key, previous = settings.agent_secret_master_key, settings.agent_secret_master_key_previous
    if previous is not None and key is None:
        yield f"{_MASTER_KEY}: required, because {_MASTER_KEY}_PREVIOUS is set"
    elif previous is not None and previous == key:
        yield f"{_MASTER_KEY}_PREVIOUS: must differ from {_MASTER_KEY}. Set {_MASTER_KEY} to a new key"


def _operations(settings: Settings) -> Iterator[str]:
    host = settings.operations_host or settings.bind_host
    if settings.operations_port == settings.port != 0 and host == settings.bind_host:
        yield "OPERATIONS_PORT: must differ from PORT"
    if settings.operations_host is not None and settings.operations_port is None:
        yield "OPERATIONS_PORT: required, because OPERATIONS_HOST is set"


def _supabase(settings: Settings) -> Iterator[str]:
    if settings.supabase_url is None and not settings.is_production:
        for name in ("supabase_jwt_secret", "supabase_jwt_issuer"):
            if getattr(settings, name):
                yield f"SUPABASE_URL: required, because {name.upper()} is set"


def _workers(settings: Settings) -> Iterator[str]:
    if settings.workers > 1 and settings.redis_url is None:
        yield (
            "REDIS_URL: required, because WORKERS is more than 1: the workers share streams, limits and idempotency "
            "keys in Redis. Set REDIS_URL, or WORKERS=1"
        )


def _missing_keys(settings: Settings) -> Iterator[str]:
    if settings.ams_base_url is not None and settings.supabase_service_key is None:
        yield "SUPABASE_SERVICE_KEY: required, because AMS_BASE_URL is set"
    if settings.letta_base_url is not None and settings.letta_api_key is None:
        yield "LETTA_API_KEY: required, because LETTA_BASE_URL is set"
    if settings.litellm_base_url is not None and settings.ams_base_url is None and settings.litellm_api_key is None:
        yield "LITELLM_API_KEY: required, because LITELLM_BASE_URL is set and the embedded AMS has no user keys"
