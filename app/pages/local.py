"""Who is handed a development token by a page: a browser of this machine that opened the page itself, and nobody else.

Four ways round are closed. A name of somebody's own that resolves to this machine (DNS rebinding) does not pass as
``Host``. Another machine does not pass as client. A proxy says that it is one. And a script of another local page,
which CORS lets read our answers, sends ``Origin`` or a ``Sec-Fetch-Dest`` that is no document (Fetch Metadata).
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

from app.asgi import header
from app.devtokens import dev_secret, make_token
from app.embedded.people import PEOPLE
from app.settings import Settings

_LOOPBACK_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_PROXIED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})


def local_token(scope: Scope, settings: Settings) -> str | None:
    """A development token for Ada, where such tokens sign in and the request comes from a browser of this machine."""
    if not settings.development_tokens or not is_local(scope):
        return None
    user_id, email, _ = PEOPLE["ada"]
    return make_token(dev_secret(), user_id=user_id, email=email)


def is_local(scope: Scope) -> bool:
    """Whether a person at this machine opened the address, as far as a request can tell."""
    if header(scope, b"origin") is not None or header(scope, b"sec-fetch-dest") not in {None, "document"}:
        return False
    return is_from_this_machine(scope)


def is_from_this_machine(scope: Scope) -> bool:
    """Whether a request came from this machine, without a proxy, and by this machine's own name."""
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
