"""Reads the public keys that verify the access tokens from Supabase Auth."""

from __future__ import annotations

import msgspec

from clients.calls import AnswerSize, Call, CallScope, UpstreamRejected
from clients.codes import Reason
from clients.errors import Service, UpstreamError
from clients.service import ServiceClient

JWKS_PATH = "/auth/v1/.well-known/jwks.json"
"""The path of the JWK Set (Supabase contract)."""


class _WireKeys(msgspec.Struct):
    keys: list[object]


_KEYS = msgspec.json.Decoder(_WireKeys)


class Supabase(ServiceClient):
    """A client of Supabase Auth for one Supabase project."""

    service = Service.SUPABASE

    @staticmethod
    def translate(rejected: UpstreamRejected) -> Exception:
        """Return the error for a refusal. The JWK Set is public, so a refusal means that SUPABASE_URL is wrong."""
        message = f"Supabase answered with status {rejected.status} instead of the JWKS. Check SUPABASE_URL."
        return UpstreamError(message, reason=Reason.STATUS, service=Service.SUPABASE, can_retry=False)

    async def keys(self, scope: CallScope) -> list[object]:
        """Read the JWK Set (RFC 7517, 5). Raises UpstreamFailure."""
        return (await self.read(scope, _KEYS, Call("jwks", JWKS_PATH, size=AnswerSize.RECORD))).keys

    async def ping(self, scope: CallScope) -> None:
        """Check that the JWK Set is available. Raises GatewayError."""
        await self.upstream.ping(scope, JWKS_PATH)
