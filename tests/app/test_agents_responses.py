"""An agent's answer as a response of the Responses API."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from app.rest.agents.pieces import Pieces
from app.rest.agents.responses import ResponseHead, ResponseStream, stored_response, whole_response
from clients.errors import Conflict
from clients.usage import Usage
from resolvers.sources.turn_events import MessageAdded, TurnStarted
from resolvers.streams.events import Event
from tests.support.agent_events import AGENT, COMPLETED, assistant, deltas, reasoning
from tests.support.response_events import events_in

HEAD = ResponseHead(id="resp_x_7", model=AGENT, created_at=7, previous="resp_x_6")
ENDED = msgspec.structs.replace(COMPLETED, usage=Usage(prompt_tokens=5, completion_tokens=2, reasoning_tokens=1))


def streamed(events: list[Event]) -> list[dict[str, Any]]:
    writer = ResponseStream(HEAD)
    data = b"".join(map(writer.of, [TurnStarted(), *events])) + writer.completed(ENDED)
    return events_in(data.decode())


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


def test_each_message_is_an_item_with_a_beginning_and_an_end() -> None:
    found = streamed([*deltas(reasoning(1, "hm"), "h", "m"), *deltas(assistant(1, "one"), "one")])
    assert kinds(found) == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added"),
        *["reasoning_summary_text.delta"] * 2,
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    last = found[-1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning", "message"]
    assert [event["item"] for event in found if event["type"] == "response.output_item.done"] == last["output"]
    assert last["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}
    Response.model_validate(last)


pieces = st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.text(min_size=1)), max_size=12)


@given(pieces)
def test_a_stream_and_a_whole_response_have_the_same_texts(some: list[tuple[int, bool, str]]) -> None:
    ordered = sorted(some, key=lambda one: one[:2])
    events = [
        event
        for number, thinks, text in ordered
        for event in deltas((reasoning if thinks else assistant)(number, text), text)
    ]
    found = streamed(events)
    whole = orjson.loads(whole_response(HEAD, Pieces().all(events), ENDED))
    assert found[-1]["response"] == whole
    indexes = [event["output_index"] for event in found if "output_index" in event]
    assert indexes == sorted(indexes)
    for index, item in enumerate(whole["output"]):
        said = [event["delta"] for event in found if event["type"].endswith("delta") and event["output_index"] == index]
        [part] = item.get("summary") or item["content"]
        assert part["text"] == "".join(said)
    assert len({item["id"] for item in whole["output"]}) == len(whole["output"])
    assert len(whole["output"]) == len(list(itertools.groupby(ordered, key=lambda one: one[:2])))
    Response.model_validate(whole)


def test_a_stored_message_without_deltas_is_an_item() -> None:
    found = streamed([MessageAdded(message=assistant(1, "all"))])
    assert [item["content"][0]["text"] for item in found[-1]["response"]["output"]] == ["all"]


def test_a_failed_stream_ends_with_the_response_that_was_created() -> None:
    writer = ResponseStream(HEAD)
    data = writer.of(TurnStarted()) + writer.of(deltas(assistant(1, "o"), "o")[0]) + writer.failed(Conflict("so"))
    found = events_in(data.decode())
    assert (kinds(found)[-1], found[-1]["response"]["id"]) == ("failed", HEAD.id)
    assert found[-1]["response"]["error"] == {"code": "conflict", "message": "so"}
    assert found[-1]["response"]["status"] == "failed"


def test_a_failed_response_that_is_read_has_the_items_of_its_stream() -> None:
    events = [*deltas(reasoning(1, "hm"), "hm"), *deltas(assistant(1, "one"), "one"), *deltas(assistant(2, "t"), "t")]
    writer = ResponseStream(HEAD)
    data = b"".join(map(writer.of, [TurnStarted(), *events])) + writer.failed(Conflict("so"))
    output = events_in(data.decode())[-1]["response"]["output"]
    assert [item.get("status") for item in output] == [None, "completed", "incomplete"]
    read = orjson.loads(stored_response(HEAD, Pieces().all(events), ENDED, Conflict("so")))
    assert read["output"] == output


def test_a_response_is_read_while_it_runs_and_after_it_failed() -> None:
    texts = Pieces().all(deltas(assistant(1, "o"), "o"))
    running = orjson.loads(stored_response(HEAD, texts, None, None))
    assert (running["status"], running["output"][0]["status"], running["usage"]) == ("in_progress", "in_progress", None)
    failed = orjson.loads(stored_response(HEAD, texts, ENDED, Conflict("so")))
    assert (failed["status"], failed["error"]) == ("failed", {"code": "conflict", "message": "so"})
    assert failed["output"][0]["status"] == "incomplete"
    assert orjson.loads(stored_response(HEAD, texts, ENDED, None)) == orjson.loads(whole_response(HEAD, texts, ENDED))
