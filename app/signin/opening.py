"""Opens sign-in: the issuer's keys and revoked sessions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from app import devtokens
from app.setting_kinds import revealed
from app.settings import Settings
from app.signin.attempts import SignInAttempts
from app.signin.authenticator import Authenticator
from app.signin.issuer import IssuerKeys
from app.signin.keys import VerifyingKey, public_keys
from app.telemetry import Telemetry
from clients.calls import CallScope
from clients.state.revocations import RedisRevocations
from clients.state.shared import SharedState
from clients.supabase import Supabase
from resolvers.sessions import MAX_REVOKED, Sessions

JWKS_SECONDS = 3.0
"""The timeout for fetching Supabase's public keys, in seconds."""


async def open_authenticator(
    settings: Settings,
    supabase: Supabase,
    sessions: Sessions,
    telemetry: Telemetry,
    state: SharedState,
    stack: AsyncExitStack,
) -> Authenticator:
    """Start to fetch the issuer's keys, share revoked sessions, and return the authenticator."""
    await _share(sessions, state, stack)

    async def fetch() -> Mapping[str, VerifyingKey]:
        scope = CallScope(request_id="jwks", deadline=time.monotonic() + JWKS_SECONDS)
        return public_keys(await supabase.keys(scope))

    keys = IssuerKeys(fetch)
    keys.on_removed(sessions.end_keys)
    stack.push_async_callback(keys.aclose)
    keys.refresh()
    issuer = devtokens.ISSUER if settings.development_tokens else settings.issuer
    attempts = SignInAttempts(settings.sign_in_failures_per_minute, telemetry)
    return Authenticator(
        issuer=issuer,
        secret=revealed(settings.supabase_jwt_secret),
        keys=keys,
        sessions=sessions,
        attempts=attempts,
    )


async def _share(sessions: Sessions, state: SharedState, stack: AsyncExitStack) -> None:
    """Share revoked sessions with other replicas. Wait until they have been read, or Redis fails."""
    if state.connection is None:
        return
    revocations = RedisRevocations(state.connection, state.news, sessions, MAX_REVOKED)
    stack.push_async_callback(revocations.aclose)
    sessions.share(revocations)
    await revocations.open()
