"""The embedded platform of a gateway, in the gateway's process or in the supervisor of its workers."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import devtokens
from app.proxy_settings import letta_key, proxy_target
from app.setting_kinds import revealed
from app.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from app.embedded.store import Store
    from app.embedded.supabase.service import EmbeddedSupabase


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The addresses and keys of running embedded services.

    Attributes:
        urls: the base URLs of AMS, Letta and LiteLLM, by name. A service that is not embedded is absent.
        page_url: the local URL of the page for injecting faults; ``None`` if no service is embedded.
        issuer_url: the URL of the embedded Supabase; ``None`` if development tokens are not accepted.
    """

    urls: dict[str, str]
    ams_key: str = ""
    letta_key: str = ""
    page_url: str | None = None
    issuer_url: str | None = None


async def open_platform(settings: Settings, stack: AsyncExitStack, store: Store | None = None) -> Platform:
    """Start an embedded service for each service without a URL. Closing ``stack`` stops the services."""
    missing = settings.embedded_services
    if not missing:
        return Platform(urls={})
    from app.embedded.server import EmbeddedOptions, EmbeddedPlatform  # noqa: PLC0415 - production embeds nothing

    options = EmbeddedOptions(
        services=missing,
        letta_url=settings.letta_base_url,
        letta_api_key=revealed(settings.letta_api_key),
        litellm_is_real="litellm" not in missing,
        gateway=proxy_target(settings),
        letta_own_key=letta_key(settings),
    )
    embedded = EmbeddedPlatform(options, store)
    await embedded.start()
    stack.push_async_callback(embedded.stop)
    keys = embedded.options
    return Platform(
        urls=dict(embedded.urls), ams_key=keys.ams_key, letta_key=keys.letta_key, page_url=embedded.page_url
    )


async def open_issuer(stack: AsyncExitStack) -> EmbeddedSupabase:
    """Start the embedded Supabase, which signs development tokens."""
    from app.embedded.supabase.service import EmbeddedSupabase  # noqa: PLC0415 - only for development tokens

    embedded = EmbeddedSupabase(issuer=devtokens.ISSUER, password=devtokens.password(), key=devtokens.signing_key())
    await embedded.start()
    stack.push_async_callback(embedded.stop)
    return embedded


async def issuer_of(settings: Settings, shared: Platform | None, stack: AsyncExitStack) -> tuple[str, ASGIApp | None]:
    """Return the URL and the application of the embedded Supabase: none, the supervisor's, or a new one."""
    if not settings.development_tokens:
        return "", None
    if shared is not None and shared.issuer_url is not None:
        from app.embedded.supabase.relay import Relay  # noqa: PLC0415 - only for development tokens

        relay = Relay(shared.issuer_url)
        stack.push_async_callback(relay.aclose)
        return shared.issuer_url, relay
    embedded = await open_issuer(stack)
    return embedded.url, embedded.app()


def with_platform(settings: Settings, platform: Platform) -> Settings:
    """Return settings that contain the URLs and keys of the embedded services."""
    if not platform.urls:
        return settings
    changes: dict[str, Any] = {f"{name}_base_url": url for name, url in platform.urls.items()}
    keys = {"ams": ("supabase_service_key", platform.ams_key), "letta": ("letta_api_key", platform.letta_key)}
    changes |= {field: key for name, (field, key) in keys.items() if name in platform.urls}
    return Settings.load(**{**settings.model_dump(exclude_none=True), **changes}, _env_file=None)
