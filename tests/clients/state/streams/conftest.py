from __future__ import annotations

from functools import partial

import pytest

from tests.support.stream_stores import Stores, memory_replicas, redis_replicas


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Replicas with one store of streams, in memory and in Redis."""
    if request.param == "memory":
        return memory_replicas
    return partial(redis_replicas, request.getfixturevalue("redis_url"))
