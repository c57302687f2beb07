from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients.state import redis_cache
from clients.state.cache import Place, SharedRecord, Tag, Versions
from clients.state.connection import RedisConnection
from clients.state.errors import StateCause, StateUnavailable
from clients.state.link import Reply
from clients.state.names import CACHE_CLAIM, CACHE_RECORDS, CACHE_TAGS
from clients.state.redis_cache import MAX_RECORD_BYTES, RedisCacheStore
from clients.state.scripts import Script
from clients.state.tags import READ_TAGS, TAGS_MILLISECONDS, versions_of
from tests.support.redis_server import redis_server
from tests.support.stack import until
from tests.support.state import Seen, connected

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]


async def place(store: RedisCacheStore, name: str = "n", *tags: Tag, owner: str = "ada") -> Place:
    return Place(owner, name, tags, (await store.versions(owner)).of(tags))


async def test_a_record_is_returned_for_its_version_with_its_age(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        store = RedisCacheStore(connection)
        at = await place(store, "n", Tag.AGENTS)
        assert await store.get(at) is None
        await store.put(at, b"a\nb\x00", 2.5, "t")
        found = await store.get(at)
        assert found is not None
        assert found.value == b"a\nb\x00"
        assert 2.5 <= found.age < 5
        assert await store.get(at._replace(version="other")) is None
        assert await store.get(at._replace(name="other")) is None
        assert await store.get(at._replace(owner="grace")) is None
        await store.drop("ada", [Tag.AGENTS])
        assert await store.get(await place(store, "n", Tag.AGENTS)) is None


async def test_a_record_from_before_a_mutation_is_not_stored(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        store = RedisCacheStore(connection)
        old = await place(store, "n", Tag.AGENTS)
        await store.drop("ada", [Tag.AGENTS])
        new = await place(store, "n", Tag.AGENTS)
        await store.put(new, b"new", 0, "t")
        await store.put(old, b"old", 0, "t")
        assert (await store.get(new) or SharedRecord(b"", 0)).value == b"new"
        assert await store.get(old) is None
        await connection.command("DEL", CACHE_TAGS.key("ada"))
        await store.put(new, b"lost", 0, "t")
        assert (await store.get(new) or SharedRecord(b"", 0)).value == b"new", "no reader has this version any longer"


async def test_one_replica_at_a_time_claims_a_record(redis_url: str) -> None:
    async with connected(redis_url) as one, connected(redis_url) as two:
        first, second = RedisCacheStore(one), RedisCacheStore(two)
        at = await place(first)
        assert (await first.claim(at, "1")).is_granted
        assert not (await second.claim(at, "2")).is_granted
        assert (await second.claim(at._replace(version="newer"), "2")).is_granted, "later readers join no earlier call"
        await second.release(at, "2")
        assert not (await second.claim(at, "2")).is_granted, "a claim ends only with its token"
        await first.put(at, b"value", 0, "1")
        claim = await second.claim(at, "2")
        assert claim.is_granted
        assert claim.found is not None
        assert claim.found.value == b"value"


@pytest.mark.bound("cache-redis-user")
async def test_a_user_has_a_bounded_number_of_bytes(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_cache, "MAX_USER_BYTES", 4000)
    async with connected(redis_url) as connection:
        store = RedisCacheStore(connection)
        for number in range(40):
            await store.put(await place(store, f"n{number % 7}"), b"x" * 900, 0, "t")
            used = sum(len(value) for value in (await connection.command("HGETALL", CACHE_RECORDS.key("ada")))[1::2])
            assert used <= 4000 + 10
        assert await store.get(await place(store, f"n{39 % 7}")) is not None


@pytest.mark.bound("cache-redis-record")
async def test_a_record_above_the_maximum_is_not_stored_and_ends_its_claim(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        store = RedisCacheStore(connection)
        for size, is_stored in ((MAX_RECORD_BYTES, True), (MAX_RECORD_BYTES + 1, False)):
            at = await place(store, str(size))
            assert (await store.claim(at, "t")).is_granted
            await store.put(at, b"x" * size, 0, "t")
            assert (await store.get(at) is not None) is is_stored
            assert (await store.claim(at, "u")).is_granted


async def test_every_key_expires(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        store = RedisCacheStore(connection)
        await store.drop("grace", [Tag.AGENTS])
        at = await place(store)
        await store.put(at, b"x", 0, "t")
        await store.claim(at, "t")
        keys = await connection.command("KEYS", "*")
        assert len(keys) == 4
        for key in keys:
            [kind] = [one for one in (CACHE_TAGS, CACHE_RECORDS, CACHE_CLAIM) if f":{one.name}:".encode() in key]
            assert 0 < await connection.command("PTTL", key) <= kind.milliseconds


async def test_an_ordinary_read_of_the_versions_writes_nothing(redis_url: str) -> None:
    script = Script(READ_TAGS + "return cache_tags(KEYS[1], ARGV[1], tonumber(ARGV[2]))")
    async with connected(redis_url) as connection:

        async def read(epoch: str) -> str:
            reply = await connection.script(script, [CACHE_TAGS.key("ada")], [epoch, TAGS_MILLISECONDS])
            return versions_of(reply).epoch

        assert await read("first") == "first"
        await connection.command("PEXPIRE", CACHE_TAGS.key("ada"), TAGS_MILLISECONDS - 1000)
        assert await read("second") == "first"
        assert await connection.command("PTTL", CACHE_TAGS.key("ada")) <= TAGS_MILLISECONDS - 1000
        await connection.command("PEXPIRE", CACHE_TAGS.key("ada"), TAGS_MILLISECONDS // 2 - 1000)
        assert await read("third") == "first"
        assert await connection.command("PTTL", CACHE_TAGS.key("ada")) > TAGS_MILLISECONDS - 1000


async def test_without_redis_the_process_has_its_own_versions_and_repeats_its_changes() -> None:
    with redis_server() as redis:
        url = redis.url()
        async with connected(url) as one, connected(url) as two:
            store, other = RedisCacheStore(one), RedisCacheStore(two)
            at, before = await place(store, "n", Tag.AGENTS), await other.versions("ada")
            await store.put(at, b"x", 0, "t")
            redis.pause()
            own = await store.versions("ada")
            assert not own.is_shared
            assert own.epoch != before.epoch
            assert await store.get(at) is None
            assert (await store.claim(at, "t")).is_granted
            await store.put(at, b"x", 0, "t")
            await store.release(at, "t")
            await store.drop("ada", [Tag.AGENTS])
            assert (await store.versions("ada")).of([Tag.AGENTS]) != own.of([Tag.AGENTS])
            redis.resume()
            await until(lambda: one.is_up and two.is_up)

            async def repeated() -> bool:
                versions = await other.versions("ada")
                return versions.of([Tag.AGENTS]) != before.of([Tag.AGENTS])

            await until(repeated)
            assert (await store.versions("ada")).is_shared
            redis.pause()
            assert (await store.versions("ada")).epoch not in {own.epoch, before.epoch}, "not of the earlier failure"
            redis.resume()
            await store.aclose()


async def test_the_next_reader_sends_a_change_that_redis_has_not_received(redis_url: str) -> None:
    async with connected(redis_url) as connection, connected(redis_url) as two:
        store, other = RedisCacheStore(connection), RedisCacheStore(two)
        before = await other.versions("ada")
        await connection.command("DEL", CACHE_TAGS.key("ada"))
        await connection.command("SET", CACHE_TAGS.key("ada"), "of another type")
        await store.drop("ada", [Tag.AGENTS])
        await connection.command("DEL", CACHE_TAGS.key("ada"))
        assert store.is_behind("ada")
        versions = await store.versions("ada")
        assert not store.is_behind("ada")
        assert await other.versions("ada") == versions
        assert versions.of([Tag.AGENTS]) != Versions(versions.epoch).of([Tag.AGENTS])
        assert versions.epoch != before.epoch
        await store.aclose()


async def test_a_change_in_flight_does_not_stand_for_a_later_one(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(redis_url) as connection:
        store, send, answered = RedisCacheStore(connection), connection.script, asyncio.Event()
        calls = 0

        async def first_only(*command: Any) -> Reply:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise StateUnavailable(StateCause.TIMEOUT)
            reply = await send(*command)
            await answered.wait()
            return reply

        with monkeypatch.context() as failing:
            failing.setattr(connection, "script", first_only)
            first = asyncio.create_task(store.drop("ada", [Tag.AGENTS]))
            await until(lambda: calls == 1)
            await store.drop("ada", [Tag.AGENTS])
            answered.set()
            await first
        assert store.is_behind("ada"), "Redis has not received the second change"
        await store.aclose()


@pytest.mark.bound("cache-unsent")
async def test_the_changes_that_wait_for_redis_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_cache, "MAX_UNSENT", 2)
    with redis_server() as redis:
        async with connected(redis.url()) as connection:
            store = RedisCacheStore(connection)
            redis.pause()
            for owner in ("ada", "grace", "alan"):
                await store.drop(owner, [Tag.AGENTS])
            assert [store.is_behind(owner) for owner in ("ada", "grace", "alan")] == [False, True, True]
            redis.resume()
            await until(lambda: not store.is_behind("grace") and not store.is_behind("alan"))
            await store.aclose()


async def test_no_version_returns_after_redis_has_lost_its_newest_changes(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        store, key = RedisCacheStore(connection), CACHE_TAGS.key("ada")
        await store.drop("ada", [Tag.AGENTS])
        earlier = await connection.command("DUMP", key)
        await store.drop("ada", [Tag.AGENTS])
        lost = (await store.versions("ada")).of([Tag.AGENTS])
        await connection.command("RESTORE", key, TAGS_MILLISECONDS, earlier, "REPLACE")
        await store.drop("ada", [Tag.AGENTS])
        assert (await store.versions("ada")).of([Tag.AGENTS]) != lost


@pytest.mark.parametrize("stored", ["", "short", "not a number", "9999999999999", b"\xff\x00"])
async def test_a_damaged_record_is_not_returned(redis_url: str, stored: str | bytes) -> None:
    async with connected(redis_url) as connection:
        store = RedisCacheStore(connection)
        at = await place(store)
        stamp = stored.encode() if isinstance(stored, str) else stored
        damaged = stamp.ljust(13)[:13] + at.version.encode() + b"\nvalue"
        await connection.command("HSET", CACHE_RECORDS.key("ada"), "n", damaged)
        assert await store.get(at) is None
        assert (await store.claim(at, "t")).found is None
        await store.put(at, b"value", 0, "t")
        assert (await store.get(at) or SharedRecord(b"", 0)).value == b"value"


async def test_a_full_redis_forgets_the_versions_instead_of_changing_them() -> None:
    with redis_server() as redis:
        url = redis.url()
        async with connected(url) as one, connected(url) as two:
            store, other = RedisCacheStore(one), RedisCacheStore(two)
            at = await place(store, "n", Tag.AGENTS)
            await store.put(at, b"x", 0, "t")
            redis.run("CONFIG", "SET", "maxmemory", "1")
            assert (await other.versions("ada")).is_shared, "reads need no memory"
            await store.drop("ada", [Tag.AGENTS])
            assert (await other.versions("ada")).epoch != at.version.split(".")[0]
            redis.run("CONFIG", "SET", "maxmemory", "0")

            async def shared() -> bool:
                return (await store.versions("ada")).is_shared and (await other.versions("ada")).is_shared

            await until(shared)


async def test_closing_the_store_ends_the_repetition_of_changes() -> None:
    with redis_server() as redis:
        connection = RedisConnection(redis.url(), None, Seen())
        store = RedisCacheStore(connection)
        redis.pause()
        await asyncio.gather(*(store.drop(str(number), [Tag.AGENTS]) for number in range(5)))
        redis.resume()
        await until(lambda: connection.is_up)
        await store.aclose()
        await connection.aclose()
