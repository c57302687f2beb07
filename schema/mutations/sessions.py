"""Mutations of sign-in sessions."""

from __future__ import annotations

import strawberry

from resolvers import revocation
from resolvers.info import Info
from schema.access import ADMIN
from schema.base import described
from schema.outcomes import Payload, PayloadRecord, done_by, payload


@strawberry.input(description="The sign-in session to revoke.")
class RevokeSessionInput:
    session_id: str = described("The `session_id` claim of the session's access tokens.")


class _Payload(PayloadRecord, kw_only=True):
    session_id: str | None = None


@payload(_Payload)
class RevokeSessionPayload(Payload):
    session_id: str | None = described("The `session_id` claim of the revoked session.")


async def _revoke_session(info: Info, input: RevokeSessionInput) -> _Payload:
    return _Payload(session_id=await revocation.revoke(info.context, input.session_id))


@strawberry.type
class SessionMutations:
    revoke_session: RevokeSessionPayload = done_by(
        _Payload,
        _revoke_session,
        "Revokes a sign-in session: its access tokens are refused, its WebSockets are closed, and its subscriptions "
        "end. A repeated call has no further effect. Requires the role `ADMIN`.",
        access=ADMIN,
        calls=1,
    )
