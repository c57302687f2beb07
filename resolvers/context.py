"""The two lifetimes: ``Resources`` live as long as the process, a ``RequestContext`` as long as one operation.

A WebSocket carries many operations, and a subscription many events: each has a context of its own, so that loaders
never answer from an earlier one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from clients.ams import Ams
from clients.calls import CallScope
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from resolvers.principal import Principal

if TYPE_CHECKING:
    from resolvers.access import Access
    from resolvers.loaders import Loaders
    from resolvers.platform import Health
    from resolvers.streams.hub import StreamHub


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The time limits on calls, in seconds. ``request`` bounds everything but model work, which the others bound."""

    request: float
    llm_total: float
    first_token: float
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the process owns. ``platform_key`` pays for users who have no virtual key of their own."""

    ams: Ams
    letta: Letta
    litellm: LiteLLM
    streams: StreamHub
    health: Health
    clocks: Clocks
    platform_key: str | None


class RequestContext:
    """One operation of one principal. ``request_id`` ties its upstream calls and log lines together."""

    def __init__(
        self, resources: Resources, principal: Principal | None, request_id: str, traceparent: str | None = None
    ) -> None:
        self.resources = resources
        self._principal = principal
        self.request_id = request_id
        self.traceparent = traceparent
        self._deadline = time.monotonic() + resources.clocks.request

    @property
    def principal(self) -> Principal:
        """Who asks. Only introspection runs without one, and it reaches no resolver of ours."""
        if self._principal is None:
            raise PermissionError("an operation without a principal reached a resolver")
        return self._principal

    @property
    def scope(self) -> CallScope:
        """For a call that answers this operation."""
        return CallScope(self.request_id, self._deadline, self.traceparent)

    def model_scope(self) -> CallScope:
        """For a call that waits for a model: bounded by the model's own total."""
        deadline = time.monotonic() + self.resources.clocks.llm_total
        return CallScope(self.request_id, deadline, self.traceparent, clock="TOTAL")

    def renewed(self) -> RequestContext:
        """The same operation at a later event: fresh loaders, fresh deadline."""
        return RequestContext(self.resources, self._principal, self.request_id, self.traceparent)

    @cached_property
    def access(self) -> Access:
        """What this principal may see."""
        from resolvers.access import Access  # noqa: PLC0415 - access and context need each other

        return Access(self)

    @cached_property
    def loaders(self) -> Loaders:
        """This operation's loaders."""
        from resolvers.loaders import Loaders  # noqa: PLC0415 - loaders and context need each other

        return Loaders(self)
