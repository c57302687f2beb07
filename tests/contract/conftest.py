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
    """Skip tests of the Responses API with LiteLLM 1.106, which streams responses in another form."""
    if up.real and up.version < (1, 107):
        pytest.skip("LiteLLM 1.106 streams responses in another form")
