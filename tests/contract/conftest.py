"""The contract suite: Letta and LiteLLM spoken to directly, the embedded ones always, the real ones by choice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import REAL
from tests.support.upstreams import Upstreams, upstreams


@pytest.fixture
async def up() -> AsyncIterator[Upstreams]:
    async with upstreams(real=REAL) as running:
        yield running
