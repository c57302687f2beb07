from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # xdist's controller, which runs no test, loads this file too
    from tests.support.embedded import Embedded


@pytest.fixture
async def services() -> AsyncIterator[Embedded]:
    """The embedded platform without a gateway."""
    from tests.support.embedded import embedded

    async with embedded() as running:
        yield running
