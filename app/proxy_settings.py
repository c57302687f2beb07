"""Settings of the proxy that relays Letta's model calls to LiteLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import devtokens
from app.rest.secrets import ProxySecrets
from app.settings import Settings

if TYPE_CHECKING:
    from app.embedded.ams.proxied import ProxyTarget


def proxy_secrets(settings: Settings) -> ProxySecrets:
    """Return the secrets that the proxy accepts from Letta. Raise DataFolderError if a new key cannot be stored."""
    previous = settings.agent_secret_master_key_previous
    keys = (devtokens.master_key(settings), None if previous is None else previous.get_secret_value())
    return ProxySecrets(master_keys=[key for key in keys if key is not None], letta_key=letta_key(settings))


def letta_key(settings: Settings) -> str | None:
    """Return the setting ``LETTA_PROXY_KEY``. Letta sends this key if Letta has no agent secret for a model call."""
    return None if settings.letta_proxy_key is None else settings.letta_proxy_key.get_secret_value()


def proxy_target(settings: Settings) -> ProxyTarget | None:
    """Return the URL and keys for Letta's model calls to the gateway.

    Return ``None`` if a required setting is missing.
    """
    if settings.public_url is None or (key := devtokens.master_key(settings)) is None:
        return None
    from app.embedded.ams.proxied import ProxyTarget  # noqa: PLC0415 - only for an embedded service

    return ProxyTarget(url=settings.public_url, master_key=key, takes_lettas_key=settings.letta_proxy_key is not None)
