"""The stores of the cache: what holds for memory and for Redis alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from clients.state.cache import CacheStore, Claim, MemoryCacheStore, Place, Tag, Versions
from clients.state.redis_cache import RedisCacheStore
from tests.support.state import connected


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[CacheStore]:
    if request.param == "memory":
        yield MemoryCacheStore()
        return
    async with connected(request.getfixturevalue("redis_url")) as connection:
        yield RedisCacheStore(connection)


def test_a_record_has_the_versions_of_its_tags() -> None:
    versions = Versions("e", {"agents": "3", "spend": "1"})
    assert versions.of([]) == "e"
    assert versions.of([Tag.AGENTS, Tag.PROFILE]) == "e.3.0"


async def test_versions_stay_until_a_tag_is_dropped(store: CacheStore) -> None:
    first = await store.versions("ada")
    assert first.is_shared
    assert await store.versions("ada") == first
    await store.drop("ada", [Tag.AGENTS, Tag.SPEND])
    second = await store.versions("ada")
    for tag in Tag:
        assert (second.of([tag]) == first.of([tag])) is (tag not in {Tag.AGENTS, Tag.SPEND})
    await store.drop("ada", [Tag.AGENTS])
    assert (await store.versions("ada")).of([Tag.AGENTS]) not in {first.of([Tag.AGENTS]), second.of([Tag.AGENTS])}


async def test_each_user_has_versions_of_their_own(store: CacheStore) -> None:
    ada, grace = await store.versions("ada"), await store.versions("grace")
    assert ada.epoch != grace.epoch
    await store.drop("ada", list(Tag))
    assert await store.versions("grace") == grace


async def test_a_drop_before_the_first_read_is_no_error(store: CacheStore) -> None:
    await store.drop("new", [Tag.AGENTS])
    assert list((await store.versions("new")).of_tags) == [Tag.AGENTS]


async def test_a_claim_is_granted_and_released(store: CacheStore) -> None:
    place = Place("ada", "n", (Tag.AGENTS,), (await store.versions("ada")).of([Tag.AGENTS]))
    for _ in range(2):
        assert await store.claim(place, "t") == Claim(is_granted=True)
        await store.release(place, "t")
    assert await store.get(place) is None
    await store.put(place, b"value", 0.0, "t")


@pytest.mark.bound("cache-versions")
async def test_versions_that_were_lost_never_return() -> None:
    store = MemoryCacheStore(max_owners=2)
    first = await store.versions("ada")
    for other in ("grace", "alan"):
        await store.versions(other)
    assert (await store.versions("ada")).epoch != first.epoch
