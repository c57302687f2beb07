from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clients.state.connection import RedisConnection
from clients.state.names import REVOKED, channel
from clients.state.redis_news import RedisNews
from clients.state.revocations import TOPIC, RedisRevocations
from resolvers.principal import Principal, Role
from resolvers.sessions import MAX_REVOKED, REVOCATION_SECONDS, Sessions
from tests.support.redis_server import RedisServer, redis_server
from tests.support.stack import until
from tests.support.state import connected

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]

KEY = REVOKED.key("sessions")


class Replica:
    """A process's revoked sessions, and its connection."""

    def __init__(self, connection: RedisConnection, sessions: Sessions) -> None:
        self.connection = connection
        self.sessions = sessions

    async def revoke(self, *session_ids: str) -> None:
        for session_id in session_ids:
            await self.sessions.revoke(session_id)

    async def knows(self, *session_ids: str) -> None:
        """Wait until sessions are revoked."""
        await until(lambda: all(self.sessions.is_revoked(session_id) for session_id in session_ids))


@asynccontextmanager
async def replica(url: str, *, limit: int = MAX_REVOKED) -> AsyncIterator[Replica]:
    async with connected(url) as connection:
        news, sessions = RedisNews(connection), Sessions()
        revocations = RedisRevocations(connection, news, sessions, limit)
        sessions.share(revocations)
        await revocations.open()
        try:
            yield Replica(connection, sessions)
        finally:
            await revocations.aclose()
            await news.aclose()


async def is_stored(connection: RedisConnection, session_id: str) -> bool:
    return bool(await connection.command("ZSCORE", KEY, session_id))


async def test_a_revocation_ends_a_sessions_connections_at_each_replica(redis_url: str) -> None:
    async with replica(redis_url) as one, replica(redis_url) as other:
        ended = asyncio.Event()
        user = Principal(user_id="u", role=Role.USER, expires_at=0, session_id="a", key_id="")
        with other.sessions.watched(user, ended.set):
            await one.revoke("a")
            await asyncio.wait_for(ended.wait(), 1)
        assert other.sessions.is_revoked("a")
        assert not other.sessions.is_revoked("b")


async def test_a_new_replica_reads_earlier_revocations(redis_url: str) -> None:
    async with replica(redis_url) as one:
        await one.revoke("a", "b")
        left = await one.connection.command("PTTL", KEY)
        assert 0 <= REVOCATION_SECONDS * 1000 - left < 5000
    async with replica(redis_url) as later:
        assert later.sessions.is_revoked("a")
        assert later.sessions.is_revoked("b")
        assert 0 <= REVOCATION_SECONDS - later.sessions.revoked()["a"] < 5


async def test_a_revocation_during_an_outage_reaches_the_others_after_it() -> None:
    with redis_server() as redis:
        url = redis.url()
        async with replica(url) as one, replica(url) as other:
            await one.revoke("before")
            await other.knows("before")
            redis.kill()
            await one.revoke("during")
            assert one.sessions.is_revoked("during")
            assert not other.sessions.is_revoked("during")
            redis.start()
            await other.knows("during")
            await until(lambda: is_stored(one.connection, "before"))
        async with replica(url) as later:
            assert sorted(later.sessions.revoked()) == ["before", "during"]


async def test_a_revocation_during_a_hang_reaches_the_others_after_it() -> None:
    with redis_server() as redis:
        url = redis.url()
        async with replica(url) as one, replica(url) as other:
            redis.pause()
            await one.revoke("during")
            redis.resume()
            await other.knows("during")


async def test_revocations_are_stored_again_after_redis_has_lost_them(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.state.revocations.CHECK_SECONDS", 0.02)
    async with replica(redis_url) as one:
        await one.revoke("a")
        await one.connection.command("FLUSHDB")
        await until(lambda: is_stored(one.connection, "a"))


async def test_a_revocation_is_stored_when_redis_has_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.state.revocations.CHECK_SECONDS", 0.02)
    with redis_server() as redis:
        url = redis.url()
        async with replica(url) as one, replica(url) as other:
            redis.run("CONFIG", "SET", "maxmemory", "1")
            await one.revoke("a")
            assert one.sessions.is_revoked("a")
            redis.run("CONFIG", "SET", "maxmemory", "0")
            await other.knows("a")


async def test_a_replica_whose_connection_was_cut_reads_what_it_has_missed(
    redis_url: str, shared_redis: RedisServer
) -> None:
    async with replica(redis_url) as one, replica(redis_url) as other:
        shared_redis.run("CLIENT", "KILL", "TYPE", "pubsub")
        await one.revoke("a")
        await other.knows("a")


async def test_all_of_many_revocations_are_shared(redis_url: str) -> None:
    names = {f"session {number}" for number in range(1200)}
    async with replica(redis_url) as one, replica(redis_url) as other:
        one.sessions.learn(dict.fromkeys(names, 60.0))
        await one.connection.command("CLIENT", "KILL", "TYPE", "pubsub")  # each stores what Redis does not have
        await other.knows(*names)
        async with replica(redis_url) as later:
            assert later.sessions.revoked().keys() == names


async def test_a_revocation_expires_everywhere(redis_url: str) -> None:
    async with replica(redis_url) as one, replica(redis_url) as other:
        await one.revoke("stays")
        one.sessions.learn({"short": 0.05})
        await one.connection.command("CLIENT", "KILL", "TYPE", "pubsub")
        await other.knows("stays")
        await until(lambda: not one.sessions.is_revoked("short") and not other.sessions.is_revoked("short"))
        assert other.sessions.revoked().keys() == {"stays"}
        await one.revoke("new")
        assert await one.connection.command("ZRANGE", KEY, 0, -1) in ([b"stays", b"new"], [b"new", b"stays"])


@pytest.mark.bound("revoked-sessions")
async def test_redis_keeps_the_revocations_that_expire_last(redis_url: str) -> None:
    async with replica(redis_url, limit=3) as one:
        await one.revoke("a", "b", "c")
        assert await one.connection.command("ZCARD", KEY) == 3
        await one.revoke("d")
        assert await one.connection.command("ZCARD", KEY) == 3
        assert not await is_stored(one.connection, "a")
        assert one.sessions.is_revoked("a")


async def test_a_message_of_another_version_is_ignored(redis_url: str) -> None:
    async with replica(redis_url) as one, replica(redis_url) as other:
        for message in (b"x", b"\xff", b"[]", b'{"a": "b"}'):
            await one.connection.command("PUBLISH", channel(one.connection.database, TOPIC), message)
        await one.revoke("a")
        await other.knows("a")
