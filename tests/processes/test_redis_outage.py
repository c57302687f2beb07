"""Fifty streams at all endpoints, while Redis is down for five seconds or loses its data."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pytest

from clients.state.streams.backend import LogLimits
from tests.support.documents import COMPLETION, CREATE_CONVERSATION, MESSAGE
from tests.support.doors import DOORS, Refused, events
from tests.support.following import conversations
from tests.support.held_model import HeldModel
from tests.support.promises import FOUR, Event, all_of, attached, ends, started
from tests.support.redis_server import DURABLE, RedisServer, redis_server
from tests.support.stack import ADA, GRACE, Stack, embedded_stack, replica_of, until
from tests.support.streaming import completion, expected, message_input, text_of
from tests.support.supabase import supabase_project, token_of

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(120)]

STREAMS = 50
OUTAGE_SECONDS = 5.0
LEASE = 4.5
"""A heartbeat's life, in seconds. It ends during the outage, but not during a short pause of a busy machine."""
TOKEN_SECONDS = 0.25
"""The model's time for a token, in seconds."""
SLACK_SECONDS = 30
"""How long other things can take on a busy machine, in seconds."""
BEFORE = 3
"""The number of tokens before Redis fails."""
TOKENS = 26
FEWEST = 6
"""The number of tokens that all readers receive during the outage, even on a busy machine."""
SHORT = "tokens=3 delay=0"
TEXT = "query($id: ID!) { stream(id: $id) { status text } }"
RUNS = "query($id: ID!) { agent(id: $id) { runs(first: 1) { nodes { stream { status } } } } }"


class Outage(NamedTuple):
    """How a Redis server, started with ``options``, fails and returns."""

    begin: Callable[[RedisServer], None]
    end: Callable[[RedisServer], None]
    options: tuple[str, ...] = ()


OUTAGES = {
    "stopped, and empty afterwards": Outage(RedisServer.stop, RedisServer.start),
    "killed": Outage(RedisServer.kill, RedisServer.start, DURABLE),
    "hanging": Outage(RedisServer.pause, RedisServer.resume),
}


@dataclass(eq=False)
class Reader:
    """A client that reads a stream.

    Attributes:
        tokens: how many of the answer's tokens the client knows.
        resumed_at: how many tokens the client knew when it resumed.
    """

    what: str
    source: aclosing[AsyncGenerator[Event, None]]
    resumed_at: int = 0
    heard: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = self.resumed_at
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with self.source as reading:
            async for event in reading:
                self.heard.append(event)
                self.tokens += text_of([event]).count("tok")

    @property
    def stream_id(self) -> str:
        return str(self.heard[0]["stream"]["id"])

    @property
    def cursor(self) -> str | None:
        """The cursor of the last event. At the OpenAI endpoint, events have no cursors."""
        return self.heard[-1].get("cursor")

    async def check(self) -> None:
        """Read to the end. Check that the client has heard each event once, one end, and nothing else."""
        async with asyncio.timeout(SLACK_SECONDS):
            await self.task
        known = "".join(f"tok{token} " for token in range(self.resumed_at))
        assert known + text_of(self.heard) == expected(TOKENS), self.what
        assert (ends(self.heard), self.heard[-1]["__typename"]) == (["COMPLETED"], "StreamEnded"), self.what
        assert "ReaderDetached" not in [event["__typename"] for event in self.heard], self.what
        positions = [int(event["cursor"].partition("~")[0]) for event in self.heard if "cursor" in event]
        assert positions == sorted(set(positions)), self.what


async def retrying(stack: Stack, door: str, stream_id: str, after: str | None) -> AsyncGenerator[Event, None]:
    """Attach to a stream, and repeat the request if the error is retryable: On a busy machine, Redis may be late."""
    while True:
        try:
            async with attached(stack, door, stream_id, after) as reading:
                async for event in reading:
                    yield event
        except Refused as refused:
            if not refused.extensions["retryable"]:
                raise
            await asyncio.sleep(TOKEN_SECONDS)
        else:
            return


class Scene:
    """Two gateways with one Redis server, and readers of 50 streams that the first gateway holds.

    Attributes:
        live: the readers at the first gateway.
        elsewhere: readers of some of the streams at the second gateway.
        resumed: clients that continue a stream at one of the gateways after the outage.
    """

    def __init__(self, name: str, redis: RedisServer, first: Stack, second: Stack) -> None:
        self.name = name
        self.redis = redis
        self.first = first
        self.second = second
        self.live: list[Reader] = []
        self.elsewhere: list[Reader] = []
        self.resumed: list[Reader] = []

    @property
    def readers(self) -> list[Reader]:
        return self.live + self.elsewhere + self.resumed

    def start(self, agent_id: str, conversation_ids: list[str | None]) -> None:
        """Start the streams. A stream with a conversation is a turn."""
        for number, conversation_id in enumerate(conversation_ids):
            door = FOUR[number % 4]
            if conversation_id is None:
                source = started(self.first, door, f"tokens={TOKENS} delay=0", continues=True)
            else:
                given = message_input(agent_id, f"tokens={TOKENS} delay=0", to={"conversationId": conversation_id})
                source = aclosing(events(self.first, door, MESSAGE, {"i": given, "k": str(uuid.uuid4())}))
            self.live.append(Reader(f"{self.name}: {door}, {number}", source))

    def read_elsewhere(self) -> None:
        """Read some of the streams at the second gateway."""
        for number, reader in enumerate(self.live[:8]):
            source = attached(self.second, DOORS[number % 3], reader.stream_id)
            self.elsewhere.append(Reader(f"{reader.what}, elsewhere", source))

    async def resume(self, cursors: list[str | None], tokens: int) -> None:
        """Resume the streams, half of them at each gateway, when Redis has all streams."""
        while not await self._are_stored():
            await asyncio.sleep(TOKEN_SECONDS)  # the query is expensive
        for number, (reader, cursor) in enumerate(zip(self.live, cursors, strict=True)):
            stack, place = ((self.first, "first"), (self.second, "second"))[number // 8 % 2]
            door = DOORS[number % 3]
            source = aclosing(retrying(stack, door, reader.stream_id, cursor))
            what = f"{reader.what}, resumed at the {place} gateway at {cursor} by {door}"
            self.resumed.append(Reader(what, source, tokens if cursor else 0))

    async def _are_stored(self) -> bool:
        answer = await self.second.graphql("{ viewer { streams(active: true) { id } } }")
        listed = [] if answer["data"] is None else [one["id"] for one in answer["data"]["viewer"]["streams"]]
        return {reader.stream_id for reader in self.live} <= set(listed)

    def check_logs(self) -> None:
        """Check that no gateway has reported an internal error."""
        for stack in (self.first, self.second):
            assert '"exception"' not in stack.log.getvalue(), self.name

    async def status(self, status: str) -> None:
        """Wait until both gateways show a status of Redis."""

        async def is_shown() -> bool:
            query = "{ platform { sharedState { status } } }"
            answers = [await stack.graphql(query) for stack in (self.first, self.second)]
            return {answer["data"]["platform"]["sharedState"]["status"] for answer in answers} == {status}

        await until(is_shown, SLACK_SECONDS)


@asynccontextmanager
async def scene(services: Stack, name: str, *options: str) -> AsyncIterator[Scene]:
    """Run two gateways and Redis, and start the streams. At each GraphQL endpoint, half of the streams are turns."""
    agent_id = await services.make_agent()
    are_turns = [FOUR[number % 4] != "openai" and number % 8 >= 4 for number in range(STREAMS)]
    made = iter(await conversations(services, agent_id, sum(are_turns)))
    conversation_ids = [next(made) if is_turn else None for is_turn in are_turns]
    with redis_server(*options) as redis:
        settings: dict[str, Any] = {"redis_url": redis.url(), "rate_limit_llm": 0, "rate_limit_general": 0}
        async with replica_of(services, **settings) as first, replica_of(first) as second:
            one = Scene(name, redis, first, second)
            try:
                one.start(agent_id, conversation_ids)
                yield one
            finally:
                for reader in one.readers:
                    reader.task.cancel()
                await asyncio.gather(*(reader.task for reader in one.readers), return_exceptions=True)


@pytest.mark.parametrize("name", OUTAGES)
async def test_fifty_live_readers_lose_no_events_while_redis_is_down_for_five_seconds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, outage = HeldModel(monkeypatch), OUTAGES[name]
    monkeypatch.setattr("app.shared_streams.LogLimits", partial(LogLimits, lease=LEASE))
    async with embedded_stack() as services, scene(services, name, *outage.options) as one:
        await model.say(BEFORE, one.live, SLACK_SECONDS)
        one.read_elsewhere()
        await model.say(BEFORE, one.elsewhere, SLACK_SECONDS)

        clock = asyncio.get_running_loop().time
        await asyncio.to_thread(outage.begin, one.redis)
        end = clock() + OUTAGE_SECONDS
        requests = asyncio.create_task(requests_without_redis(one))
        while clock() < end:  # Redis does not return before all readers have the token
            await model.say(model.words + 1, one.live, SLACK_SECONDS)
            await asyncio.sleep(TOKEN_SECONDS)
        assert model.words >= BEFORE + FEWEST
        cursors = [reader.cursor for reader in one.live]
        await one.status("DOWN")
        stream_id, variables = await requests
        resumed_at = model.words
        await asyncio.to_thread(outage.end, one.redis)
        await one.resume(cursors, resumed_at)
        await model.say(resumed_at + 1, one.readers, SLACK_SECONDS)
        model.allow(TOKENS)
        await asyncio.gather(*(reader.check() for reader in one.readers))
        await one.status("OK")
        one.check_logs()
        await check_second_gateway(one.second, stream_id, variables)
        assert services.platform.state.stats.total == STREAMS + 2


async def requests_without_redis(one: Scene) -> tuple[str, dict[str, Any]]:
    """Send new requests while Redis is down. Return a new completion's stream id, and the request's variables."""
    first, second = one.first, one.second
    with pytest.raises(Refused) as refused:
        await all_of(attached(second, "websocket", one.live[-1].stream_id))
    assert refused.value.code == "UPSTREAM_UNAVAILABLE"
    assert (refused.value.extensions["retryable"], refused.value.extensions["service"]) == (True, "redis")
    agent_id = await first.make_agent()
    variables = {"i": completion(first, SHORT), "k": "new"}
    heard = [event async for event in events(first, "event stream", COMPLETION, variables)]
    assert text_of(heard) == expected(3)
    sent = {"i": message_input(agent_id, SHORT), "k": "sent"}
    assert text_of([event async for event in events(first, "event stream", MESSAGE, sent)]) == expected(3)
    runs = await first.graphql(RUNS, {"id": agent_id})
    assert runs["data"]["agent"]["runs"]["nodes"] == [{"stream": {"status": "COMPLETED"}}]
    unknown = await second.graphql(RUNS, {"id": agent_id})
    assert unknown["errors"][0]["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"
    return heard[0]["stream"]["id"], variables


async def check_second_gateway(second: Stack, stream_id: str, variables: dict[str, Any]) -> None:
    """Check that the second gateway learns of a stream, and of the stream's key."""

    async def is_known() -> bool:
        return (await second.graphql(TEXT, {"id": stream_id}))["data"]["stream"] is not None

    await until(is_known, SLACK_SECONDS)
    answer = await second.graphql(TEXT, {"id": stream_id})
    assert answer["data"]["stream"] == {"status": "COMPLETED", "text": expected(3)}
    replayed = [event async for event in events(second, "websocket", COMPLETION, variables)]
    assert (replayed[0]["stream"]["id"], replayed[0]["replayed"]) == (stream_id, True)


async def test_fifty_live_readers_lose_no_events_if_redis_loses_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeldModel(monkeypatch)
    async with embedded_stack() as services, scene(services, "emptied") as one:
        await model.say(BEFORE, one.live, SLACK_SECONDS)
        one.read_elsewhere()
        await model.say(BEFORE, one.elsewhere, SLACK_SECONDS)
        variables = {"i": completion(one.first, SHORT), "k": "ended"}
        ended = [event async for event in events(one.first, "websocket", COMPLETION, variables)]
        cursors = [reader.cursor for reader in one.live]
        one.redis.run("FLUSHALL")
        await model.say(BEFORE + 1, one.live, SLACK_SECONDS)
        await one.resume(cursors, BEFORE)
        await model.say(BEFORE + 2, one.readers, SLACK_SECONDS)
        await check_second_gateway(one.second, ended[0]["stream"]["id"], variables)
        await one.status("OK")
        model.allow(TOKENS)
        await asyncio.gather(*(reader.check() for reader in one.readers))
        one.check_logs()
        assert services.platform.state.stats.total == STREAMS + 1


REVOKE = "mutation($id: String!) { revokeSession(input: { sessionId: $id }) { errors { message } } }"


async def test_keys_limits_and_revocations_have_their_documented_answers_after_redis_has_lost_its_data() -> None:
    with redis_server() as redis:
        async with (
            supabase_project() as project,
            embedded_stack(supabase_url=project.url, redis_url=redis.url(), rate_limit_general=6) as first,
            replica_of(first) as second,
        ):
            session = str(uuid.uuid4())
            tokens = {user: token_of(project, user_id=user, admin=True) for user in (ADA, GRACE)}
            revoked = token_of(project, session_id=session)
            agent_id = await first.make_agent()

            async def asked(stack: Stack, user: str, query: str, **variables: str) -> dict[str, Any]:
                headers = {"authorization": f"Bearer {tokens[user]}"}
                body = {"query": query, "variables": variables}
                answer = (await stack.client.post("/graphql", json=body, headers=headers)).json()
                assert "errors" not in answer, answer
                found: dict[str, Any] = next(iter(answer["data"].values()))
                return found

            async def models(stack: Stack, token: str) -> int:
                headers = {"authorization": f"Bearer {token}"}
                return (await stack.client.get("/v1/models", headers=headers)).status_code

            async def created(stack: Stack) -> str:
                made = await asked(stack, ADA, CREATE_CONVERSATION, a=agent_id, k="key")
                return str(made["conversationEdge"]["node"]["id"])

            made = await created(first)
            await asked(first, GRACE, REVOKE, id=session)
            assert [await models(one, tokens[GRACE]) for one in (first, second) * 3] == [200] * 5 + [429]
            redis.run("FLUSHALL")
            assert [await models(one, tokens[GRACE]) for one in (first, second) * 4] == [200] * 6 + [429] * 2
            assert await created(first) == made
            again = await created(second)
            assert (await created(first), await created(second)) == (made, again)
            assert [await models(one, revoked) for one in (first, second)] == [401] * 2
            async with replica_of(first) as restarted:
                await until(lambda: _is_status(models(restarted, revoked), 401), SLACK_SECONDS)


async def _is_status(answer: Awaitable[int], status: int) -> bool:
    return await answer == status
