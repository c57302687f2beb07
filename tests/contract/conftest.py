"""The contract suite calls Letta and LiteLLM directly: embedded by default, real ones by option."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REAL

if TYPE_CHECKING:
    from tests.support.upstreams import Upstreams


@pytest.fixture
async def up() -> AsyncIterator[Upstreams]:
    from tests.support.upstreams import upstreams

    async with upstreams(real=REAL) as running:
        yield running
