"""Another process continues the turns of a process that has stopped."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from app.embedded.faults import Fault
from clients.errors import Conflict, UpstreamUnavailable
from clients.letta.messages import ApprovalRequestMessage, UserMessage
from clients.letta.sending import FollowedRun, SentMessage
from resolvers.messages import message_node_id
from resolvers.resources import Resources
from resolvers.sources import lookup, run_frames
from resolvers.sources.resuming import resumed_source
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded, TurnStarted
from resolvers.sources.turns import LettaSource
from resolvers.streams.events import (
    Ended,
    Entry,
    Event,
    ReasoningDelta,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.merging import split
from resolvers.streams.stream import Source
from tests.support.agent_models import statuses
from tests.support.lossy import answered, lossy_proxy
from tests.support.replicas import replica, request
from tests.support.stack import ADA, Stack, embedded_stack, until
from tests.support.streaming import expected

in_one_loop = pytest.mark.asyncio(loop_scope="module")
STEPS = "tool=conversation_search reasoning=2 tokens=4 delay=0"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with embedded_stack() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def taker(stack: Stack) -> AsyncIterator[Resources]:
    """The process that continues the turns."""
    async with replica(stack) as resources:
        yield resources


async def turn(resources: Resources, agent_id: str, directive: str, **more: Any) -> LettaSource:
    """Return the source of a turn that a process is about to begin."""
    context = request(resources)
    conversation = await context.access.conversation_ref(agent_id)
    content = [{"type": "text", "text": f"hi [[{directive}]]"}]
    return LettaSource(context, conversation, SentMessage(content=content, otid=str(uuid.uuid4())), **more)


async def read(source: Source, log: list[Entry], most: int = 1_000) -> list[Entry]:
    """Copy at most a number of a source's events into a log, as the pump does, and close the source."""
    async with aclosing(source.events()) as events:
        async for batch in events:
            for piece in (piece for event, _ in batch.events for piece in split(event)):
                log.append(Entry(len(log) + 1, piece, mark=source.mark))
            if len(log) >= most:
                break
    return log


def events_of(log: list[Entry]) -> list[Event]:
    return [entry.event for entry in log]


def deltas(log: list[Entry]) -> list[Event]:
    return [event for event in events_of(log) if isinstance(event, TextDelta | ToolCallDelta)]


def answer(log: list[Entry]) -> str:
    return "".join(event.text for event in events_of(log) if type(event) is TextDelta)


def added(log: list[Entry]) -> list[str]:
    return sorted(message_node_id(one.message) for one in events_of(log) if isinstance(one, MessageAdded))


def ended(log: list[Entry]) -> Ended:
    [end] = [event for event in events_of(log) if isinstance(event, Ended)]
    assert log[-1].event is end
    return end


def check_same(found: list[Entry], whole: list[Entry]) -> None:
    """Check that a log that was continued has the events of a log without an interruption."""
    assert deltas(found) == deltas(whole)
    assert added(found) == added(whole)
    assert [type(event) for event in events_of(found)].count(TurnStarted) == 1
    assert found[0].event == whole[0].event
    assert ended(found) == ended(whole)


@in_one_loop
async def test_a_turn_is_continued_after_every_event(stack: Stack, taker: Resources) -> None:
    source = await turn(taker, await stack.make_agent(), STEPS)
    recipe, whole = source.recipe(), await read(source, [])
    assert {TextDelta, ReasoningDelta, ToolCallDelta} <= {type(event) for event in events_of(whole)}
    assert answer(whole) == expected(4)
    marks = [entry.mark for entry in whole if isinstance(entry.event, TextDelta | ToolCallDelta)]
    assert marks == sorted(set(marks))
    assert sum(entry.mark for entry in whole) == sum(marks)
    assert ended(whole).outcome is StreamOutcome.COMPLETED
    assert ended(whole).usage is not None
    for length in range(1, len(whole)):
        log = whole[:length]
        check_same(await read(resumed_source(taker, recipe, log), log), whole)


@in_one_loop
async def test_a_turn_is_continued_while_it_runs(stack: Stack, taker: Resources) -> None:
    source = await turn(taker, await stack.make_agent(), "tokens=30 delay=0.01")
    recipe, log = source.recipe(), await read(source, [], 5)
    for length in (5, 10, 20, 1_000):
        stack.platform.state.calls.clear()
        await read(resumed_source(taker, recipe, log), log, length)
        assert not [call for call in stack.calls("letta") if call.endswith("/messages")]
    assert answer(log) == expected(30)
    assert len(added(log)) == len(set(added(log))) == 2
    assert (ended(log).outcome, ended(log).run_id) == (StreamOutcome.COMPLETED, source.run_id)


@in_one_loop
async def test_a_second_process_can_stop_too(stack: Stack, taker: Resources) -> None:
    source = await turn(taker, await stack.make_agent(), "tokens=6 delay=0")
    whole = await read(source, [])
    log = whole[:3]
    second = resumed_source(taker, source.recipe(), log)
    await read(second, log, 5)
    check_same(await read(resumed_source(taker, second.recipe(), log), log), whole)


@in_one_loop
async def test_a_run_that_another_program_started_is_continued(stack: Stack, taker: Resources) -> None:
    first = await turn(taker, await stack.make_agent(), "tokens=6 delay=0")
    await read(first, [])
    context = request(taker)
    run = await context.access.run(str(first.run_id))
    conversation = await context.access.conversation_ref(run.agent_id)
    source = LettaSource(context, conversation, FollowedRun(run_id=run.id, background=True))
    recipe, whole = source.recipe(), await read(source, [])
    assert answer(whole) == expected(6)
    for log in ([], whole[:1], whole[:4]):
        check_same(await read(resumed_source(taker, recipe, log), log), whole)


@in_one_loop
@pytest.mark.parametrize("cancels", [True, False])
async def test_a_source_that_is_continued_cancels_the_run_of_an_abandoned_stream(
    stack: Stack, taker: Resources, cancels: bool
) -> None:
    agent_id = await stack.make_agent()
    source = await turn(taker, agent_id, "tokens=400 delay=0.05", cancels=cancels)
    recipe, log = source.recipe(), await read(source, [], 3)
    continued = resumed_source(taker, recipe, log)
    await read(continued, log, 6)
    await continued.abandoned()
    assert await statuses(stack, agent_id) == (["CANCELLED"] if cancels else ["RUNNING"])


@in_one_loop
async def test_a_recipe_has_no_text_and_no_key(stack: Stack, taker: Resources) -> None:
    recipe = (await turn(taker, await stack.make_agent(), "tokens=1", max_cost=Decimal(1))).recipe()
    user = stack.platform.state.users[ADA]
    texts = ["hi [[", user.litellm_key or "", stack.platform.options.letta_key, user.email]
    assert all(text and text.encode() not in recipe for text in texts)
    assert len(recipe) < 1_000


@in_one_loop
async def test_a_turn_that_waits_for_approval_is_continued(stack: Stack, taker: Resources) -> None:
    source = await turn(taker, await stack.make_agent(), "tool=conversation_search approve=1")
    recipe, whole = source.recipe(), await read(source, [])
    assert [type(one.message) for one in events_of(whole) if isinstance(one, ApprovalRequested)] == [
        ApprovalRequestMessage
    ]
    for length in range(1, len(whole)):
        log = whole[:length]
        check_same(await read(resumed_source(taker, recipe, log), log), whole)


@in_one_loop
@pytest.mark.parametrize("directive", ["tokens=2 error=500", "tokens=2 error=429"])
async def test_a_failed_turn_is_continued_to_its_failure(stack: Stack, taker: Resources, directive: str) -> None:
    source = await turn(taker, await stack.make_agent(), directive)
    recipe, whole = source.recipe(), await read(source, [])
    assert ended(whole).outcome is StreamOutcome.FAILED
    log = whole[:1]
    check_same(await read(resumed_source(taker, recipe, log), log), whole)


@in_one_loop
async def test_a_turn_that_letta_does_not_replay_is_continued_with_messages(
    taker: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_frames, "POLL_SECONDS", 0.02)
    async with embedded_stack(letta_redis=False) as stack, replica(stack) as resources:
        source = await turn(resources, await stack.make_agent(), "tokens=20 delay=0.01")
        recipe, log = source.recipe(), await read(source, [], 4)
        started = log[0].event
        assert isinstance(started, TurnStarted)
        assert not started.resumable
        assert {entry.mark for entry in log} == {0}
        before = answer(log)
        await read(resumed_source(resources, recipe, log), log)
    assert answer(log) == before != expected(20)
    assert len(added(log)) == len(set(added(log))) == 2
    texts = [getattr(one.message, "text", "") for one in events_of(log) if isinstance(one, MessageAdded)]
    assert expected(20) in texts
    assert ended(log).outcome is StreamOutcome.COMPLETED


@in_one_loop
async def test_a_run_whose_frames_letta_has_lost_is_continued_with_messages(
    stack: Stack, taker: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_frames, "ENDED_SECONDS", 0.1)
    source = await turn(taker, await stack.make_agent(), "tokens=5 delay=0")
    recipe, whole = source.recipe(), await read(source, [])
    stack.platform.state.runs[str(source.run_id)].frames.clear()  # Letta's Redis has restarted: Letta never answers
    log = whole[:3]
    await read(resumed_source(taker, recipe, log), log)
    assert deltas(log) == deltas(whole[:3])
    assert (added(log), ended(log).outcome) == (added(whole), StreamOutcome.COMPLETED)


@in_one_loop
async def test_a_turn_whose_first_event_is_missing_is_found_by_its_message(stack: Stack, taker: Resources) -> None:
    source = await turn(taker, await stack.make_agent(), "tokens=4 delay=0")
    recipe, whole = source.recipe(), await read(source, [])
    stack.platform.state.calls.clear()
    log = await read(resumed_source(taker, recipe, []), [])
    assert not [call for call in stack.calls("letta") if call.startswith("POST") and call.endswith("/messages")]
    assert (deltas(log), added(log), ended(log)) == (deltas(whole), added(whole), ended(whole))
    started = log[0].event
    assert isinstance(started, TurnStarted)
    assert isinstance(started.user_message, UserMessage)
    assert (started.run_id, started.user_message.text) == (source.run_id, "hi [[tokens=4 delay=0]]")


@in_one_loop
async def test_a_message_that_letta_does_not_have_is_not_sent(
    stack: Stack, taker: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(lookup, "SEARCH_SECONDS", 0.05)
    agent_id = await stack.make_agent()
    recipe = (await turn(taker, agent_id, "tokens=4")).recipe()
    with pytest.raises(Conflict) as refused:
        await read(resumed_source(taker, recipe, []), [])
    assert refused.value.reason == "OUTCOME_UNKNOWN"
    assert "same key" in refused.value.message
    assert not [run for run in stack.platform.state.runs.values() if run.body["agent_id"] == agent_id]


@in_one_loop
async def test_a_continued_turn_keeps_the_bound_on_its_cost(stack: Stack, taker: Resources) -> None:
    most = Decimal("0.0001")
    source = await turn(taker, await stack.make_agent(), "tokens=2000 delay=0.002", max_cost=most)
    recipe, log = source.recipe(), await read(source, [], 20)
    await read(resumed_source(taker, recipe, log), log)
    error = ended(log).error
    assert error is not None
    assert (error.code, error.reason) == ("BUDGET_EXCEEDED", "MAX_COST")
    assert expected(2000).startswith(answer(log))
    run = stack.platform.state.runs[str(source.run_id)]
    await until(lambda: run.over)
    assert run.body["status"] == "cancelled"


@in_one_loop
async def test_a_turn_whose_bound_cannot_be_enforced_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.sources.patience.PAUSES", (0.01,))
    async with embedded_stack() as stack, replica(stack) as resources:
        source = await turn(resources, await stack.make_agent(), "tokens=2000 delay=0.01", max_cost=Decimal(1))
        recipe, log = source.recipe(), await read(source, [], 5)
        await stack.servers["litellm"].stop()
        with pytest.raises(UpstreamUnavailable):
            await read(resumed_source(resources, recipe, log), log)
        run = stack.platform.state.runs[str(source.run_id)]
        await until(lambda: run.over)
    assert run.body["status"] == "cancelled"


@in_one_loop
async def test_a_turn_is_continued_after_letta_was_unavailable(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.sources.patience.PAUSES", (0.02,) * 50)
    async with lossy_proxy() as proxy, replica(stack, letta_base_url=proxy.url) as resources:
        proxy.target = stack.servers["letta"].url
        source = await turn(resources, await stack.make_agent(), "tokens=20 delay=0.01")
        recipe, log = source.recipe(), await read(source, [], 5)
        stack.platform.faults["letta"] = Fault(status=502)
        stack.platform.state.calls.clear()
        proxy.lose("/stream", answered(502, asks=False), times=2)
        taking = asyncio.create_task(read(resumed_source(resources, recipe, log), log))
        await until(lambda: len(stack.calls("letta")) >= 2)
        del stack.platform.faults["letta"]
        await taking
    assert proxy.losses == []
    assert answer(log) == expected(20)
    assert ended(log).outcome is StreamOutcome.COMPLETED
