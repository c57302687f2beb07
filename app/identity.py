"""Identifies the sender of a request: a user, Letta on behalf of a user's agent, or a client's address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from app.asgi import header
from app.audit import Sender
from app.gateway import Gateway
from app.rest.secrets import ProxySecrets
from app.rest.table import endpoint_of, is_rest, proxied_user
from clients.errors import GatewayError
from clients.origin import Endpoint, Origin, Owner
from resolvers.principal import Principal

_MAX_ADDRESS_CHARS = 64
_SUBNET_BITS = 64
"""The length of an IPv6 network prefix, in bits. All addresses of one network share a limit."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The sender of a request.

    Attributes:
        owner: the user or address whose limits count the request.
        principal: the user, if the request is authenticated.
        refusal: the error, if the request's token or secret is wrong or missing.
    """

    owner: Owner
    principal: Principal | None = None
    refusal: GatewayError | None = None

    def signed_in(self) -> Principal | None:
        """Return the user, or ``None`` if no token is needed. Raise GatewayError if authentication has failed."""
        if self.refusal is not None:
            raise self.refusal.copy()
        return self.principal


async def identify(gateway: Gateway, secrets: ProxySecrets, scope: Scope) -> Identity:
    """Identify a request's sender by its token or agent secret, or else by the client's address."""
    path, address = scope["path"], address_of(scope)
    proxied = proxied_user(path) if path.startswith("/api/") else None
    refusal = None
    if proxied is not None or path == "/graphql" or is_rest(path):
        try:
            principal = await _principal(gateway, secrets, scope, proxied, address)
        except GatewayError as error:
            refusal = error.copy()
        else:
            if principal is not None:
                origin = Origin.USER if proxied is None else Origin.LETTA
                return Identity(Owner(principal.user_id, origin), principal)
    return Identity(Owner(address, Origin.ANONYMOUS), refusal=refusal)


def identified(gateway: Gateway, scope: Scope) -> Identity | None:
    """Return the sender of a request, or ``None`` if only ``identify`` can tell.

    ``identify`` must verify tokens that are unknown, and must count failed sign-ins.
    """
    path = scope["path"]
    if path == "/graphql" or is_rest(path):
        authorization = header(scope, b"authorization")
        if path.startswith("/api/") or (authorization is None and (is_rest(path) or not gateway.open_introspection)):
            return None
        if authorization is not None:
            principal = gateway.authenticator.known(authorization)
            return None if principal is None else Identity(Owner(principal.user_id, Origin.USER), principal)
    return Identity(Owner(address_of(scope), Origin.ANONYMOUS))


def identity_of(scope: Scope) -> Identity:
    """Return the identity that ``identify`` found for a request."""
    identity: Identity = scope["state"]["identity"]
    return identity


def address_of(scope: Scope) -> str:
    """Return the client's address as trusted proxies report it. An IPv6 address is reduced to its network prefix."""
    client = scope.get("client")
    address = str(client[0])[:_MAX_ADDRESS_CHARS] if client else ""
    return _network(address) if ":" in address else address


@lru_cache(maxsize=1024)  # parsing an address takes longer than reading a verified token from the cache
def _network(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:  # a socket that listens on :: has IPv4 clients too
        return str(parsed.ipv4_mapped)
    return f"{int(parsed) >> _SUBNET_BITS:x}"


def sender_of(scope: Scope) -> Sender:
    """Return the sender of a request for the audit log. The address is not cut to its network prefix."""
    identity: Identity | None = scope["state"].get("identity")
    principal = None if identity is None else identity.principal
    client = scope.get("client")
    return Sender(
        endpoint=Endpoint.WEBSOCKET if scope["type"] == "websocket" else endpoint_of(scope["path"]),
        request_id=scope["state"]["request_id"],
        address=str(client[0]) if client else "",
        network=address_of(scope),
        user=None if principal is None else principal.user_id,
    )


async def _principal(
    gateway: Gateway, secrets: ProxySecrets, scope: Scope, proxied: str | None, address: str
) -> Principal | None:
    authorization = header(scope, b"authorization")
    if proxied is not None:
        return secrets.principal(authorization, proxied)
    principal = gateway.principal if scope["path"] == "/graphql" else gateway.authenticator.principal
    return await principal(authorization, address)
