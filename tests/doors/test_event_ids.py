"""An event stream's ids, ``Last-Event-ID``, and reconnects of ``EventSource``."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.graphql import framing
from tests.support.capabilities import chromium_path
from tests.support.documents import COMPLETION, FOLLOW, STREAM
from tests.support.following import conversation
from tests.support.node import run_node
from tests.support.sse import ServerEvent, parsed
from tests.support.stack import GRACE, Stack, any_stack
from tests.support.streaming import completion, expected, text_of

ACCEPT = {"accept": "text/event-stream"}
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
BARE = "subscription($id: ID!, $after: String) { stream(id: $id, after: $after) { ... on TextDelta { text } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Stack]:
    async with any_stack(stream_heartbeat_seconds=0.2) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def started(stack: Stack, directive: str) -> str:
    given = completion(stack, directive, onDisconnect="CONTINUE", idempotencyKey=str(uuid.uuid4()))
    answer = await stack.graphql(START, {"i": given})
    return str(answer["data"]["startCompletion"]["stream"]["id"])


async def got(
    stack: Stack, query: str, variables: dict[str, Any], last: str | None = None, method: str = "GET"
) -> tuple[int, list[ServerEvent]]:
    """Return the status and the events of one response, without the event ``complete``, which ends it."""
    headers = httpx.Headers([*(stack.headers() | ACCEPT).items()], encoding="utf-8")
    if last is not None:
        headers["last-event-id"] = last
    if method == "GET":
        asked: dict[str, Any] = {"params": {"query": query, "variables": json.dumps(variables)}}
    else:
        asked = {"json": {"query": query, "variables": variables}}
    answer = await stack.client.request(method, "/graphql", headers=headers, **asked)
    if answer.status_code == 204:
        assert answer.text == ""
        return 204, []
    *events, end = parsed(answer.text)
    assert (end.name, end.data, end.id) == ("complete", "", None)
    return answer.status_code, events


def payload(event: ServerEvent) -> dict[str, Any]:
    [value] = json.loads(event.data)["data"].values()
    return dict(value)


async def test_each_event_has_its_cursor_as_id_and_the_stream_says_when_to_reconnect(shared: Stack) -> None:
    stream = {"id": await started(shared, "tokens=3 delay=0.03")}
    _, events = await got(shared, STREAM, stream)
    assert [event.id for event in events] == [payload(event)["cursor"] for event in events]
    shortest, longest = framing.RECONNECT_MILLISECONDS
    assert [event.retry is None for event in events] == [False] + [True] * (len(events) - 1)
    assert shortest <= (events[0].retry or 0) <= longest
    _, bare = await got(shared, BARE, stream)
    assert bare[-1].id == events[-1].id


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_last_event_id_resumes_after_each_event_and_takes_precedence_over_after(
    shared: Stack, method: str
) -> None:
    stream = await started(shared, "tokens=4 delay=0.03")
    _, whole = await got(shared, STREAM, {"id": stream})
    for number, event in enumerate(whole[:-1], 1):
        for after in (None, "0", whole[-1].id):
            _, rest = await got(shared, STREAM, {"id": stream, "after": after}, event.id, method)
            heard = [payload(one) for one in whole[:number] + rest]
            assert text_of(heard) == expected(4)
            assert rest[-1].id == whole[-1].id


async def test_a_reconnect_after_the_last_event_stops_event_source_and_no_other_client(shared: Stack) -> None:
    stream = await started(shared, "tokens=1 delay=0")
    _, [*_, end] = await got(shared, STREAM, {"id": stream})
    assert await got(shared, STREAM, {"id": stream}, end.id) == (204, [])
    for last, after, method in ((end.id, None, "POST"), (None, end.id, "GET"), (None, end.id, "POST")):
        status, events = await got(shared, STREAM, {"id": stream, "after": after}, last, method)
        assert (status, [one.id for one in events]) == (200, [end.id]), (last, after, method)


async def test_an_invalid_last_event_id_is_refused_in_the_stream(shared: Stack) -> None:
    stream, (_, conversation_id) = await started(shared, "tokens=1 delay=0"), await conversation(shared)
    follows = {"id": conversation_id}
    cases = [(STREAM, {"id": stream}, last) for last in ("x", "-1", "99999", "1.0", "\u00e9", "9" * 6000)]
    cases += [(FOLLOW, follows, last) for last in ("1", "x", "WyJhIl0")]
    for query, variables, last in cases:
        for method in ("GET", "POST"):
            status, [refused] = await got(shared, query, variables, last, method)
            [error] = json.loads(refused.data)["errors"]
            assert (status, error["extensions"]["code"], error["extensions"]["reason"]) == (
                *(200, "BAD_USER_INPUT"),
                "CURSOR",
            )
            assert (refused.id, refused.retry) == (None, framing.GIVE_UP_MILLISECONDS)


async def test_last_event_id_has_no_effect_on_what_starts_a_stream(shared: Stack) -> None:
    given = {"i": completion(shared, "tokens=2 delay=0"), "k": str(uuid.uuid4())}
    _, first = await got(shared, COMPLETION, given, "7", "POST")
    _, again = await got(shared, COMPLETION, given, first[-1].id, "POST")
    for events in (first, again):
        assert text_of([payload(event) for event in events]) == expected(2)
    assert payload(again[0])["replayed"] is True


async def test_last_event_id_is_checked_against_the_users_streams(shared: Stack) -> None:
    stream = await started(shared, "tokens=1 delay=0")
    asked = {"query": STREAM, "variables": json.dumps({"id": stream})}
    headers = shared.headers(GRACE) | ACCEPT | {"last-event-id": "1"}
    answer = await shared.client.get("/graphql", params=asked, headers=headers)
    assert '"NOT_FOUND"' in answer.text


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "RECONNECT_MILLISECONDS", (10, 20))


@pytest.mark.needs_node
@pytest.mark.parametrize(
    "browser", ["", pytest.param("chromium", marks=pytest.mark.needs_chromium)], ids=["node", "chromium"]
)
@pytest.mark.usefixtures("quick")
async def test_event_source_resumes_after_cuts_and_stops_at_the_end(shared: Stack, browser: str) -> None:
    stream = await started(shared, "tokens=30 delay=0.02")
    chromium = chromium_path() if browser else None
    given = {"query": STREAM, "variables": {"id": stream}, "cuts": ["StreamStarted", "TextDelta"], "chromium": chromium}
    [seen] = await run_node("event_source.mjs", url=shared.url, token=shared.token(), **given)
    events = seen["events"]
    assert text_of(events) == expected(30)
    assert [event["__typename"] for event in events].count("StreamEnded") == 1
    assert [event["lastEventId"] for event in events] == [event["cursor"] for event in events]
    assert seen["closed"] is True
    assert [one["status"] for one in seen["requests"]] == [200, 200, 200, 204]
    assert seen["requests"][0]["lastEventId"] is None
    assert seen["requests"][-1]["lastEventId"] == events[-1]["cursor"]


@pytest.mark.needs_node
@pytest.mark.usefixtures("quick")
async def test_event_source_follows_a_conversation_over_cuts(shared: Stack) -> None:
    """The second cut is after a turn's end, which must not come again."""
    _, conversation_id = await conversation(shared)
    texts = [f"hi [[{directive}]]" for directive in ("tokens=20 delay=0.02", "tokens=3 delay=0")]
    to = {"conversationId": conversation_id}
    messages = [{"to": to, "content": [{"text": text}], "idempotencyKey": str(uuid.uuid4())} for text in texts]
    given = {"query": FOLLOW, "variables": {"id": conversation_id}, "messages": messages, "turns": 2}
    cuts = ["TextDelta", "StreamEnded"]
    [seen] = await run_node("event_source.mjs", url=shared.url, token=shared.token(), cuts=cuts, **given)
    assert text_of(seen["events"]) == expected(20) + expected(3)
    assert [event["__typename"] for event in seen["events"]].count("StreamEnded") == 2
    assert [one["status"] for one in seen["requests"]] == [200, 200, 200]


@pytest.mark.needs_node
async def test_event_source_reads_the_error_of_a_refusal(shared: Stack) -> None:
    given = {"query": STREAM, "variables": {"id": "stream:nope"}, "cuts": []}
    [seen] = await run_node("event_source.mjs", url=shared.url, token=shared.token(), **given)
    [refused] = seen["events"]
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert len(seen["requests"]) == 1
