"""The revocation of sign-in sessions."""

from __future__ import annotations

from clients.codes import Reason
from clients.errors import Forbidden
from resolvers import checks
from resolvers.context import RequestContext
from resolvers.principal import Role


def revoke(context: RequestContext, session_id: str) -> str:
    """Revoke a sign-in session, and return the session's id.

    Raises:
        Forbidden: the user is not an admin.
        BadUserInput: the text is not the id of a session (``TEXT``).
    """
    if context.principal.role is not Role.ADMIN:
        raise Forbidden("Only admins can revoke sessions.", reason=Reason.ROLE)
    checked = checks.session_id(session_id)
    context.resources.sessions.revoke(checked)
    return checked
