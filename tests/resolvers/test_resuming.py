"""Sources that end or continue another process's streams."""

from __future__ import annotations

import re
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from clients.errors import NotFound
from clients.origin import Origin
from resolvers.resources import Resources
from resolvers.sources.recipes import COMPLETION, TurnRecipe
from resolvers.sources.resuming import resumed_source
from resolvers.streams.events import Ended, Entry, Event, Started, StreamOutcome, TextDelta

ROOT = Path(__file__).parents[2]
NONE = cast("Resources", None)
UUID = "00000000-0000-4000-8000-000000000001"


async def rest(recipe: bytes, *log: Event) -> list[Event]:
    """Return the events that a log lacks."""
    entries = [Entry(seq, event) for seq, event in enumerate(log, 1)]
    async with aclosing(resumed_source(NONE, recipe, entries).events()) as events:
        return [event async for batch in events for event, _ in batch.events]


@pytest.mark.parametrize("recipe", [COMPLETION, b"", b"\x81\xa4type\xa3new"], ids=["completion", "empty", "newer"])
async def test_a_stream_that_cannot_be_continued_fails(recipe: bytes) -> None:
    [end] = await rest(recipe, Started(), TextDelta(text="The answer "))
    assert isinstance(end, Ended)
    assert (end.outcome, end.usage) == (StreamOutcome.FAILED, None)
    assert end.error is not None
    assert (end.error.code, end.error.reason, end.error.retryable) == ("OVERLOADED", "OWNER_LOST", False)
    assert "new key" in end.error.message


async def test_an_empty_log_gets_a_first_event_and_the_end() -> None:
    assert [type(event) for event in await rest(COMPLETION)] == [Started, Ended]


def recipe_of(**more: Any) -> bytes:
    given = {"agent_id": f"agent-{UUID}", "user_id": "u", "origin": Origin.USER, "request_id": "r", "otid": "o"}
    return msgspec.msgpack.encode(TurnRecipe(began=datetime.now(UTC), **{**given, **more}))


@pytest.mark.parametrize(
    "ids", [{"agent_id": f"agent-{UUID}/../x"}, {"agent_id": ""}, {"conversation_id": "conv-1"}, {"run_id": "../admin"}]
)
def test_a_malformed_id_never_becomes_part_of_a_path(ids: dict[str, str]) -> None:
    with pytest.raises(NotFound):
        resumed_source(NONE, recipe_of(**ids), [])


STORED = {"resolvers/sources/resuming.py", "resolvers/streams/stored.py"}
"""The modules that read stored streams, whose user and conversation were checked when the stream began."""


@pytest.mark.parametrize("name", ["conversation_of_stream", "run_of_stream", "principal_of_stream"])
def test_only_a_stored_stream_replaces_a_check_of_the_user(name: str) -> None:
    rooms = ("app", "schema", "resolvers", "clients")
    callers = {
        str(file.relative_to(ROOT))
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        if re.search(rf"(?<!def ){name}\(", file.read_text())
    }
    assert "resolvers/sources/resuming.py" in callers
    assert callers <= STORED
