"""Caches the public keys from the token issuer's JWK Set.

The keys are refreshed by a timer, so a request with a known key does not wait. If the issuer is down, the known
keys stay valid. A key is removed only if two responses lack the key, because a cache in front of the issuer can be
outdated. Unknown key ids cause at most one fetch per cool-down, so that invented ids do not overload the issuer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from app.signin.errors import invalid
from app.signin.keys import VerifyingKey
from clients.codes import Reason
from clients.errors import GatewayError, Overloaded, Service, UpstreamUnavailable

REFRESH_SECONDS = 300.0
"""The age at which keys are refreshed, in seconds. Hosted Supabase's CDN caches the JWK Set for ten minutes."""

COOL_DOWN_SECONDS = 10.0
"""Minimum time between two fetches of the keys, in seconds."""

MAX_WAITING = 1000
"""Maximum number of requests that wait until the keys are fetched."""

RETRY_SECONDS = 1.0

Fetch = Callable[[], Awaitable[Mapping[str, VerifyingKey]]]
"""A function that fetches the issuer's keys and returns them by id. Raises GatewayError."""


class IssuerKeys:
    """The cached keys of one issuer.

    Attributes:
        fetches: the number of fetches.

    Args:
        fetch: fetches the keys.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._on_removed: list[Callable[[Collection[str]], None]] = []
        self._clock = clock
        self._missing: set[str] = set()
        self._keys: Mapping[str, VerifyingKey] = {}
        self._tried_at = float("-inf")
        self._is_down = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self.fetches = 0

    def on_removed(self, listener: Callable[[Collection[str]], None]) -> None:
        """Call ``listener`` with the ids of keys that the issuer removes or replaces.

        Tokens that such a key has verified are not valid any more.
        """
        self._on_removed.append(listener)

    def known(self, key_id: str) -> VerifyingKey | None:
        """Return the cached key with this id, or ``None``."""
        return self._keys.get(key_id)

    async def fetched(self, key_id: str) -> VerifyingKey:
        """Return a key that is not cached. Unless the last fetch was too recent, fetch the keys first.

        Raises:
            Unauthenticated: the issuer has no such key.
            UpstreamUnavailable: the last fetch failed, so the token cannot be verified (``ISSUER``).
            Overloaded: too many requests wait for the fetch (``ISSUER``).
        """
        if self._task is not None or self._is_cool(self._clock()):
            await self._wait()
        if (key := self._keys.get(key_id)) is not None:
            return key
        if self._is_down:
            message = "The gateway cannot verify the token, because the issuer's keys are not available. Retry."
            raise UpstreamUnavailable(
                message, reason=Reason.ISSUER, service=Service.SUPABASE, retry_after_seconds=COOL_DOWN_SECONDS
            )
        raise invalid("the issuer has no key with the token's `kid`")

    def refresh(self) -> asyncio.Task[None]:
        """Begin to fetch the keys, unless a fetch is in progress. Return the fetch's task."""
        if self._task is None:
            self._stop_timer()
            self._tried_at = self._clock()
            self._task = asyncio.create_task(self._fetch_keys())
            self._task.add_done_callback(self._fetch_ended)
        return self._task

    async def aclose(self) -> None:
        """Cancel the next refresh, and the fetch in progress."""
        self._stop_timer()
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])
            self._stop_timer()  # a fetch that had just ended has set it

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _is_cool(self, now: float) -> bool:
        return now - self._tried_at >= COOL_DOWN_SECONDS

    async def _wait(self) -> None:
        if self._waiting >= MAX_WAITING:
            message = "Too many requests wait for the keys of the token's issuer. Retry."
            raise Overloaded(message, reason=Reason.ISSUER, retry_after_seconds=RETRY_SECONDS)
        self._waiting += 1
        try:
            await asyncio.wait([self.refresh()])
        finally:
            self._waiting -= 1

    async def _fetch_keys(self) -> None:
        self.fetches += 1
        self._is_down = True
        try:
            keys = await self._fetch()
        except GatewayError:
            return
        self._is_down = False
        missing = self._keys.keys() - keys.keys()
        kept = {key_id: self._keys[key_id] for key_id in missing - self._missing}
        replaced = {key_id for key_id, key in self._keys.items() if keys.get(key_id, key) != key}
        self._keys, self._missing = {**kept, **keys}, set(kept)
        if removed := (missing - kept.keys()) | replaced:
            for listener in self._on_removed:
                listener(removed)

    def _fetch_ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        seconds = COOL_DOWN_SECONDS if self._is_down or self._missing else REFRESH_SECONDS
        self._timer = asyncio.get_running_loop().call_later(seconds, self.refresh)
        if (error := task.exception()) is not None:
            raise error
