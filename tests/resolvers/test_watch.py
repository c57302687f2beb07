from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from clients.codes import Reason
from clients.errors import NotFound, RateLimited, UpstreamUnavailable
from clients.letta.records import RunRecord
from clients.owned import ConversationRef, OwnedAgentId
from resolvers import watch as watching
from resolvers.watch import BUSY_POLLS, MAX_FOLLOWS, MAX_SLOWDOWN, Watch, Watches
from tests.support.owned import conversation, owned
from tests.support.scripted_streams import refuses

AGENT = owned(OwnedAgentId, "agent-1")
DEFAULT, OTHER = conversation(), conversation("conv-1")


def run(number: int, conversation_id: str | None = None, status: str = "running") -> RunRecord:
    return RunRecord(id=f"run-{number}", agent_id=AGENT, conversation_id=conversation_id, raw_status=status)


class Platform:
    """A Letta and an AMS that count their requests."""

    def __init__(self) -> None:
        self.runs: list[RunRecord] = []
        self.polls = 0
        self.proofs: list[str] = []
        self.gone: set[str] = set()
        self.failure: Exception | None = None

    def reads(self, user: str = "ada") -> Reads:
        return Reads(self, user)


class Reads:
    agent_id = AGENT

    def __init__(self, platform: Platform, owner_id: str) -> None:
        self.owner_id = owner_id
        self.platform = platform

    def renewed(self) -> Reads:
        return self

    async def runs(self, limit: int) -> list[RunRecord]:
        self.platform.polls += 1
        await asyncio.sleep(0)
        if self.platform.failure is not None:
            raise self.platform.failure
        return self.platform.runs

    async def prove(self, conversation: ConversationRef) -> None:
        self.platform.proofs.append(conversation)
        if conversation in self.platform.gone:
            raise NotFound("The conversation does not exist.")


@contextmanager
def followed(
    platform: Platform,
    followed_conversation: ConversationRef = DEFAULT,
    *,
    user: str = "ada",
    watches: Watches | None = None,
    interval: float = 60,
) -> Iterator[Watch]:
    with (watches or Watches()).following(platform.reads(user), followed_conversation, interval) as watch:
        yield watch


async def test_follows_that_begin_together_share_a_poll_and_see_their_own_conversation() -> None:
    platform, watches = Platform(), Watches()
    platform.runs = [run(1), run(2, "conv-1"), RunRecord(id="run-3", agent_id="agent-2")]
    with followed(platform, watches=watches) as one, followed(platform, OTHER, watches=watches) as other:
        assert one is other
        found = await asyncio.gather(*(one.fresh(DEFAULT) for _ in range(20)), other.fresh(OTHER))
    assert [[each.id for each in runs] for runs in found] == [["run-1"]] * 20 + [["run-2"]]
    assert platform.polls == 1


async def test_users_share_no_watch() -> None:
    platform, watches = Platform(), Watches()
    with followed(platform, watches=watches) as ada, followed(platform, user="grace", watches=watches) as grace:
        assert ada is not grace
        await asyncio.gather(ada.fresh(DEFAULT), grace.fresh(DEFAULT))
    assert platform.polls == 2


async def test_polls_stop_without_waiting_readers_and_a_new_follow_starts_them() -> None:
    platform, watches = Platform(), Watches()
    for _ in range(2):
        with followed(platform, watches=watches, interval=0.001) as watch:
            await watch.fresh(DEFAULT)
            polls = platform.polls
            await asyncio.sleep(0.05)
            assert platform.polls == polls
    assert platform.polls == 2


async def test_a_failed_poll_fails_new_follows_and_is_repeated() -> None:
    platform = Platform()
    platform.failure = UpstreamUnavailable("The gateway cannot connect to Letta.", reason=Reason.CONNECT)
    with followed(platform, interval=0.01) as watch:
        failures = await asyncio.gather(*(watch.fresh(DEFAULT) for _ in range(3)), return_exceptions=True)
        assert [(type(one), one.reason) for one in failures] == [(UpstreamUnavailable, "CONNECT")] * 3  # type: ignore[union-attr]
        assert len(set(map(id, failures))) == 3
        platform.failure, platform.runs = None, [run(1)]
        await asyncio.sleep(0.02)
        assert await watch.fresh(DEFAULT) == [run(1)]


async def test_a_conversation_is_proved_once_for_all_its_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FRESH_SECONDS", 0.0)
    platform, watches = Platform(), Watches()
    with followed(platform, watches=watches) as watch, followed(platform, watches=watches):
        await asyncio.gather(*(watch.fresh(DEFAULT) for _ in range(5)))
    assert platform.proofs == [DEFAULT]


async def test_ownership_is_proved_before_changed_runs_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FRESH_SECONDS", 0.0)
    platform = Platform()
    with followed(platform) as watch:
        await watch.fresh(DEFAULT)
        await watch.fresh(DEFAULT)
        assert platform.proofs == [DEFAULT]
        platform.runs = [run(1)]
        await watch.fresh(DEFAULT)
        assert platform.proofs == [DEFAULT] * 2
        platform.runs = [run(1, status="completed")]
        await watch.fresh(DEFAULT)
    assert platform.proofs == [DEFAULT] * 3


async def test_a_deleted_conversation_fails_only_its_own_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FRESH_SECONDS", 0.0)
    platform, watches = Platform(), Watches()
    platform.gone.add("conv-1")
    with followed(platform, watches=watches) as watch, followed(platform, OTHER, watches=watches):
        assert await watch.fresh(DEFAULT) == []
        with pytest.raises(NotFound):
            await watch.fresh(OTHER)


async def test_an_idle_agent_is_polled_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "JITTER", 0.0)
    platform = Platform()

    async def interval(watch: Watch) -> float:
        await watch.poll()
        assert watch.newest is not None
        return round(watch.due - watch.newest.began, 6)

    with followed(platform, interval=3) as watch:
        intervals = [await interval(watch) for _ in range(BUSY_POLLS * MAX_SLOWDOWN + 10)]
        assert set(intervals[:BUSY_POLLS]) == {3.0}
        assert intervals == sorted(intervals)
        assert intervals[-1] == 3 * MAX_SLOWDOWN
        platform.runs = [run(1)]
        assert await interval(watch) == 3
        platform.failure = UpstreamUnavailable("The gateway cannot connect to Letta.", reason=Reason.CONNECT)
        assert [await interval(watch) for _ in range(BUSY_POLLS * MAX_SLOWDOWN)][-1] == 3 * MAX_SLOWDOWN


async def test_a_new_reader_restores_the_full_rate_of_polls() -> None:
    platform = Platform()
    with followed(platform, interval=0.001) as watch:
        for _ in range(BUSY_POLLS * MAX_SLOWDOWN):
            await watch.poll()
        watch.due += 3600
        before = platform.polls
        with watch.waiting():
            async with asyncio.timeout(5):
                while platform.polls < before + 3:
                    await asyncio.sleep(0.001)


def test_the_bound_on_the_follows_of_a_user() -> None:
    platform, watches = Platform(), Watches()
    follows = [followed(platform, watches=watches) for _ in range(MAX_FOLLOWS)]
    watch = weakref.ref(follows[0].__enter__())
    for one in follows[1:]:
        one.__enter__()
    with refuses(RateLimited, "FOLLOWS"), followed(platform, watches=watches):
        pass
    with followed(platform, user="grace", watches=watches):
        pass
    follows[0].__exit__(None, None, None)
    with followed(platform, watches=watches):
        pass
    for one in follows[1:]:
        one.__exit__(None, None, None)
    gc.collect()
    assert watch() is None
    with ExitStack() as stack:
        for _ in range(MAX_FOLLOWS):
            stack.enter_context(followed(platform, watches=watches))
