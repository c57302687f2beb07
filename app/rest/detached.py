"""The error with which a ``/v1`` stream ends for a reader that the gateway has detached."""

from __future__ import annotations

from app.drain import stream_cut
from app.gateway import Gateway
from clients.errors import GatewayError
from resolvers.principal import Principal
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave


def detached_error(gateway: Gateway, principal: Principal, leave: Leave) -> GatewayError:
    """Return the error for a user who was signed out, or otherwise the error for a gateway that stops."""
    if leave.reason is DetachReason.SIGNED_OUT:
        return gateway.authenticator.refusal(principal)
    return stream_cut()
