from __future__ import annotations

import fnmatch
from contextlib import suppress
from unittest.mock import AsyncMock

import pytest

from clients.codes import Reason
from clients.errors import UpstreamError
from clients.state.errors import StateCause, StateUnavailable
from clients.state.names import KINDS
from clients.state.streams.backend import LogLimits
from clients.state.streams.keys import index_key, key_key, readers_key, stream_keys
from clients.state.streams.records import Append, AppendStatus, StreamState
from clients.state.streams.tail import UNREADABLE
from tests.support.redis_server import RedisServer, redis_server
from tests.support.stack import until
from tests.support.stream_stores import ALICE, BOB, new, redis_replicas

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(30)]

LIMITS = LogLimits(lease=20)


async def test_a_stream_survives_an_empty_restart_of_redis() -> None:
    with redis_server() as redis:
        async with redis_replicas(redis.url(), LIMITS) as replicas:
            a, b = await replicas.replica("a"), await replicas.replica("b")
            stream, later = new(key="key"), new()
            opened = await a.opened(stream)
            await a.stored(opened.lease, 0, b"1", b"2")
            copy = b.follow(stream)
            await until(lambda: copy.entries == [b"1", b"2"])
            redis.kill()
            with pytest.raises(StateUnavailable):
                await a.append(opened.lease, 2, b"3")
            with pytest.raises(StateUnavailable):
                await a.store.open(later, max_running=10)
            recoveries = a.heard.recoveries
            redis.start()
            await until(lambda: a.heard.recoveries > recoveries)
            assert a.heard.losses == [stream.id]
            for one, token, entries in ((stream, opened.lease.token, [b"1", b"2", b"3"]), (later, None, [b"x"])):
                restored = await a.store.restore(one, token)
                assert restored is not None
                await a.stored(restored[0], restored[1], *entries, outcome=b"done")
            await until(lambda: copy.outcome == b"done")
            assert copy.entries == [b"1", b"2", b"3"]
            assert [one.id for one in await b.store.of(ALICE)] == [stream.id, later.id]


async def test_an_append_with_an_unknown_outcome_is_repeated_exactly_once() -> None:
    with redis_server() as redis:
        async with redis_replicas(redis.url(), LIMITS) as replicas:
            a = await replicas.replica("a")
            opened = await a.opened(new())
            await a.stored(opened.lease, 0, b"1")
            redis.pause()
            with pytest.raises(StateUnavailable) as hung:
                await a.append(opened.lease, 1, b"2", b"3")
            assert hung.value.cause is StateCause.TIMEOUT
            redis.resume()

            async def stored() -> int:
                with suppress(StateUnavailable):
                    return (await a.append(opened.lease, 1, b"2", b"3", outcome=b"done")).length
                return 0

            assert await until(stored) == 3
            page = await a.store.read(ALICE, opened.record.id, 0, 10)
            assert page is not None
            assert (page.entries, page.outcome) == ([b"1", b"2", b"3"], b"done")


async def test_followers_connect_again_after_a_failover() -> None:
    with redis_server() as redis, redis_server() as other:
        async with redis_replicas(redis.url(), LIMITS) as replicas:
            a, b = await replicas.replica("a"), await replicas.replica("b")
            opened = await a.opened(new())
            copy = b.follow(opened.record)

            async def reader() -> str | None:
                clients = (await replicas.redis.command("CLIENT", "LIST")).decode().splitlines()
                return next((line.split()[0] for line in clients if "cmd=xread" in line), None)

            before = await until(reader)
            redis.run("REPLICAOF", "127.0.0.1", str(other.port))
            with pytest.raises(StateUnavailable):
                await b.store.attend(ALICE, opened.record.id)
            recoveries = b.heard.recoveries
            redis.run("REPLICAOF", "NO", "ONE")
            await until(lambda: b.heard.recoveries > recoveries)

            async def has_reconnected() -> bool:
                with suppress(StateUnavailable):
                    return await reader() not in {None, before}
                return False

            await until(has_reconnected)
            assert not copy.is_lost


async def test_a_full_redis_stores_nothing_and_recovers() -> None:
    with redis_server() as redis:
        async with redis_replicas(redis.url(), LogLimits(lease=0.3)) as replicas:
            a = await replicas.replica("a")
            opened = await a.opened(new())
            redis.run("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StateUnavailable) as full:
                await a.append(opened.lease, 0, b"1", outcome=b"done")
            assert full.value.cause is StateCause.FULL
            with pytest.raises(StateUnavailable):
                await a.store.open(new(), max_running=10)
            await until(lambda: not a.store.is_checked)
            recoveries = a.heard.recoveries
            redis.run("CONFIG", "SET", "maxmemory", "0")
            await until(lambda: a.heard.recoveries > recoveries)
            assert await a.stored(opened.lease, 0, b"1") == 1
            assert len(await a.store.of(ALICE)) == 1


async def test_scripts_are_sent_again_after_redis_forgot_them(redis_url: str, shared_redis: RedisServer) -> None:
    async with redis_replicas(redis_url, LIMITS) as replicas:
        a = await replicas.replica("a")
        opened = [await a.opened(new()) for _ in range(3)]
        appends = [Append(lease=one.lease, after=0, entries=[b"1"]) for one in opened]
        await a.store.append(appends)
        shared_redis.run("SCRIPT", "FLUSH")
        answers = await a.store.append([Append(lease=one.lease, after=1, entries=[b"2"]) for one in opened])
        assert [(answer.status, answer.length) for answer in answers] == [(AppendStatus.STORED, 2)] * 3


async def test_every_key_is_listed_and_expires(redis_url: str) -> None:
    async with redis_replicas(redis_url, LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new(key="key", conversation="conv-1"))
        ended = await a.opened(new(BOB))
        released = await a.opened(new())
        await a.stored(opened.lease, 0, b"1")
        await a.stored(ended.lease, 0, b"end", outcome=b"done")
        await a.store.release([released.lease])
        await b.store.attend(ALICE, opened.record.id)
        b.follow(opened.record)

        async def keys() -> list[bytes]:
            b.follow(ended.record)
            found: list[bytes] = await replicas.redis.command("KEYS", "*")
            return found if any(b":stream-wake:" in key for key in found) else []

        patterns = {f"agentgraph:1:{kind.name}:{{*}}*" for kind in KINDS}
        found = await until(keys)
        assert len(found) >= 11
        for key in found:
            assert any(fnmatch.fnmatch(key.decode(), pattern) for pattern in patterns), key
            assert 0 < await replicas.redis.command("PTTL", key) <= LIMITS.running * 1000, key


async def test_an_owners_index_outlives_the_ended_streams(redis_url: str) -> None:
    async with redis_replicas(redis_url, LogLimits(lease=20, retention=5000)) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new())
        await a.stored(opened.lease, 0, b"end", outcome=b"done")
        for key in (*stream_keys(ALICE, opened.record.id), index_key(ALICE)):
            assert await replicas.redis.command("PTTL", key) > 4_900_000, key


async def test_a_quiet_running_stream_is_renewed(redis_url: str) -> None:
    async with redis_replicas(redis_url, LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new(key="key"))
        await a.stored(opened.lease, 0, b"1")
        await b.store.attend(ALICE, opened.record.id)
        keys = [
            *stream_keys(ALICE, opened.record.id),
            index_key(ALICE),
            key_key(ALICE, "key"),
            readers_key(ALICE, opened.record.id),
        ]
        for key in keys:
            assert await replicas.redis.command("PEXPIRE", key, 5000) == 1
        for one in (a, b):
            one.clock.ahead += LIMITS.running / 2
            await one.store.beat()
        for key in keys:
            assert await replicas.redis.command("PTTL", key) > LIMITS.running * 900, key


# Damaged data, and data of a different version of the gateway


@pytest.mark.parametrize("field", [("state", "paused"), ("token", "x"), ("new", "x")])
async def test_a_record_of_another_version_is_an_error_and_disturbs_no_other_stream(
    redis_url: str, field: tuple[str, str]
) -> None:
    async with redis_replicas(redis_url, LogLimits(lease=0.2)) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        novel, known = await a.opened(new()), await a.opened(new())
        record, _ = stream_keys(ALICE, novel.record.id)
        await replicas.redis.command("HSET", record, *field)
        with pytest.raises(UpstreamError) as refused:
            await b.store.find(ALICE, novel.record.id)
        assert refused.value.reason is Reason.DECODE
        assert [one.id for one in await b.store.of(ALICE)] == [known.record.id]
        await b.opened(new())
        await replicas.crash("a")
        await until(lambda: list(b.heard.orphans) == [known.record.id])
        assert (await b.store.find(ALICE, known.record.id)) is not None
        assert not b.heard.errors


async def test_an_entry_of_another_version_disturbs_no_other_stream(redis_url: str) -> None:
    async with redis_replicas(redis_url, LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        novel, known = await a.opened(new()), await a.opened(new())
        copies = [b.follow(novel.record), b.follow(known.record)]
        await a.stored(novel.lease, 0, b"1")
        _, log = stream_keys(ALICE, novel.record.id)
        await replicas.redis.command("XADD", log, "2-0", "d", "2", "more", "x")
        await until(lambda: copies[0].entries == [b"1", UNREADABLE])
        await a.stored(known.lease, 0, b"1", outcome=b"done")
        await until(lambda: copies[1].outcome == b"done")


async def test_a_damaged_log_is_stored_again_and_disturbs_no_other_stream(redis_url: str) -> None:
    async with redis_replicas(redis_url, LIMITS) as replicas:
        a = await replicas.replica("a")
        bad, good = await a.opened(new()), await a.opened(new())
        await a.stored(bad.lease, 0, b"1")
        _, log = stream_keys(ALICE, bad.record.id)
        await replicas.redis.command("XADD", log, "9-0", "d", "x")
        answers = await a.store.append(
            [Append(lease=bad.lease, after=2, entries=[b"3"]), Append(lease=good.lease, after=0, entries=[b"1"])]
        )
        assert [answer.status for answer in answers] == [AppendStatus.BEHIND, AppendStatus.STORED]
        assert await a.stored(bad.lease, 0, b"1", b"2", b"3") == 3


async def test_an_ended_stream_without_its_log_counts_as_evicted(redis_url: str) -> None:
    async with redis_replicas(redis_url, LIMITS) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new(key="key"))
        await a.stored(opened.lease, 0, b"1", outcome=b"done")
        await replicas.redis.command("DEL", stream_keys(ALICE, opened.record.id)[1])
        found = await a.store.at_key(ALICE, "key")
        assert found is not None
        assert found.state is StreamState.EVICTED
        assert await a.store.of(ALICE) == []


async def test_an_error_does_not_end_the_heartbeat_or_the_follower(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis_replicas(redis_url, LogLimits(lease=0.1)) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        copy = b.follow(opened.record)
        broken = ZeroDivisionError("a bug")
        with monkeypatch.context() as patch:
            for name in ("beat", "next_pages"):
                patch.setattr(b.backend, name, AsyncMock(side_effect=broken))
            await until(lambda: b.heard.errors.count(broken) > 3)
        await a.stored(opened.lease, 0, b"1")
        await until(lambda: copy.entries == [b"1"])
        await replicas.crash("a")
        await until(lambda: opened.record.id in b.heard.orphans)
