"""The connection to Letta breaks during a turn. Readers notice nothing as long as Letta has the rest of the turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from resolvers.sources import patience, run_frames, turns
from tests.support.documents import MESSAGE
from tests.support.doors import events
from tests.support.lossy import CUT, MUTE, SEND_PATH, Loss, Lossy, answered, cut_after, lossy_stack
from tests.support.stack import Stack, until
from tests.support.streaming import expected, message_input, stored_messages, text_of

REPLAY_PATH = "/stream"
GONE = answered(410, b'{"detail":"Run was created more than 3 hours ago, and is now expired."}', asks=False)
NO_REDIS = answered(503, b'{"detail":"Background streaming requires Redis to be running."}', asks=False)
AWAY = answered(502, asks=False)
STOP = b'"stop_reason":"end_turn'
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01,) * 3)
    monkeypatch.setattr(run_frames, "POLL_SECONDS", 0.02)


def after_text(text: bytes) -> Loss:
    """Cut an answer at a text, which still arrives."""
    found = False

    def cutting(data: bytes) -> bytes:
        nonlocal found
        if found:
            raise ConnectionError
        found = text in data
        return data[: data.index(text) + len(text)] + b'"}\n\n' if found else data

    return Loss(edit=cutting)


def after_bytes(size: int) -> Loss:
    """End an answer after the first bytes."""
    left = size

    def cutting(data: bytes) -> bytes:
        nonlocal left
        if not left:
            raise ConnectionError
        kept, left = data[:left], max(left - len(data), 0)
        return kept

    return Loss(edit=cutting)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lossy() -> AsyncIterator[tuple[Stack, Lossy]]:
    async with lossy_stack() as running:
        yield running


async def turn(running: tuple[Stack, Lossy], *losses: tuple[str, Loss], **more: str) -> list[dict[str, Any]]:
    """Read a turn to its end while Letta's answers are lost. Check that the message was sent once."""
    stack, proxy = running
    agent_id = await stack.make_agent()
    for path, loss in losses:
        proxy.lose(path, loss)
    found = await said(stack, agent_id, **more)
    assert not proxy.losses
    assert not proxy.edits
    await until(lambda: stored_messages(stack, agent_id))
    assert len(stored_messages(stack, agent_id)) == 1
    return found


async def said(
    stack: Stack, agent_id: str, directive: str = "tokens=20 delay=0.01", door: str = "websocket"
) -> list[dict[str, Any]]:
    """Send the message, or attach to its turn, and read the stream to its end."""
    asked = {"i": message_input(agent_id, directive), "k": f"k-{agent_id}"}
    found = [event async for event in events(stack, door, MESSAGE, asked)]
    assert [event["__typename"] for event in found].count("StreamStarted") == 1
    assert [event["__typename"] for event in found].count("StreamEnded") == 1
    return found


def whole(heard: list[dict[str, Any]]) -> None:
    assert (heard[-1]["outcome"], heard[-1]["error"]) == ("COMPLETED", None)
    assert text_of(heard) == expected(20)
    assert messages(heard) == ["UserMessage", "AssistantMessage"]


def partly(heard: list[dict[str, Any]]) -> None:
    """Check that a part of the text has arrived as deltas, and the whole text as a message."""
    assert expected(20).startswith(text_of(heard))
    assert 0 < len(text_of(heard)) < len(expected(20))
    assert heard[-1]["outcome"] == "COMPLETED"
    assert messages(heard) == ["UserMessage", "AssistantMessage"]
    [answer] = [event["edge"]["node"] for event in heard if event["__typename"] == "MessageAdded"][1:]
    assert answer["text"] == expected(20)


def messages(heard: list[dict[str, Any]]) -> list[str]:
    return [event["edge"]["node"]["__typename"] for event in heard if event["__typename"] == "MessageAdded"]


@in_one_loop
@pytest.mark.parametrize("door", ["websocket", "event stream"])
async def test_a_turn_continues_where_its_connection_broke(lossy: tuple[Stack, Lossy], door: str) -> None:
    found = await turn(lossy, (SEND_PATH, cut_after(4)), *[(REPLAY_PATH, cut_after(2)) for _ in range(5)], door=door)
    whole(found)
    assert found[-1]["usage"]["completionTokens"] == 20


@in_one_loop
@pytest.mark.parametrize("size", [1, 7, 40])
async def test_a_turn_continues_after_a_replay_that_breaks_off_in_its_first_frame(
    lossy: tuple[Stack, Lossy], size: int
) -> None:
    whole(await turn(lossy, (SEND_PATH, cut_after(4)), (REPLAY_PATH, after_bytes(size))))


@in_one_loop
async def test_a_turn_continues_although_letta_refuses_two_attempts(lossy: tuple[Stack, Lossy]) -> None:
    whole(await turn(lossy, (SEND_PATH, cut_after(4)), (REPLAY_PATH, AWAY), (REPLAY_PATH, CUT)))


@in_one_loop
async def test_a_turn_keeps_its_usage_if_the_connection_breaks_after_the_stop_reason(
    lossy: tuple[Stack, Lossy],
) -> None:
    found = await turn(lossy, (SEND_PATH, after_text(STOP)))
    whole(found)
    assert found[-1]["usage"]["completionTokens"] == 20


@in_one_loop
async def test_a_turn_completes_if_only_its_usage_is_lost(lossy: tuple[Stack, Lossy]) -> None:
    whole(await turn(lossy, (SEND_PATH, after_text(STOP)), (REPLAY_PATH, GONE)))


@in_one_loop
async def test_a_turn_completes_if_letta_does_not_answer_after_the_stop_reason(
    lossy: tuple[Stack, Lossy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_frames, "ENDED_SECONDS", 0.1)
    whole(await turn(lossy, (SEND_PATH, after_text(STOP)), (REPLAY_PATH, MUTE)))


async def test_a_turn_continues_after_its_breaker_has_closed() -> None:
    """A short failure opens the breaker for longer than all pauses together."""
    async with lossy_stack(breaker_failures=1, breaker_reset_seconds=0.3) as running:
        whole(await turn(running, (SEND_PATH, cut_after(4)), (REPLAY_PATH, AWAY)))


@in_one_loop
async def test_an_answer_that_ends_without_a_stop_reason_is_continued(lossy: tuple[Stack, Lossy]) -> None:
    def without_end(data: bytes) -> bytes:
        return data if b'"assistant_message"' in data or b'"ping"' in data else b": quiet\n\n"

    whole(await turn(lossy, (SEND_PATH, Loss(edit=without_end))))


@in_one_loop
@pytest.mark.parametrize("refusal", [GONE, NO_REDIS], ids=["410", "503"])
async def test_the_rest_arrives_as_messages_if_letta_does_not_replay_the_run(
    lossy: tuple[Stack, Lossy], refusal: Loss
) -> None:
    partly(await turn(lossy, (SEND_PATH, cut_after(6)), (REPLAY_PATH, refusal)))


async def test_the_rest_of_a_foreground_run_arrives_as_messages() -> None:
    async with lossy_stack(letta_redis=False) as running:
        partly(await turn(running, (SEND_PATH, NO_REDIS), (SEND_PATH, cut_after(6))))


@in_one_loop
async def test_all_messages_arrive_although_they_fill_several_pages(
    lossy: tuple[Stack, Lossy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "READ_BACK", 2)
    directive = "tool=conversation_search reasoning=1 tokens=20 delay=0.01"
    found = await turn(lossy, (SEND_PATH, cut_after(8)), (REPLAY_PATH, GONE), directive=directive)
    kinds = ["UserMessage", "ToolCallMessage", "ToolReturnMessage", "ReasoningMessage", "AssistantMessage"]
    assert sorted(messages(found)) == sorted(kinds)


@in_one_loop
async def test_a_replay_that_lacks_frames_is_not_read(lossy: tuple[Stack, Lossy]) -> None:
    def later(data: bytes) -> bytes:
        return b"" if b"tok" in data and b"tok19" not in data else data

    partly(await turn(lossy, (SEND_PATH, cut_after(6)), (REPLAY_PATH, Loss(edit=later))))


@in_one_loop
async def test_a_turn_fails_if_letta_stays_unavailable(lossy: tuple[Stack, Lossy]) -> None:
    stack, proxy = lossy
    agent_id = await stack.make_agent()
    proxy.lose(SEND_PATH, cut_after(4))
    proxy.lose(REPLAY_PATH, AWAY, times=3)
    first = await said(stack, agent_id, "tokens=40 delay=0.02")
    assert (first[-1]["outcome"], first[-1]["error"]["reason"]) == ("FAILED", "CUT")
    again = await said(stack, agent_id, "tokens=40 delay=0.02")
    assert (again[0]["replayed"], again[-1]["outcome"], text_of(again)) == (True, "COMPLETED", expected(40))
    assert len(stored_messages(stack, agent_id)) == 1


@in_one_loop
async def test_a_refused_replay_is_not_repeated(lossy: tuple[Stack, Lossy]) -> None:
    found = await turn(lossy, (SEND_PATH, cut_after(4)), (REPLAY_PATH, answered(401, asks=False)))
    assert (found[-1]["outcome"], found[-1]["error"]["reason"]) == ("FAILED", "CUT")


@in_one_loop
async def test_a_turn_that_was_cancelled_meanwhile_ends_cancelled(lossy: tuple[Stack, Lossy]) -> None:
    stack, proxy = lossy
    agent_id = await stack.make_agent()
    proxy.lose(SEND_PATH, cut_after(4))
    asked = {"i": message_input(agent_id, "tokens=500 delay=0.01"), "k": agent_id}
    found = []
    async for event in events(stack, "websocket", MESSAGE, asked):
        found.append(event)
        if len(found) == 10:
            [run] = [one for one in stack.platform.state.runs.values() if one.body["agent_id"] == agent_id]
            assert run.task is not None
            run.task.cancel()
    assert found[-1]["outcome"] == "CANCELLED"


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_turn_fails_if_letta_sends_only_keep_alive_frames_after_a_break(
    breaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.embedded.letta.runs.PING_SECONDS", 0.02)
    async with lossy_stack(stream_idle_seconds=0.2) as running:
        losses = [(SEND_PATH, cut_after(2))] if breaks else []
        found = await turn(running, *losses, directive="tokens=2 delay=0.5")
    reason = (found[-1]["error"] or {"reason": None})["reason"]
    assert (found[-1]["outcome"], reason) == (("FAILED", "CUT") if breaks else ("COMPLETED", None))
