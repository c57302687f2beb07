"""The settings of users' proxies: the secrets they accept, and the target that the embedded AMS gives to Letta."""

from __future__ import annotations

from app import devtokens
from app.embedded.ams.proxied import ProxyTarget
from app.rest.secrets import ProxySecrets
from app.settings import Settings


def proxy_secrets(settings: Settings) -> ProxySecrets:
    """Return the secrets that the proxies accept. Raises DataFolderError."""
    return ProxySecrets(master_key=devtokens.master_key(settings), letta_key=letta_key(settings))


def letta_key(settings: Settings) -> str | None:
    """Return the key that Letta sends if it cannot send an agent's secret."""
    return None if settings.letta_proxy_key is None else settings.letta_proxy_key.get_secret_value()


def proxy_target(settings: Settings) -> ProxyTarget | None:
    """Return where Letta sends agents' model calls; ``None`` if no public URL is set. Raises DataFolderError."""
    if settings.public_url is None or (key := devtokens.master_key(settings)) is None:
        return None
    return ProxyTarget(url=settings.public_url, master_key=key, takes_lettas_key=settings.letta_proxy_key is not None)
