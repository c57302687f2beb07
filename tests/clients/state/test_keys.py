"""Records of idempotency keys whose commands are repeated, or whose data Redis has lost in part."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from clients.state.keys import Claimed, Done, SharedKeys, new_token
from clients.state.names import KEY_ANSWERS
from tests.support.redis_server import redis_server
from tests.support.state import connected

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]

SIZES, BYTES = (KEY_ANSWERS.key("ada", part) for part in ("sizes", "bytes"))


@pytest.fixture
async def keys(redis_url: str) -> AsyncIterator[SharedKeys]:
    async with connected(redis_url) as connection:
        made = SharedKeys(connection, retention=60, settle=5, quota=1000)
        yield made
        await made.aclose()


async def claimed(keys: SharedKeys, key: str = "k") -> Claimed:
    claim = await keys.claim("ada", key, new_token(), "print", searches=True, only_once=True)
    assert isinstance(claim, Claimed)
    return claim


async def stored_bytes(keys: SharedKeys) -> tuple[int, int]:
    """Return the recorded sum of the answers' sizes, and the sum of the recorded sizes."""
    recorded = int(await keys.connection.command("HGET", BYTES, "bytes") or 0)
    answers = await keys.connection.command("ZRANGE", SIZES, 0, -1)
    return recorded, sum(int(answer.split()[0]) for answer in answers)


async def test_an_answer_that_is_stored_again_counts_once(keys: SharedKeys) -> None:
    claim = await claimed(keys)
    for _ in range(3):
        await keys.finish("ada", "k", claim, "print", b"x" * 100, only_once=True)
    assert await stored_bytes(keys) == (100, 100)


@pytest.mark.parametrize("evicted", [SIZES, BYTES])
async def test_the_quota_is_exact_after_redis_has_evicted_a_part(keys: SharedKeys, evicted: str) -> None:
    for key in ("a", "b"):
        await keys.finish("ada", key, await claimed(keys, key), "print", b"x" * 400, only_once=True)
        if key == "a":
            await keys.connection.command("DEL", evicted)
    assert await stored_bytes(keys) == (400, 400)
    for key in "cdefgh":
        await keys.finish("ada", key, await claimed(keys, key), "print", b"x" * 400, only_once=True)
    assert await stored_bytes(keys) == (800, 800)


async def test_a_repeated_claim_still_names_the_earlier_attempt(keys: SharedKeys) -> None:
    """If the answer to a claim is lost, the replica claims again, and must still search for the earlier attempt."""
    await keys.give_up("ada", "k", await claimed(keys), "print", 5.0)
    token = new_token()
    for _ in range(2):
        claim = await keys.claim("ada", "k", token, "print", searches=True, only_once=True)
        assert isinstance(claim, Claimed)
        assert claim.settled_in is not None
        assert 4 < claim.settled_in <= 5


async def test_only_the_first_stored_answer_remains(redis_url: str) -> None:
    """Replicas act in a random order, repeat commands, and continue after their leases have expired."""
    chance = random.Random(13)
    async with connected(redis_url) as connection:
        replicas = [SharedKeys(connection, retention=60, settle=0, quota=10_000, lease=1) for _ in range(3)]
        for key in "abcdefgh":
            await _first_answer_remains(replicas, key, chance)
        recorded, answers = await stored_bytes(replicas[0])
        assert 0 < recorded == answers
        for one in replicas:
            await one.aclose()


async def _first_answer_remains(replicas: list[SharedKeys], key: str, chance: random.Random) -> None:
    running: list[tuple[SharedKeys, Claimed, bytes]] = []
    stored: bytes | None = None
    for _ in range(20):
        keys = chance.choice(replicas)
        claim = await keys.claim("ada", key, new_token(), "print", searches=True, only_once=True)
        if isinstance(claim, Done):
            assert stored in {None, claim.answer}
            stored = claim.answer
        else:
            assert stored is None
        if isinstance(claim, Claimed):
            running.append((keys, claim, b"x" * chance.randrange(1, 200)))
        if running and chance.random() < 0.4:
            keys, held, answer = chance.choice(running)
            if stored is not None or chance.random() < 0.4:
                await keys.finish("ada", key, held, "print", answer, only_once=True)
            elif chance.random() < 0.5:
                await keys.give_up("ada", key, held, "print", 0)
            else:
                await keys.free("ada", key, held)
        await asyncio.sleep(0.001)  # about as long as a lease
    keys, held, answer = running[-1]
    await keys.finish("ada", key, held, "print", answer, only_once=True)
    assert isinstance(await keys.claim("ada", key, new_token(), "print", searches=True, only_once=True), Done)


async def test_a_full_redis_stores_the_outcome_without_the_answer() -> None:
    with redis_server() as redis:
        async with connected(redis.url()) as connection:
            keys = SharedKeys(connection, retention=60, settle=5)
            held = await claimed(keys)
            redis.run("CONFIG", "SET", "maxmemory", "1")
            await keys.finish("ada", "k", held, "print", b"x" * 100, only_once=True)
            claim = await keys.claim("ada", "k", new_token(), "print", searches=True, only_once=True)
            assert claim == Done(None)
            assert await stored_bytes(keys) == (0, 0)
            await keys.aclose()
