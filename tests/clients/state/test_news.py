from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clients.state.errors import StateCause
from clients.state.news import MemoryNews, News, Subscriber
from clients.state.redis_news import RedisNews
from clients.state.status import StateStatus
from tests.support.redis_server import RedisServer, redis_server
from tests.support.stack import until
from tests.support.state import connected

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]


class Ears:
    """A subscriber that stores what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.connections = 0

    def connected(self) -> None:
        self.connections += 1

    def subscriber(self) -> Subscriber:
        return Subscriber(self.heard.append, self.connected)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[RedisNews]:
    async with connected(url) as connection:
        news = RedisNews(connection)
        try:
            yield news
        finally:
            await news.aclose()


async def heard_by_all(news: News, others: list[News]) -> None:
    ears = [Ears() for _ in others]
    for one, ear in zip(others, ears, strict=True):
        one.subscribe("topic", ear.subscriber())
        one.subscribe("other", Ears().subscriber())
    await until(lambda: all(ear.connections for ear in ears))
    news.publish("topic", b"1")
    news.publish("topic", b"\xff2")
    await until(lambda: all(ear.heard == [b"1", b"\xff2"] for ear in ears))


async def test_news_reach_every_replica_and_this_one(redis_url: str) -> None:
    async with listening(redis_url) as one, listening(redis_url) as two:
        await heard_by_all(one, [one, two])


async def test_news_in_memory_reach_this_process() -> None:
    news = MemoryNews()
    await heard_by_all(news, [news])


async def test_databases_do_not_share_news(shared_redis: RedisServer) -> None:
    async with listening(shared_redis.url()) as one, listening(shared_redis.url()) as two:
        near, far = Ears(), Ears()
        one.subscribe("topic", near.subscriber())
        two.subscribe("topic", far.subscriber())
        await until(lambda: near.connections and far.connections)
        one.publish("topic", b"mine")
        two.publish("topic", b"yours")
        await until(lambda: near.heard and far.heard)
        assert (near.heard, far.heard) == ([b"mine"], [b"yours"])


async def test_a_subscriber_is_called_after_each_connection() -> None:
    with redis_server() as redis:
        async with listening(redis.url()) as news:
            ears = Ears()
            news.subscribe("topic", ears.subscriber())
            await until(lambda: ears.connections == 1)
            redis.kill()
            await asyncio.sleep(0)
            news.publish("topic", b"lost")
            redis.start()
            await until(lambda: ears.connections == 2)

            def is_heard() -> bool:
                news.publish("topic", b"new")
                return b"new" in ears.heard

            await until(is_heard)
            assert b"lost" not in ears.heard


async def test_a_missing_permission_to_subscribe_is_reported_and_news_arrive_later(shared_redis: RedisServer) -> None:
    """A user of an ACL has no channels by default."""
    shared_redis.run("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "+@all")
    async with connected(shared_redis.url().replace("//", "//deaf:pw@")) as connection:
        ears, news = Ears(), RedisNews(connection)
        news.subscribe("topic", ears.subscriber())
        await until(lambda: connection.status is StateStatus.DEGRADED)
        assert connection.cause is StateCause.REFUSED
        assert ears.connections == 0
        shared_redis.run("ACL", "SETUSER", "deaf", "&agentgraph:*")
        await until(lambda: ears.connections)
        await until(lambda: connection.status is StateStatus.OK)
        await news.aclose()


async def test_a_subscriber_that_raises_an_exception_does_not_end_the_news(redis_url: str) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    error = ValueError("wrong")

    def fail(_: bytes) -> None:
        raise error

    async with listening(redis_url) as news:
        ears = Ears()
        news.subscribe("topic", Subscriber(fail, ears.connected))
        news.subscribe("topic", ears.subscriber())
        await until(lambda: ears.connections > 1)
        news.publish("topic", b"1")
        news.publish("topic", b"2")
        await until(lambda: ears.heard == [b"1", b"2"])
    assert reported == [error, error]
