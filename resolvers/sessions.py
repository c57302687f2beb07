"""Stores which sign-in sessions are revoked, and the connections of the other sessions.

A process stores the revocations of all replicas in memory, so that checking a session takes no round trip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from clients.bounded import Lru
from resolvers.principal import Principal

MAX_REVOKED = 100_000
"""Maximum number of stored revocations."""

REVOCATION_SECONDS = 8 * 86_400.0
"""How long a revocation is stored. A Supabase access token is valid for seven days at most."""


class Revocations(Protocol):
    """Shares revocations with the other replicas."""

    async def add(self, revoked: Mapping[str, float]) -> None:
        """Share sessions that this process has revoked, and the seconds for which they are stored."""


class Sessions:
    """Stores revoked sessions, and ends the connections of a session when the session is revoked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._revoked: Lru[str, float] = Lru(MAX_REVOKED)
        self._shared: Revocations | None = None
        self._live: dict[str, set[Watch]] = {}
        self._on_revoked: list[Callable[[Collection[str]], None]] = []

    def share(self, revocations: Revocations) -> None:
        """Share later revocations with other replicas."""
        self._shared = revocations

    @property
    def is_empty(self) -> bool:
        """Whether no revocation is stored."""
        return not len(self._revoked)

    def is_revoked(self, session_id: str) -> bool:
        """Return whether a session is revoked. A token without a session cannot be revoked."""
        if not session_id:
            return False
        expires_at = self._revoked.get(session_id)
        return expires_at is not None and self._clock() < expires_at

    async def revoke(self, session_id: str) -> None:
        """Refuse a session's tokens from now on at each replica, and end the session's connections."""
        revoked = {session_id: REVOCATION_SECONDS}
        self.learn(revoked)
        if self._shared is not None:
            await self._shared.add(revoked)

    def learn(self, revoked: Mapping[str, float]) -> None:
        """Refuse the tokens of sessions that a replica has revoked, and end the sessions' connections.

        Args:
            revoked: for each session, the number of seconds for which the revocation is stored.
        """
        now = self._clock()
        new = [session_id for session_id in revoked if session_id and not self.is_revoked(session_id)]
        for session_id, seconds in revoked.items():
            self._revoked.put(session_id, max(now + seconds, self._revoked.get(session_id) or 0))
        for listener in self._on_revoked if new else ():
            listener(new)
        for session_id in new:
            self._end(_session(session_id))

    def revoked(self) -> dict[str, float]:
        """Return all revoked sessions, and the number of seconds for which each revocation is still stored."""
        now, left = self._clock(), dict[str, float]()
        for session_id, expires_at in self._revoked.items():
            if now < expires_at:
                left[session_id] = expires_at - now
            else:
                self._revoked.remove(session_id)
        return left

    def on_revoked(self, listener: Callable[[Collection[str]], None]) -> None:
        """Call ``listener`` with the ids of sessions that are revoked."""
        self._on_revoked.append(listener)

    def end_keys(self, key_ids: Iterable[str]) -> None:
        """End each connection whose token was verified with one of the given keys.

        The issuer has removed these keys.
        """
        for key_id in key_ids:
            self._end(_key(key_id))

    def watched(self, principal: Principal, end: Callable[[], None]) -> Watch:
        """Return a context manager that calls ``end`` if the user's session is revoked.

        ``end`` is also called if the issuer removes the key that verified the user's token.
        """
        return Watch(self, principal, end)

    def add(self, watch: Watch) -> None:
        """Watch a connection. End the connection at once if its session is revoked."""
        for name in watch.names:
            self._live.setdefault(name, set()).add(watch)
        if self.is_revoked(watch.session_id):
            watch.end()

    def remove(self, watch: Watch) -> None:
        """Stop watching a connection."""
        for name in watch.names:
            if (watches := self._live.get(name)) is not None:
                watches.discard(watch)
                if not watches:
                    del self._live[name]

    def _end(self, name: str) -> None:
        for watch in list(self._live.get(name, ())):
            watch.end()


class Watch:
    """A context manager that watches a connection.

    The class has slots to save memory, because every stream has an instance.
    """

    __slots__ = ("_sessions", "end", "names", "session_id")

    def __init__(self, sessions: Sessions, principal: Principal, end: Callable[[], None]) -> None:
        self._sessions = sessions
        self.session_id = principal.session_id
        self.end = end
        names = [_session(principal.session_id)] if principal.session_id else []
        self.names = (*names, _key(principal.key_id)) if principal.key_id else tuple(names)

    def __enter__(self) -> None:
        self._sessions.add(self)

    def __exit__(self, *_: object) -> None:
        self._sessions.remove(self)


def _session(session_id: str) -> str:
    return f"session {session_id}"


def _key(key_id: str) -> str:
    return f"key {key_id}"
