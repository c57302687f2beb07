"""Runs tests with the steps of plans, and with generated functions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.plans import Generated, generating


@pytest.fixture(params=[0, 1, 1_000_000], ids=["generated", "generated later", "steps"])
def each_way(request: pytest.FixtureRequest) -> Iterator[Generated]:
    """Run a test by generated functions, by those after the first object of each kind, and by steps."""
    with generating(after=request.param) as found:
        yield found
