from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from app.signin import issuer
from app.signin.issuer import COOL_DOWN_SECONDS, MAX_WAITING, IssuerKeys
from app.signin.keys import VerifyingKey
from clients.codes import Reason
from clients.errors import Overloaded, Service, Unauthenticated, UpstreamUnavailable
from tests.support.scripted_streams import refuses
from tests.support.stack import until

DOWN = UpstreamUnavailable("down", reason=Reason.CONNECT, service=Service.SUPABASE)
OLD, NEW = VerifyingKey("ES256", "old"), VerifyingKey("ES256", "new")


class Project:
    """An issuer whose clock, keys and failures a test sets."""

    def __init__(self, **keys: VerifyingKey) -> None:
        self.now = 1000.0
        self.published: Mapping[str, VerifyingKey] = keys
        self.failure: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.removed: list[str] = []
        self.keys = IssuerKeys(self.fetch, clock=lambda: self.now)
        self.keys.on_removed(self.removed.extend)

    async def fetch(self) -> Mapping[str, VerifyingKey]:
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return self.published

    def fail(self) -> None:
        self.failure = DOWN


async def test_many_requests_at_the_start_cause_one_fetch() -> None:
    project = Project(a=OLD)
    assert await asyncio.gather(*(project.keys.fetched("a") for _ in range(200))) == [OLD] * 200
    assert project.keys.fetches == 1


async def test_unknown_keys_cause_one_fetch_per_cool_down() -> None:
    project = Project(a=OLD)
    for periods in range(1, 4):
        for number in range(100):
            with pytest.raises(Unauthenticated):
                await project.keys.fetched(f"unknown {number}")
        assert project.keys.fetches == periods
        project.now += COOL_DOWN_SECONDS


async def test_a_new_key_is_found_by_the_fetch_that_its_first_token_causes() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    project.now += COOL_DOWN_SECONDS
    project.published = {"a": OLD, "b": NEW}
    assert await asyncio.gather(*(project.keys.fetched("b") for _ in range(200))) == [NEW] * 200
    assert (project.keys.fetches, project.removed) == (2, [])


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh keys without a pause."""
    monkeypatch.setattr(issuer, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(issuer, "COOL_DOWN_SECONDS", 0.0)


@pytest.mark.usefixtures("soon")
async def test_known_keys_are_refreshed_in_the_background() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    project.may_answer.clear()
    await until(lambda: project.keys.fetches == 2)
    assert project.keys.known("a") is OLD
    project.published = {"a": OLD, "b": NEW}
    project.may_answer.set()
    await until(lambda: project.keys.known("b") is NEW)
    assert project.keys.known("a") is OLD
    assert not project.removed
    await project.keys.aclose()


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), DOWN])
async def test_keys_are_fetched_again_soon_after_a_failure(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    monkeypatch.setattr(issuer, "COOL_DOWN_SECONDS", 0.0)
    project = Project(a=OLD)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    project.failure = failure
    await asyncio.wait([project.keys.refresh()])
    project.failure = None
    await until(lambda: project.keys.known("a") is OLD)
    await project.keys.aclose()


async def test_keys_are_fetched_again_soon_if_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "COOL_DOWN_SECONDS", 0.0)
    project = Project(a=OLD)
    await project.keys.refresh()
    project.published = {"b": NEW}
    await project.keys.refresh()
    await until(lambda: project.removed == ["a"])
    await project.keys.aclose()


@pytest.mark.usefixtures("soon")
async def test_no_refresh_follows_the_end() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    await project.keys.aclose()
    for _ in range(3):
        await asyncio.sleep(0)
    assert project.keys.fetches == 1


async def test_a_key_is_removed_if_two_answers_lack_it() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    project.published = {}
    await project.keys.refresh()
    assert project.keys.known("a") is OLD
    await project.keys.refresh()
    assert project.keys.known("a") is None
    assert project.removed == ["a"]


async def test_a_key_that_one_answer_lacks_is_kept() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    for published in ({}, {"a": OLD}, {}, {"a": OLD}):
        project.published = published
        await project.keys.refresh()
        assert project.keys.known("a") is OLD
    assert not project.removed


async def test_a_replaced_key_is_removed_at_once() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    project.published = {"a": NEW}
    await project.keys.refresh()
    assert project.keys.known("a") is NEW
    assert project.removed == ["a"]


async def test_while_the_issuer_is_down_known_keys_verify_and_unknown_ones_are_retryable() -> None:
    project = Project(a=OLD)
    await project.keys.refresh()
    project.fail()
    for _ in range(5):
        project.now += COOL_DOWN_SECONDS
        assert project.keys.known("a") is OLD
        with refuses(UpstreamUnavailable, "ISSUER"):
            await project.keys.fetched("b")
    assert project.keys.fetches == 6


async def test_unknown_keys_are_retryable_until_the_first_fetch_succeeds() -> None:
    project = Project(a=OLD)
    project.fail()
    with refuses(UpstreamUnavailable, "ISSUER"):
        await project.keys.fetched("a")
    project.failure = None
    with refuses(UpstreamUnavailable, "ISSUER"):
        await project.keys.fetched("a")
    project.now += COOL_DOWN_SECONDS
    assert await project.keys.fetched("a") is OLD


@pytest.mark.bound("issuer-waiting")
async def test_more_requests_than_may_wait_for_a_fetch_are_refused() -> None:
    project = Project(a=OLD)
    project.may_answer.clear()
    waiting = [asyncio.create_task(project.keys.fetched("a")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with refuses(Overloaded, "ISSUER"):
        await project.keys.fetched("a")
    project.may_answer.set()
    assert await asyncio.gather(*waiting) == [OLD] * MAX_WAITING


async def test_a_request_that_leaves_does_not_cancel_the_fetch() -> None:
    project = Project(a=OLD)
    project.may_answer.clear()
    waiting = [asyncio.create_task(project.keys.fetched("a")) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    project.may_answer.set()
    assert await waiting[1] is OLD
    assert project.keys.fetches == 1


async def test_closing_cancels_a_fetch() -> None:
    project = Project()
    project.may_answer.clear()
    fetch = project.keys.refresh()
    await project.keys.aclose()
    assert fetch.cancelled()


async def test_closing_stops_the_refresh_of_a_fetch_that_has_just_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "REFRESH_SECONDS", 0)
    project = Project(a=OLD)
    fetch = project.keys.refresh()
    while not fetch.done():
        await asyncio.sleep(0)
    await project.keys.aclose()
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0, later.set)
    await later.wait()
    assert project.keys.fetches == 1
