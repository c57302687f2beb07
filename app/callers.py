"""The sender of a request: a user, Letta for a user's agents, or a client address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from starlette.types import Scope

from app.asgi import header
from app.gateway import Gateway
from app.rest.secrets import ProxySecrets
from app.rest.table import is_rest, proxied_user
from clients.errors import GatewayError
from clients.origin import Origin, Owner
from resolvers.principal import Principal

_MAX_ADDRESS_CHARS = 64
_SUBNET_BITS = 64
"""The prefix of an IPv6 subscriber's network: its addresses share one limit."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    Attributes:
        owner: the owner of the slots that the request takes.
        principal: the user, if the request is signed in.
        refusal: the error of a request whose token or secret is wrong or missing.
    """

    owner: Owner
    principal: Principal | None = None
    refusal: GatewayError | None = None

    def signed_in(self) -> Principal | None:
        """Return the user; ``None`` only for a request without a token, if introspection is open.

        Raises:
            GatewayError: the request must be signed in and is not.
        """
        if self.refusal is not None:
            raise self.refusal
        return self.principal


def identified(gateway: Gateway, secrets: ProxySecrets, scope: Scope) -> Caller:
    """Identify the sender by token or secret if the path requires one, else by the client's address."""
    path = scope["path"]
    proxied = proxied_user(path) if path.startswith("/api/") else None
    refusal = None
    if proxied is not None or path == "/graphql" or is_rest(path):
        try:
            principal = _principal(gateway, secrets, header(scope, b"authorization"), proxied, path)
        except GatewayError as error:
            refusal = error
        else:
            if principal is not None:
                origin = Origin.USER if proxied is None else Origin.LETTA
                return Caller(Owner(principal.user_id, origin), principal)
    return Caller(Owner(address_of(scope), Origin.ANONYMOUS), refusal=refusal)


def caller_of(scope: Scope) -> Caller:
    """Return the sender that ``identified`` returned for the request."""
    caller: Caller = scope["state"]["caller"]
    return caller


def address_of(scope: Scope) -> str:
    """Return the client's address as trusted proxies report it; for IPv6, the prefix of the subscriber's network."""
    client = scope.get("client")
    address = str(client[0])[:_MAX_ADDRESS_CHARS] if client else ""
    if ":" not in address:
        return address
    try:
        number = int(ipaddress.IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    return f"{number >> _SUBNET_BITS:x}"


def _principal(
    gateway: Gateway, secrets: ProxySecrets, authorization: str | None, proxied: str | None, path: str
) -> Principal | None:
    if proxied is not None:
        return secrets.principal(authorization, proxied)
    return gateway.principal(authorization) if path == "/graphql" else gateway.authenticator.principal(authorization)
