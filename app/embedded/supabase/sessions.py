"""Sessions of the embedded Supabase Auth. Each refresh token can be used once, and is then replaced."""

from __future__ import annotations

import hmac
import secrets
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from app.embedded.people import PEOPLE
from app.embedded.state import Json, now
from app.embedded.supabase.signing import LIFETIME_SECONDS, SigningKey, claims_of

MAX_SESSIONS = 1000
"""Maximum number of sessions. A new session evicts the oldest one."""


@dataclass
class Session:
    """A sign-in session of one user. ``refresh`` is the session's current refresh token."""

    id: str
    user_id: str
    email: str
    anonymous: bool = False
    refresh: str = field(default_factory=lambda: secrets.token_urlsafe(9))


class Sessions:
    """The sessions of all users, in memory.

    Attributes:
        issuer: the ``iss`` of the access tokens.
        keys: the keys that the issuer publishes. The first one signs.
        lifetime_seconds: how long an access token is valid.
    """

    def __init__(self, *, issuer: str, password: str, key: SigningKey) -> None:
        self._password = password
        self.issuer = issuer
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.keys = [key]
        self.lifetime_seconds: float = LIFETIME_SECONDS

    def sign_in(self, email: str, password: str) -> Session | None:
        """Start a session for a user. Return ``None`` if the email address or the password is wrong."""
        user_id = next((one for one, address, _ in PEOPLE.values() if address == email.strip().lower()), None)
        is_right = hmac.compare_digest(password.encode(), self._password.encode())
        return self._started(user_id, email) if user_id is not None and is_right else None

    def sign_in_anonymously(self) -> Session:
        """Start a session for a new anonymous user."""
        return self._started(str(uuid.uuid4()), "", anonymous=True)

    def refresh(self, token: str) -> Session | None:
        """Replace a session's refresh token, and return the session. Return ``None`` for an unknown token."""
        session = next((one for one in self._sessions.values() if one.refresh == token), None)
        if session is not None:
            session.refresh = secrets.token_urlsafe(9)
        return session

    def of_access(self, claims: Json) -> Session | None:
        """Return the session of an access token with the given claims."""
        return self._sessions.get(str(claims.get("session_id")))

    def sign_out(self, session: Session) -> None:
        """End a session. The session's access tokens stay valid until they expire."""
        self._sessions.pop(session.id, None)

    def body(self, session: Session) -> Json:
        """Return a session with a new access token, in the format of Supabase Auth."""
        claims = claims_of(
            issuer=self.issuer,
            user_id=session.user_id,
            email=session.email,
            lifetime_seconds=self.lifetime_seconds,
            anonymous=session.anonymous,
            session_id=session.id,
        )
        return {
            "access_token": self.keys[0].sign(claims),
            "token_type": "bearer",
            "expires_in": self.lifetime_seconds,
            "expires_at": int(time.time() + self.lifetime_seconds),
            "refresh_token": session.refresh,
            "user": self.user(session),
        }

    def user(self, session: Session) -> Json:
        """Return a session's user in the format of Supabase Auth."""
        at = now()
        return {
            "id": session.user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": session.email,
            "phone": "",
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {},
            "identities": [],
            "is_anonymous": session.anonymous,
            "created_at": at,
            "updated_at": at,
        }

    def _started(self, user_id: str, email: str, *, anonymous: bool = False) -> Session:
        session = Session(str(uuid.uuid4()), user_id, email, anonymous)
        self._sessions[session.id] = session
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session
