"""The two lifetimes: ``Resources`` live as long as the process, a ``RequestContext`` as long as one operation.

A WebSocket carries many operations, and a subscription many events: each has a context of its own, so that loaders
never answer from an earlier one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from clients.calls import CallBudget, CallScope
from clients.codes import Reason
from clients.origin import Origin, Owner
from resolvers import checks
from resolvers.access import Access
from resolvers.doubt import Doubt, confirmed
from resolvers.idempotency import OVERHEAD_BYTES, Act, fingerprint
from resolvers.loaders import Loaders
from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.log import Leave

V = TypeVar("V")


class RequestContext:
    """One operation of one principal.

    Attributes:
        request_id: ties its upstream calls and log lines together.
        scope: for the upstream calls that answer it.
        leave: detaches its readers of streams.
        origin: where the request comes from.
        on_long: called before the operation waits for a model; it raises GatewayError if too many wait.
        calls: counts its upstream calls.
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
    ) -> None:
        self.resources = resources
        self._principal = principal
        self.request_id = request_id
        self.traceparent = traceparent
        self.leave = leave
        self.origin = origin
        self.on_long: Callable[[], None] | None = None
        self.calls = CallBudget(resources.max_calls)
        self.scope = self._scope()

    async def idempotent(
        self,
        key: str | None,
        what: str,
        parts: tuple[object, ...],
        act: Act[V],
        weigh: Callable[[V], int] = lambda _: OVERHEAD_BYTES,
        doubt: Doubt | None = None,
    ) -> V:
        """Do ``act``, once per key of the user, and return its answer. See ``IdempotencyKeys.done``.

        ``what`` names the mutation: each has keys of its own. ``parts`` are its input. ``doubt`` is for an action that
        must not be repeated.
        """
        if key is None:
            return await confirmed(act, doubt, keyed=False)
        name = f"{what}:{checks.key(key)}"
        return await self.resources.keys.done(self.principal.user_id, name, fingerprint(*parts), act, weigh, doubt)

    @property
    def principal(self) -> Principal:
        """Who asks. Only introspection runs without one, and it reaches no resolver of ours."""
        if self._principal is None:
            raise PermissionError("an operation without a principal reached a resolver")
        return self._principal

    @property
    def owner(self) -> Owner:
        """The owner of the streams that this operation starts."""
        return Owner(self.principal.user_id, self.origin)

    def refresh(self) -> None:
        """Begin anew, after a wait that was asked for: fresh loaders, fresh deadline."""
        self.scope = self._scope()
        self.__dict__.pop("access", None)
        self.__dict__.pop("loaders", None)

    def model_scope(self) -> CallScope:
        """For a call that waits for a model: bounded by the model's own total."""
        deadline = time.monotonic() + self.resources.clocks.llm_total
        return replace(self._scope(), deadline=deadline, timeout_reason=Reason.TOTAL)

    def _scope(self) -> CallScope:
        return CallScope(
            self.request_id,
            time.monotonic() + self.resources.clocks.request,
            self.traceparent,
            origin=self.origin,
            caller="" if self._principal is None else self._principal.user_id,
            budget=self.calls,
        )

    def renewed(self) -> RequestContext:
        """The same operation at a later event: fresh loaders, fresh deadline."""
        return RequestContext(
            self.resources,
            self._principal,
            self.request_id,
            self.traceparent,
            self.leave,
            origin=self.origin,
        )

    def forget(self) -> None:
        """Read everything anew from here on: something has been changed."""
        self.__dict__.pop("access", None)
        self.__dict__.pop("loaders", None)

    @cached_property
    def access(self) -> Access:
        """What this principal may see."""
        return Access(self.principal, self.loaders, platform_key=self.resources.platform_key)

    @cached_property
    def loaders(self) -> Loaders:
        """This operation's loaders."""
        return Loaders(self.resources, self.principal, self.scope)
