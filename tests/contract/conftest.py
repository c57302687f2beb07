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


@pytest.fixture
def responses_of_later_litellm(up: Upstreams) -> None:
    """Fail with LiteLLM 1.106, which streams responses in another form. ``tests/real.sh`` does not run these tests."""
    assert not up.real or up.version >= (1, 107)
