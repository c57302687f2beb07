from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from clients.http.transport import HttpTransport


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    """A transport. After the test, no connection may be in use."""
    async with HttpTransport() as opened:
        yield opened
        assert opened.in_use == 0
