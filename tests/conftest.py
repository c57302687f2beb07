from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from app.garbage import settle
from tests.support.capabilities import CAPABILITIES, Capabilities

if TYPE_CHECKING:  # xdist's controller, which runs no test, loads this file too
    from tests.support.redis_server import RedisServer
    from tests.support.stack import Stack

settings.register_profile("agentgraph", deadline=None)  # a busy machine makes any test slow
settings.load_profile("agentgraph")

REAL = os.environ.get("AGENTGRAPH_TEST_REAL") == "1"


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # imports and the collection of tests create no garbage
    for name, (what, _, _) in CAPABILITIES.items():
        config.addinivalue_line("markers", f"{name}: {what}")
    config.pluginmanager.register(Capabilities())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first, so that no worker process has a long test left at the end."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return 0 if marker is None else marker.args[0] or 600


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Exclude imported modules and collected tests from later garbage collections, and make these rare."""
    settle()
    gc.set_threshold(10_000, 10, 50)


@pytest.fixture(autouse=True, scope="session")
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the environment variables that the gateway reads, unless the services are real."""
    from app.settings import Settings

    with pytest.MonkeyPatch.context() as environment:
        for name in () if REAL else Settings.model_fields:
            environment.delenv(name.upper(), raising=False)
        environment.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
        yield


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """A Redis server for all tests of this worker process. Only ``url`` may be used, which returns a fresh database."""
    from tests.support.redis_server import redis_server

    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of an empty Redis database."""
    return shared_redis.url()


@pytest.fixture
def patient_redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty Redis database, for gateways that wait for Redis on a busy machine."""
    monkeypatch.setattr("clients.state.connection.COMMAND_SECONDS", 20)
    return redis_url


@pytest.fixture
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """Run a gateway and the services behind it, each on its own port."""
    from tests.support.stack import any_stack

    settings = {} if request.node.get_closest_marker("uncached") is None else {"cache": "off"}
    async with any_stack(**settings) as running:
        yield running
