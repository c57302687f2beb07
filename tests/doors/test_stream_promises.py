"""The promises of a stream, 1 to 7, at each of the four endpoints. The name of a test has the promise's number."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio

from app import composition
from clients.origin import Owner
from resolvers.streams.events import TextDelta
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import StreamLimits, StreamMetrics
from tests.support.documents import COMPLETION
from tests.support.doors import DOORS, Refused
from tests.support.promises import FOUR, all_of, attached, ends, paused, raw_body, stack_on, started, until_text
from tests.support.rawsocket import Op, frame, raw_socket, text
from tests.support.stack import ADA, Stack, until
from tests.support.streaming import completion, expected, text_of, upstream_closed

pytestmark = pytest.mark.asyncio(loop_scope="module")
at_each = pytest.mark.parametrize("door", FOUR)
at_graphql = pytest.mark.parametrize("door", DOORS)


@at_each
async def test_01_an_upstream_refusal_is_no_stream(promised: Stack, door: str) -> None:
    with pytest.raises(Refused) as refused:
        await all_of(started(promised, door, "tokens=1", model="nope"))
    assert refused.value.extensions["reason"] == "MODEL_NOT_FOUND"
    assert refused.value.status == {"websocket": None, "openai": 404}.get(door, 200)


@at_each
async def test_01_the_first_token_is_sent_at_once(promised: Stack, door: str) -> None:
    before = await promised.model_stats()
    async with asyncio.timeout(15), started(promised, door, "tokens=2 delay=30") as events:
        assert text_of(await until_text(events)).strip() == "tok0"
        assert (await promised.model_stats())["inflight"] == before["inflight"] + 1
    await upstream_closed(promised, before)


@at_each
async def test_02_a_stream_has_one_end(promised: Stack, door: str) -> None:
    heard = await all_of(started(promised, door, "tokens=3 delay=0"))
    assert text_of(heard) == expected(3)
    assert (ends(heard), heard[-1]["__typename"]) == (["COMPLETED"], "StreamEnded")
    if door != "openai":
        assert (heard[-1]["finishReason"], heard[-1]["error"]) == ("STOP", None)
        assert heard[-1]["usage"]["completionTokens"] == 3


@at_each
async def test_02_an_upstream_that_stops_in_the_middle_is_a_failure(promised: Stack, door: str) -> None:
    heard = await all_of(started(promised, door, "tokens=8 delay=0.02 error=cut"))
    assert ends(heard) == ["FAILED"]
    assert heard[-1]["error"]["reason"] == "MODEL"
    assert expected(8).startswith(text_of(heard))
    assert len(text_of(heard)) > 0


def beats_in(door: str, body: bytes) -> int:
    """Return the number of heartbeats. Each must be between two events."""
    match door:
        case "multipart":
            return body.count(b"\r\n\r\n{}\r\n--graphql")
        case "openai":
            return len(re.findall(rb"(?:\A|\n\n): ping\n", body.replace(b": ping\n\n", b": ping\n\n\n\n")))
        case _:
            return len(re.findall(rb"(?:\A|\n):\n", body.replace(b":\n", b":\n\n")))


@pytest.mark.parametrize("door", [door for door in FOUR if door != "websocket"])
async def test_03_heartbeats_come_from_the_start_and_between_events(impatient: Stack, door: str) -> None:
    async with raw_body(impatient, door, "tokens=3 first=0.25 delay=0.25") as pieces:
        bodies = [b""]
        async for piece in pieces:
            if b"tok" in piece and len(bodies) < 4:
                bodies.append(b"")
            bodies[-1] += piece
    first, *between = [beats_in(door, body) for body in bodies[:3]]
    assert first
    assert any(between)  # on a busy machine, two tokens can arrive together
    assert b"tok2" in b"".join(bodies)


async def test_03_a_websocket_has_pings_and_a_deadline_for_pongs(adapter: str) -> None:
    async with stack_on(adapter, stream_heartbeat_seconds=0.3) as stack:
        host, port = stack.url.removeprefix("http://").split(":")
        given = {"i": completion(stack, "tokens=1 first=0.8 delay=0"), "k": "pings"}
        async with raw_socket((host, int(port))) as socket:
            await socket.sign_in(stack.token())
            await socket.send(text(id="1", type="subscribe", payload={"query": COMPLETION, "variables": given}))
            pings, heard = 0, b""
            while b"tok0" not in heard:
                kind, data = await socket.hear()
                if kind is Op.PING:
                    pings += 1
                    await socket.send(frame(Op.PONG, data))
                heard += data
            assert pings >= 2
            async with asyncio.timeout(10):
                assert (await socket.closed())[0] in {1006, 1011}


@at_each
async def test_04_a_disconnect_cancels_the_upstream_call(promised: Stack, door: str) -> None:
    before = await promised.model_stats()
    async with started(promised, door, "tokens=200 delay=0.05") as events:
        await until_text(events)
    await upstream_closed(promised, before)


@at_each
async def test_04_a_disconnect_before_the_first_token_cancels_the_upstream_call(promised: Stack, door: str) -> None:
    before = await promised.model_stats()
    reading = asyncio.create_task(all_of(started(promised, door, "tokens=3 first=30")))

    async def asked() -> bool:
        return (await promised.model_stats())["total"] == before["total"] + 1

    await until(asked)
    reading.cancel()
    await upstream_closed(promised, before)


@at_each
async def test_04_a_stream_that_continues_does_not_need_a_reader(promised: Stack, door: str) -> None:
    before = (await promised.model_stats())["total"]
    async with started(promised, door, "tokens=20 delay=0.02", continues=True) as events:
        [begun, *_] = await until_text(events)
    rest = await all_of(attached(promised, "event stream", begun["stream"]["id"]))
    assert (text_of(rest), ends(rest)) == (expected(20), ["COMPLETED"])
    assert (await promised.model_stats())["total"] == before + 1


CLOCKS = {
    "CONNECT": ({}, "tokens=1"),
    "FIRST_TOKEN": ({"stream_first_token_seconds": 0.5}, "tokens=3 first=5"),
    "IDLE": ({"stream_idle_seconds": 0.2}, "tokens=3 delay=5"),
    "TOTAL": ({"llm_timeout_seconds": 0.4}, "tokens=500 delay=0.05"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def timed(adapter: str) -> AsyncIterator[dict[str, Stack]]:
    """A gateway for each clock, which is the only short one. LiteLLM is not at the first one's address."""
    async with AsyncExitStack() as stack:
        given = {name: settings | {"stream_heartbeat_seconds": 0.3} for name, (settings, _) in CLOCKS.items()}
        running = {name: stack_on(adapter, embedded=True, **settings) for name, settings in given.items()}
        stacks = {name: await stack.enter_async_context(one) for name, one in running.items()}
        await stacks["CONNECT"].servers["litellm"].stop()
        yield stacks


@at_each
async def test_05_each_timeout_has_its_reason(timed: dict[str, Stack], door: str) -> None:
    async def reason(clock: str) -> str:
        try:
            heard = await all_of(started(timed[clock], door, CLOCKS[clock][1]))
        except Refused as refused:
            return str(refused.extensions.get("cause", refused.extensions["reason"]))
        assert ends(heard) == ["FAILED"]
        return str(heard[-1]["error"]["reason"])

    found = dict(zip(CLOCKS, await asyncio.gather(*map(reason, CLOCKS)), strict=True))
    if found["FIRST_TOKEN"] == "OUTCOME_UNKNOWN":  # LiteLLM may charge for a completion that has not begun
        found["FIRST_TOKEN"] = "FIRST_TOKEN"
    assert found == {clock: clock for clock in CLOCKS}


SIZE, PIECE = 3_000_000, "a" * 10_000
CHUNK = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % PIECE.encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slowed(adapter: str) -> AsyncIterator[tuple[Stack, StreamHub]]:
    """A gateway that detaches slow readers soon, and its streams."""
    hubs: list[StreamHub] = []

    def hub(limits: StreamLimits, metrics: StreamMetrics) -> StreamHub:
        hubs.append(StreamHub(replace(limits, slow_after=0.1), metrics))
        return hubs[0]

    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:  # the other gateways of this module are not patched
            patched.setattr(composition, "StreamHub", hub)
            running = await stack.enter_async_context(stack_on(adapter, embedded=True))
        yield running, hubs[0]


def letters(body: bytes) -> int:
    return sum(map(len, re.findall(rb"a{100,}", body)))


@at_each
async def test_06_a_slow_reader_slows_no_other_and_loses_no_text(slowed: tuple[Stack, StreamHub], door: str) -> None:
    stack, hub = slowed
    async with paused(stack, door, "tokens=1000 delay=10") as slow:
        [stream] = [one for one in await hub.of(Owner(ADA)) if one.log.ended is None]
        try:
            for _ in range(SIZE // len(PIECE)):
                stream.log.append(TextDelta(text=PIECE), CHUNK)
            await asyncio.sleep(0.3)  # longer than a reader may take for an event
            assert await read_all(stack, "websocket", stream.id, None) == SIZE  # while the slow reader reads nothing
            if door != "openai":
                body = await slow.rest()
                found = re.search(rb'"cursor":"(\d+)","reason":"SLOW"', body)
                assert found is not None
                assert letters(body) + await read_all(stack, door, stream.id, found[1].decode(), letters(body)) == SIZE
        finally:
            await hub.cancel_and_wait(stream)
        if door == "openai":
            assert letters(await slow.rest()) == SIZE


async def read_all(stack: Stack, door: str, stream_id: str, after: str | None, got: int = 0) -> int:
    """Read the rest of a running stream, and return its length. On a busy machine, this reader can be slow too."""
    before = got
    while got < SIZE:
        async with attached(stack, door, stream_id, after) as events:
            async for event in events:
                after = event["cursor"]
                got += event.get("text", "").count("a")
                if got >= SIZE:
                    break
    return got - before


@at_each
async def test_07_joined_tokens_have_the_same_text(promised: Stack, door: str) -> None:
    heard = await all_of(started(promised, door, "tokens=200 delay=0"))
    pieces = [event for event in heard if event["__typename"] == "TextDelta" and event["text"]]
    assert text_of(heard) == expected(200)
    assert len(pieces) == 200 if door == "openai" else len(pieces) < 100


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uncoalesced(adapter: str) -> AsyncIterator[Stack]:
    async with stack_on(adapter, stream_coalesce_milliseconds=0) as running:
        yield running


@at_graphql
async def test_07_without_coalescing_every_token_is_an_event(uncoalesced: Stack, door: str) -> None:
    heard = await all_of(started(uncoalesced, door, "tokens=40 delay=0"))
    words = [event["text"].strip() for event in heard if event["__typename"] == "TextDelta"]
    assert words == expected(40).split()
