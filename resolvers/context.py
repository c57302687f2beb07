"""The context of one operation.

Each operation of a WebSocket, and each event of a subscription, has a context of its own: loaders never return what an
earlier one has read.
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
        scope: the scope of its upstream calls, with their deadline.
        leave: detaches its readers of streams.
        on_long: called before the operation waits for a model; it raises GatewayError if too many wait.
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
        mutation: str,
        parts: tuple[object, ...],
        act: Act[V],
        weigh: Callable[[V], int] = lambda _: OVERHEAD_BYTES,
        doubt: Doubt | None = None,
    ) -> V:
        """Do ``act``, once per key of the user, and return its answer. See ``IdempotencyKeys.done``.

        Each ``mutation`` has keys of its own. ``parts`` are its input.
        """
        if key is None:
            return await confirmed(act, doubt, keyed=False)
        name = f"{mutation}:{checks.key(key)}"
        return await self.resources.keys.done(self.principal.user_id, name, fingerprint(*parts), act, weigh, doubt)

    @property
    def principal(self) -> Principal:
        """The user. Only introspection runs without one, and it calls no resolver."""
        if self._principal is None:
            raise PermissionError("an operation without a principal reached a resolver")
        return self._principal

    @property
    def owner(self) -> Owner:
        """The owner of the streams that this operation starts."""
        return Owner(self.principal.user_id, self.origin)

    def refresh(self) -> None:
        """Replace the loaders and the deadline, after a wait for a model."""
        self.scope = self._scope()
        self.forget()

    def model_scope(self) -> CallScope:
        """Return the scope of a call that waits for a model, with the deadline of a whole answer."""
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
        """Return a context of the same operation with new loaders and a new deadline, for a later event."""
        return RequestContext(
            self.resources, self._principal, self.request_id, self.traceparent, self.leave, origin=self.origin
        )

    def forget(self) -> None:
        """Replace the loaders, after a change."""
        self.__dict__.pop("access", None)
        self.__dict__.pop("loaders", None)

    @cached_property
    def access(self) -> Access:
        """The permissions of the principal."""
        return Access(self.principal, self.loaders, platform_key=self.resources.platform_key)

    @cached_property
    def loaders(self) -> Loaders:
        """The operation's loaders."""
        return Loaders(self.resources, self.principal, self.scope)
