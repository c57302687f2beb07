"""A gateway process for each module of attacks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.attack import Target, attacked


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """Run a gateway with the ``SETTINGS`` of the test module, if it has them."""
    settings: dict[str, str] = getattr(request.module, "SETTINGS", {})
    async with attacked(tmp_path_factory.mktemp("gateway"), **settings) as running:
        yield running
