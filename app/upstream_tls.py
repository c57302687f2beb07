"""The certificate authorities that the gateway trusts in its calls to services."""

from __future__ import annotations

import ssl


def trusting(bundle: str | None) -> ssl.SSLContext | None:
    """Return a TLS context that trusts the system's authorities, and the authorities in the PEM file ``bundle``.

    Return ``None`` if there is no bundle: the HTTP client's own context, which it makes only once, trusts the system's.
    Both contexts verify certificates and host names.
    """
    if bundle is None:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=bundle)
    return context


def ca_bundle(value: str | None) -> str | None:
    """Validate ``UPSTREAM_CA_BUNDLE``. Raises ValueError, so that no wrong file makes every call fail."""
    if value is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise ValueError(
            f"the file {value} has no readable certificate. Write certificates in PEM form to it"
        ) from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "the path is invalid"
        raise ValueError(f"the file {value} cannot be read: {cause}") from None
    return value
