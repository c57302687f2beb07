"""Decides whether a page may contain a development token.

Only a page for a browser on this machine may contain a token. A request must have a loopback name as ``Host`` (against
DNS rebinding), a loopback address as client, and no header that proxies add. CORS lets other local pages read
responses. Therefore, a request must have no ``Origin``, and no ``Sec-Fetch-Dest`` except ``document``.
"""

import re
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

from app.asgi import header
from app.devtokens import make_token, signing_key
from app.embedded.people import PEOPLE
from app.settings import Settings

_LOOPBACK_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_PROXIED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})


def local_token(scope: Scope, settings: Settings) -> str | None:
    """Return a development token for a local request, or ``None`` for any other request.

    The token belongs to the user Ada. The gateway must accept development tokens.
    """
    if not settings.development_tokens or not is_local(scope):
        return None
    user_id, email, _ = PEOPLE["ada"]
    return make_token(signing_key(), user_id=user_id, email=email)


def is_local(scope: Scope) -> bool:
    """Return whether a request comes from this machine, but not from a web page's script."""
    if header(scope, b"origin") is not None or header(scope, b"sec-fetch-dest") not in {None, "document"}:
        return False
    return is_from_this_machine(scope)


def is_from_this_machine(scope: Scope) -> bool:
    """Return whether a request comes from this machine without a proxy.

    The header ``Host`` must have a loopback name.
    """
    names = [name for name, _ in scope["headers"]]
    if _PROXIED.intersection(names) or names.count(b"host") != 1:
        return False
    return _LOOPBACK_NAME.fullmatch(header(scope, b"host") or "") is not None and _is_loopback(scope.get("client"))


def _is_loopback(client: tuple[str, int] | None) -> bool:
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
