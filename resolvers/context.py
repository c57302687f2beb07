"""The context of one operation. Each event of a subscription has a separate context."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from clients.calls import CallBudget, CallScope
from clients.codes import Reason
from clients.origin import Endpoint, Origin, Owner
from clients.state.cache import Tag, Versions
from resolvers import checks
from resolvers.access import Access, paying_key
from resolvers.cache.changes import TURN
from resolvers.cache.stale import StaleReads
from resolvers.cached_loaders import CachedLoaders, cached_key
from resolvers.idempotency import OVERHEAD_BYTES, Act, fingerprint
from resolvers.loaders import Loaders
from resolvers.outcome_unknown import OutcomeUnknown, confirmed
from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.log import Leave

V = TypeVar("V")


class RequestContext:
    """The data with which an operation runs: the signed-in user, the loaders and the shared objects.

    Attributes:
        leave: detaches the operation's readers from their streams.
        on_long: called before the operation waits for a model; raises GatewayError if too many operations wait.
        resumed_after: the cursor with which a client has repeated the request. It replaces the argument ``after``,
            because a repeated request has its first value.
        has_replayed: whether the latest answer of ``idempotent``, or the operation's stream, is an earlier request's.
        reads_cache: whether the operation may read from the cache. The engine allows this for queries.
        held_selections: for selections on a field's object, whether the field's parent has all data. The keys are ids
            of objects that live as long as the operation.
        versions: the versions of the user's cache tags, if they were read with the rate limit.
    """

    def __init__(
        self,
        resources: Resources,
        principal: Principal | None,
        request_id: str,
        traceparent: str | None = None,
        leave: Leave | None = None,
        *,
        origin: Origin = Origin.USER,
        endpoint: Endpoint = Endpoint.HTTP,
    ) -> None:
        self.resources = resources
        self._principal = principal
        self.request_id = request_id
        self.traceparent = traceparent
        self.leave = Leave() if leave is None else leave
        self.origin = origin
        self.endpoint = endpoint
        self.resumed_after: str | None = None
        self.has_replayed = False
        self.reads_cache = False
        self.versions: Versions | None = None
        self.held_selections: dict[tuple[int, ...], bool] = {}
        self.on_long: Callable[[], None] | None = None
        self.calls = CallBudget(resources.max_calls)
        self._began = time.monotonic()

    async def idempotent(
        self,
        key: str | None,
        mutation: str,
        parts: tuple[object, ...],
        act: Act[V],
        kind: type[V],
        weigh: Callable[[V], int] = lambda _: OVERHEAD_BYTES,
        on_unknown: OutcomeUnknown | None = None,
    ) -> V:
        """Run ``act`` once per user, mutation and idempotency key. Return the result, which has the type ``kind``.

        If an earlier request has the result, ``has_replayed`` becomes true.
        """
        if key is None:
            return await confirmed(act, on_unknown, keyed=False)
        name, has_run = f"{mutation}:{checks.key(key)}", False

        async def run() -> V:
            nonlocal has_run
            has_run = True
            return await act()

        done = self.resources.keys.done
        answer = await done(self.principal.user_id, name, fingerprint(*parts), run, kind, weigh, on_unknown)
        self.has_replayed = not has_run
        return answer

    @cached_property
    def scope(self) -> CallScope:
        """The scope of the operation's upstream calls, with their deadline."""
        return self._scope(self._began + self.resources.timeouts.request)

    @property
    def principal(self) -> Principal:
        """The signed-in user. Only introspection runs without a user."""
        if self._principal is None:
            raise PermissionError("an operation without a principal reached a resolver")
        return self._principal

    @property
    def owner(self) -> Owner:
        """The owner of the streams that this operation starts."""
        return Owner(self.principal.user_id, self.origin)

    def refresh(self) -> None:
        """After the operation has waited for a model, create new loaders and a new deadline."""
        self.scope = self._scope()
        self.reset_loaders()

    def model_scope(self) -> CallScope:
        """Return a ``CallScope`` for a model call. The scope's timeout is ``llm_total``."""
        deadline = time.monotonic() + self.resources.timeouts.llm_total
        return self._scope(deadline, Reason.TOTAL)

    def _scope(self, deadline: float | None = None, reason: Reason = Reason.DEADLINE) -> CallScope:
        return CallScope(
            self.request_id,
            time.monotonic() + self.resources.timeouts.request if deadline is None else deadline,
            self.traceparent,
            reason,
            origin=self.origin,
            caller="" if self._principal is None else self._principal.user_id,
            budget=self.calls,
        )

    def renewed(self) -> RequestContext:
        """Return a copy of this context with new loaders and a new deadline."""
        return RequestContext(
            self.resources,
            self._principal,
            self.request_id,
            self.traceparent,
            self.leave,
            origin=self.origin,
            endpoint=self.endpoint,
        )

    async def changed(self, *tags: Tag) -> None:
        """Drop the user's cached records with the given tags. Call this before the client learns of the change."""
        if self.resources.cache is not None:
            await self.resources.cache.drop(self.principal.user_id, tags)

    async def changed_by_turn(self) -> None:
        """Drop the cached records that a turn changes."""
        await self.changed(*TURN)

    def reset_loaders(self) -> None:
        """Replace the loaders after a mutation, so that changed data is read again."""
        self.__dict__.pop("access", None)
        self.__dict__.pop("loaders", None)

    @cached_property
    def stale(self) -> StaleReads:
        """The fields that have read stale records."""
        return StaleReads()

    @property
    def stale_report(self) -> list[dict[str, Any]] | None:
        """The value of ``extensions.stale``, or ``None`` if no field has read a stale record."""
        return self.stale.report() if "stale" in self.__dict__ else None

    async def model_key(self) -> str:
        """Return the LiteLLM key that pays for the user's model calls.

        If the cache has a fresh account, this needs neither loaders nor a task.
        """
        cache, resources, user_id = self.resources.cache, self.resources, self.principal.user_id
        if cache is None or not self.reads_cache:
            return await self.access.model_key()
        self.versions = await cache.versions(user_id, self.versions)
        found = cached_key(cache, user_id, self.versions)
        if found is None:
            return await self.access.model_key()
        return paying_key(found.litellm_key, resources.platform_key)

    @cached_property
    def access(self) -> Access:
        """The access checks for the signed-in user."""
        return Access(self.principal, self.loaders, platform_key=self.resources.platform_key)

    @cached_property
    def loaders(self) -> Loaders:
        """The operation's loaders."""
        cache = self.resources.cache
        if cache is None or not self.reads_cache:
            return Loaders(self.resources, self.principal, self.scope)
        return CachedLoaders(
            self.resources,
            cache,
            self.principal,
            self.scope,
            versions=self.versions,
            stale_reads=self.stale,
        )
