"""The revocation of sign-in sessions."""

from __future__ import annotations

from resolvers import checks
from resolvers.context import RequestContext


async def revoke(context: RequestContext, session_id: str) -> str:
    """Revoke a sign-in session at each replica, and return the session's id.

    If Redis fails, the other replicas apply the revocation when Redis answers again.

    Raises:
        BadUserInput: the text is not the id of a session (``TEXT``).
    """
    checked = checks.session_id(session_id)
    await context.resources.sessions.revoke(checked)
    return checked
