"""Another process of the gateway, without endpoints, beside a running stack."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from app.composition import open_gateway
from app.drain import Drain
from app.logs import make_logger
from app.shedding import Shedder
from app.slots import Slots
from app.telemetry import Telemetry
from resolvers.context import RequestContext
from resolvers.principal import principal_of_stream
from resolvers.resources import Resources
from tests.support.settings import settings_of
from tests.support.stack import ADA, Stack


@asynccontextmanager
async def replica(stack: Stack, **settings: Any) -> AsyncIterator[Resources]:
    """Open a process that uses the stack's services. Yield the objects that the process's operations share."""
    telemetry = Telemetry(make_logger("INFO", io.StringIO()))
    slots = Slots(100, 100, Shedder(100, lambda: 0.0), 1_000_000)
    async with AsyncExitStack() as closing:
        gateway = await open_gateway(settings_of(**{**stack.given, **settings}), telemetry, Drain(), slots, closing)
        yield gateway.resources


def request(resources: Resources, user: str = ADA) -> RequestContext:
    """Return the context of a user's operation in a process."""
    return RequestContext(resources, principal_of_stream(user), "request-1")
