from __future__ import annotations

import pytest

from app.graphql.framing import FRAMINGS, GIVE_UP_MILLISECONDS, RECONNECT_MILLISECONDS
from app.graphql.media import EVENT_STREAM, MULTIPART
from app.graphql.results import Executed, Refused
from clients.errors import GatewayError, NotFound, Overloaded, RateLimited
from tests.support.sse import parsed

SHORTEST, LONGEST = RECONNECT_MILLISECONDS
EVENTS, PARTS = FRAMINGS[EVENT_STREAM], FRAMINGS[MULTIPART]


def test_an_event_has_its_cursor_as_id() -> None:
    assert EVENTS.result(Executed({"a": 1}, cursor="7")) == b'id: 7\nevent: next\ndata: {"data":{"a":1}}\n\n'
    assert EVENTS.result(Executed({"a": 1})) == b'event: next\ndata: {"data":{"a":1}}\n\n'
    assert b"id" not in PARTS.result(Executed({"a": 1}, cursor="7"))


@pytest.mark.parametrize(
    ("error", "shortest", "longest"),
    [
        (NotFound("m"), GIVE_UP_MILLISECONDS, GIVE_UP_MILLISECONDS),
        (Overloaded("m", retry_after_seconds=0.2), SHORTEST, LONGEST),
        (RateLimited("m", retry_after_seconds=40.0), 40_000, 40_000 + LONGEST - SHORTEST),
    ],
)
def test_a_refusal_has_the_time_until_the_next_attempt(error: GatewayError, shortest: int, longest: int) -> None:
    [event] = parsed(EVENTS.result(Refused.by(error, "r")).decode())
    assert event.id is None
    assert shortest <= (event.retry or 0) <= longest


def test_a_detached_reader_gets_the_time_until_the_next_attempt() -> None:
    delays = {parsed(EVENTS.result(Executed({}, cursor="7", is_detached=True)).decode())[0].retry for _ in range(50)}
    assert len(delays) > 10
    assert all(SHORTEST <= (delay or 0) <= LONGEST for delay in delays)


def test_only_a_body_that_completes_has_the_event_complete() -> None:
    complete = b"event: complete\ndata:\n\n"
    assert (EVENTS.end(), EVENTS.end("DRAINING")) == (complete, b": DRAINING\n" + complete)
    assert (EVENTS.end("DRAINING", completes=False), EVENTS.end(completes=False)) == (b": DRAINING\n", b"")
    assert PARTS.end(completes=False) == PARTS.end() == b"--\r\n"
