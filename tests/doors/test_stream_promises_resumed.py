"""The promises of a stream, 8 to 13, at each of the four endpoints. The name of a test has the promise's number.

A client of the OpenAI endpoint resumes a stream at a GraphQL endpoint, with the id in the header ``X-Stream-Id``.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from app.drain import Stage
from tests.support.documents import COMPLETION, MESSAGE
from tests.support.doors import DOORS, Refused, events
from tests.support.following import conversation, following, joined, turn
from tests.support.promises import FOUR, Event, all_of, attached, ends, stack_on, started, until_text
from tests.support.stack import GraphQLSocket, Stack, opened_socket
from tests.support.streaming import completion, expected, message_input, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
at_each = pytest.mark.parametrize("door", FOUR)
at_graphql = pytest.mark.parametrize("door", DOORS)


def reads_at(door: str) -> str:
    """Return the endpoint at which a client of an endpoint resumes a stream."""
    return "event stream" if door == "openai" else door


@at_each
async def test_08_a_stream_can_be_resumed_after_every_cursor(promised: Stack, door: str) -> None:
    [begun, *_] = await all_of(started(promised, door, "tokens=6 delay=0.03"))
    stream_id, reader = begun["stream"]["id"], reads_at(door)
    async with started(promised, reader, "tokens=6 delay=0.03") as one:  # read live, so that deltas are not joined
        live = [event async for event in one]
    for whole, source in ((await all_of(attached(promised, reader, stream_id)), stream_id), (live, _id_of(live))):
        for number, event in enumerate(whole[:-1], 1):
            rest = await all_of(attached(promised, reader, source, event["cursor"]))
            heard = whole[:number] + rest
            assert (text_of(heard), ends(heard)) == (expected(6), ["COMPLETED"]), event["cursor"]
            assert [one["cursor"] for one in heard] == sorted({one["cursor"] for one in heard}, key=int)


def _id_of(heard: list[Event]) -> str:
    return str(heard[0]["stream"]["id"])


@at_graphql
async def test_08_a_turn_can_be_resumed_after_every_cursor(promised: Stack, door: str) -> None:
    given = {"i": message_input(await promised.make_agent(), "tokens=4 delay=0.03 reasoning=1"), "k": str(uuid.uuid4())}
    whole = [event async for event in events(promised, door, MESSAGE, given)]
    for number, event in enumerate(whole[:-1], 1):
        rest = await all_of(attached(promised, door, _id_of(whole), event["cursor"]))
        heard = whole[:number] + rest
        assert (text_of(heard), ends(heard)) == (expected(4), ["COMPLETED"]), event["cursor"]
        for kind in ("StreamStarted", "MessageAdded"):
            assert [one for one in heard if one["__typename"] == kind] == [
                one for one in whole if one["__typename"] == kind
            ]


@at_graphql
async def test_08_a_conversation_can_be_followed_after_every_cursor(promised: Stack, door: str) -> None:
    _, conversation_id = await conversation(promised)
    async with following(promised, door, conversation_id) as follower:
        first = await joined(promised, follower, conversation_id, "tokens=3 delay=0.03")
        second = await joined(promised, follower, conversation_id, "tokens=2 delay=0.03")
    for number, event in enumerate(first, 1):
        async with following(promised, door, conversation_id, event["cursor"]) as follower:
            rest = await turn(follower) if number < len(first) else []
            assert (text_of(first[:number] + rest), ends(first[:number] + rest)) == (expected(3), ["COMPLETED"])
            assert text_of(await turn(follower)) == text_of(second)


@at_each
async def test_08_a_reader_that_is_cut_off_resumes_a_running_stream(promised: Stack, door: str) -> None:
    async with started(promised, door, "tokens=30 delay=0.02", continues=True) as reading:
        heard = await until_text(reading)
    after = heard[-1].get("cursor")
    rest = await all_of(attached(promised, reads_at(door), _id_of(heard), after))
    assert text_of((heard if after else []) + rest) == expected(30)
    assert ends(rest) == ["COMPLETED"]


@at_graphql
async def test_08_a_reader_that_is_cut_off_resumes_a_running_turn(promised: Stack, door: str) -> None:
    given = {"i": message_input(await promised.make_agent(), "tokens=30 delay=0.02"), "k": str(uuid.uuid4())}
    before = (await promised.model_stats())["total"]
    async with aclosing(events(promised, door, MESSAGE, given)) as reading:
        heard = await until_text(reading)
    heard += await all_of(attached(promised, door, _id_of(heard), heard[-1]["cursor"]))
    again = [event async for event in events(promised, door, MESSAGE, given)]
    assert (text_of(heard), ends(heard), again[0]["replayed"]) == (expected(30), ["COMPLETED"], True)
    assert text_of(again) == expected(30)
    assert (await promised.model_stats())["total"] == before + 1


@at_graphql
async def test_08_a_stream_can_be_read_after_its_end(promised: Stack, door: str) -> None:
    heard = await all_of(started(promised, door, "tokens=2 delay=0"))
    stream_id = {"id": _id_of(heard)}
    read = await promised.graphql("query($id: ID!) { stream(id: $id) { status text lastCursor } }", stream_id)
    assert read["data"]["stream"] == {"status": "COMPLETED", "text": "tok0 tok1", "lastCursor": heard[-1]["cursor"]}
    again = await all_of(attached(promised, door, stream_id["id"], heard[-1]["cursor"]))
    assert [(event["__typename"], event["cursor"]) for event in again] == [("StreamEnded", heard[-1]["cursor"])]


@at_graphql
@pytest.mark.parametrize("cursor", ["-1", "99999", "x"])
async def test_08_a_cursor_that_does_not_belong_to_the_stream_is_refused(
    promised: Stack, door: str, cursor: str
) -> None:
    heard = await all_of(started(promised, door, "tokens=1 delay=0"))
    with pytest.raises(Refused) as refused:
        await all_of(attached(promised, door, _id_of(heard), cursor))
    assert refused.value.extensions["reason"] == "CURSOR"


@at_each
async def test_09_a_repeated_key_attaches_or_replays_and_pays_once(promised: Stack, door: str) -> None:
    key, before = str(uuid.uuid4()), (await promised.model_stats())["total"]
    async with started(promised, door, "tokens=20 delay=0.02", key=key) as reading:
        heard = await until_text(reading)
        during = asyncio.create_task(all_of(started(promised, door, "tokens=20 delay=0.02", key=key)))
        heard += [event async for event in reading]
    for one in (heard, await during, await all_of(started(promised, door, "tokens=20 delay=0.02", key=key))):
        assert (text_of(one), ends(one), _id_of(one)) == (expected(20), ["COMPLETED"], _id_of(heard))
    assert (await promised.model_stats())["total"] == before + 1


@at_each
async def test_09_a_key_is_refused_with_different_input(promised: Stack, door: str) -> None:
    key = str(uuid.uuid4())
    await all_of(started(promised, door, "tokens=1 delay=0", key=key))
    with pytest.raises(Refused) as refused:
        await all_of(started(promised, door, "tokens=2 delay=0", key=key))
    assert refused.value.extensions["reason"] == "KEY_REUSED"


@pytest.mark.parametrize("reader", DOORS)
@at_each
async def test_10_a_stream_is_read_at_another_endpoint_while_it_runs(promised: Stack, door: str, reader: str) -> None:
    before = (await promised.model_stats())["total"]
    async with started(promised, door, "tokens=12 delay=0.02") as reading:
        heard = await until_text(reading)
        other = asyncio.create_task(all_of(attached(promised, reader, _id_of(heard))))
        heard += [event async for event in reading]
    assert (text_of(heard), ends(heard)) == (expected(12), ["COMPLETED"])
    assert (text_of(await other), ends(await other)) == (expected(12), ["COMPLETED"])
    assert (await promised.model_stats())["total"] == before + 1


async def counts(stack: Stack) -> dict[str, float]:
    """Return the metrics of completions."""
    metrics = (await stack.client.get("/metrics")).text
    names = {
        "streams": r'agentgraph_streams_total\{kind="completion",outcome="completed"\}',
        "first": r'agentgraph_first_token_seconds_count\{kind="completion"\}',
        "gaps": r'agentgraph_frame_gap_seconds_count\{kind="completion"\}',
        "tokens": r'agentgraph_tokens_total\{direction="out",kind="completion"\}',
    }
    found = {name: re.search(rf"^{pattern} (\S+)$", metrics, re.MULTILINE) for name, pattern in names.items()}
    return {name: 0.0 if match is None else float(match[1]) for name, match in found.items()}


@at_each
async def test_11_a_stream_is_metered_and_its_usage_is_shown_only_on_request(promised: Stack, door: str) -> None:
    before = await counts(promised)
    heard = await all_of(started(promised, door, "tokens=5 delay=0"))
    after = await counts(promised)
    assert after["tokens"] - before["tokens"] == 5
    assert after["streams"] - before["streams"] == after["first"] - before["first"] == 1
    assert after["gaps"] - before["gaps"] >= 4
    if door == "openai":
        assert "Usage" not in {event["__typename"] for event in heard}
        asked = await all_of(started(promised, door, "tokens=5 delay=0", stream_options={"include_usage": True}))
        assert [event["completionTokens"] for event in asked if event["__typename"] == "Usage"] == [5]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outlived(promised: Stack) -> dict[str, list[Event]]:
    """Streams at all endpoints that run longer than the tokens with which they were started."""

    async def read(door: str) -> list[Event]:
        token, directive = promised.token(lifetime_seconds=1), "tokens=8 delay=0.2"
        began = time.monotonic()
        heard = await all_of(started(promised, door, directive, token=token))
        assert time.monotonic() - began > 1
        return heard

    return dict(zip(FOUR, await asyncio.gather(*map(read, FOUR)), strict=True))


@at_each
async def test_12_a_stream_outlives_its_token(outlived: dict[str, list[Event]], door: str) -> None:
    assert (text_of(outlived[door]), ends(outlived[door])) == (expected(8), ["COMPLETED"])


async def test_12_a_socket_with_an_expired_token_accepts_no_operation_and_closes(promised: Stack) -> None:
    given = {"i": completion(promised, "tokens=8 delay=0.2"), "k": str(uuid.uuid4())}
    async with opened_socket(promised, promised.token(lifetime_seconds=1)) as socket:
        first = await socket.subscribe(COMPLETION, given)
        heard: list[Any] = []
        while not any("tok6" in str(message) for message in heard):
            heard.append(await socket.hear())
        second = await socket.subscribe("{ viewer { id } }")
        code = await _closed(socket, heard)
    told = [str(message) for message in heard]
    assert any(second in message and "TOKEN_EXPIRED" in message for message in told)
    assert any(first in message and "complete" in message for message in told)
    assert code == 4403
    begun = heard[0]["payload"]["data"]["completion"]
    rest = await all_of(attached(promised, "websocket", begun["stream"]["id"], begun["cursor"]))
    assert text_of(rest) == expected(8)


async def _closed(socket: GraphQLSocket, heard: list[Any]) -> int:
    """Add all messages until the socket closes, and return the close code."""
    while True:
        try:
            heard.append(await socket.hear())
        except ConnectionClosed:
            return socket.socket.close_code or 1006


@at_each
async def test_13_readers_of_a_stopping_gateway_are_detached(adapter: str, door: str) -> None:
    async with stack_on(adapter) as stack, started(stack, door, "tokens=5000 delay=0.02") as reading:
        heard = await until_text(reading)
        stack.drain.advance(Stage.DRAINING)
        with pytest.raises(Refused) as refused:
            await all_of(started(stack, "openai", "tokens=1"))
        assert (refused.value.status, refused.value.extensions["reason"]) == (503, "DRAINING")
        heard += await until_text(reading)  # a stream that no other replica has goes on
        assert "ReaderDetached" not in {event["__typename"] for event in heard}
        stack.drain.advance(Stage.DETACHING)
        heard += [event async for event in reading]
    assert (heard[-1]["__typename"], heard[-1]["reason"]) == ("ReaderDetached", "DRAINING")
    assert ends(heard) == []
