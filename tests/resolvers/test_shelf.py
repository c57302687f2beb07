from __future__ import annotations

import pytest

from clients.errors import Conflict, NotFound
from resolvers.streams.events import Ended, OnDisconnect, StreamOutcome, TextDelta
from resolvers.streams.shelf import Shelf
from resolvers.streams.stream import Stream


def stream(name: str, *, owner: str = "ada", key: str | None = None, fingerprint: str = "a") -> Stream:
    return Stream(
        id=name,
        owner_id=owner,
        kind="completion",
        source=None,
        on_disconnect=OnDisconnect.CANCEL,
        key=key,
        fingerprint=fingerprint,
    )


def end(shelf: Shelf, one: Stream, size: int) -> bool:
    one.log.append(TextDelta(text="x" * size))
    one.log.append(Ended(outcome=StreamOutcome.COMPLETED))
    return shelf.ended(one)


async def test_the_oldest_that_have_ended_make_room_and_those_that_run_stay() -> None:
    shelf = Shelf(max_kept=5000)
    running, *others = [stream(name) for name in ("running", "first", "second", "third")]
    for one in (running, *others):
        shelf.add(one)
    assert [end(shelf, one, 2000) for one in others] == [True] * 3
    kept = shelf.of("ada")
    assert kept[0] is running
    assert others[-1] in kept
    with pytest.raises(NotFound):
        shelf.get("first", "ada")
    end(shelf, running, 9000)  # larger than the bound by itself, and still to be read
    assert shelf.of("ada") == [running]


async def test_a_forgotten_stream_leaves_its_key_free_and_does_not_come_back() -> None:
    shelf = Shelf(max_kept=5000)
    one = stream("one", key="k")
    shelf.add(one)
    assert shelf.by_key("ada", "k", "a") is one
    assert shelf.by_key("grace", "k", "a") is None
    with pytest.raises(Conflict):
        shelf.by_key("ada", "k", "b")
    shelf.forget(one)
    shelf.forget(one)
    assert shelf.by_key("ada", "k", "b") is None
    assert end(shelf, one, 1) is False
    assert (shelf.of("ada"), shelf.all()) == ([], [])
