"""Ends reading from a stream when the token expires, the session is revoked, or the token's key is removed."""

from __future__ import annotations

import asyncio
import math
import time

from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.log import Leave


class WhileSignedIn:
    """A context manager that detaches a stream's readers when the user is no longer signed in.

    After the token's expiry, readers remain for the grace period. The class has ``__slots__``, because every stream has
    an instance.
    """

    __slots__ = ("_seconds", "_sign_out", "_timer", "_watch")

    def __init__(self, principal: Principal, leave: Leave, resources: Resources) -> None:
        self._sign_out = leave.sign_out
        self._seconds = max(0.0, principal.expires_at - time.time()) + resources.streams.limits.grace
        self._watch = resources.sessions.watched(principal, self._sign_out)
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if not math.isinf(self._seconds):
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sign_out)
        self._watch.__enter__()

    def __exit__(self, *_: object) -> None:
        self._watch.__exit__()
        if self._timer is not None:
            self._timer.cancel()
