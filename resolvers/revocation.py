"""The revocation of sign-in sessions."""

from __future__ import annotations

from resolvers import checks
from resolvers.context import RequestContext


def revoke(context: RequestContext, session_id: str) -> str:
    """Revoke a sign-in session, and return the session's id.

    Raises:
        BadUserInput: the text is not the id of a session (``TEXT``).
    """
    checked = checks.session_id(session_id)
    context.resources.sessions.revoke(checked)
    return checked
