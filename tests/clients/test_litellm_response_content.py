"""Content that GraphQL readers of a streamed response must get once (and that a cut-off answer's bill counts)."""

from __future__ import annotations

import pytest

from tests.support.read_responses import read, said
from tests.support.response_events import ARGUMENTS, CALL, CREATED, HELLO, USAGE, event, response

MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "the answer"}]}
WHOLE = {**CALL, "arguments": ARGUMENTS}
THOUGHT = event("response.reasoning_summary_text.delta", output_index=0, delta="hm")


def completed(*output: object) -> bytes:
    return event("response.completed", response=response("completed", output=list(output), usage=USAGE))


CASES = {
    "reasoning, and text only in the last event": ([CREATED, THOUGHT, completed(MESSAGE)], ("the answer", "hm", [])),
    "text only in output_item.done": (
        [CREATED, THOUGHT, event("response.output_item.done", output_index=1, item=MESSAGE), completed()],
        ("the answer", "hm", []),
    ),
    "text, and a call only in the last event": (
        [CREATED, *HELLO, completed(MESSAGE, WHOLE)],
        ("Hello world", "", [(0, "roll", ARGUMENTS)]),
    ),
    "arguments in the item and in deltas": (
        [
            CREATED,
            event("response.output_item.added", output_index=0, item=WHOLE),
            event("response.function_call_arguments.delta", output_index=0, delta=ARGUMENTS),
            completed(WHOLE),
        ],
        ("", "", [(0, "roll", ARGUMENTS)]),
    ),
    "arguments before the item": (
        [
            CREATED,
            event("response.function_call_arguments.delta", output_index=0, delta=ARGUMENTS),
            event("response.output_item.done", output_index=0, item=WHOLE),
            completed(WHOLE),
        ],
        ("", "", [(0, "roll", ARGUMENTS)]),
    ),
    "a part of an item that is sent only at its end": (
        [
            CREATED,
            event("response.output_text.delta", output_index=0, content_index=0, delta="a"),
            event("response.output_text.done", output_index=0, content_index=0, text="a"),
            event("response.output_text.done", output_index=0, content_index=1, text="b"),
            completed(MESSAGE),
        ],
        ("ab", "", []),
    ),
    "deltas with only an id": (
        [
            CREATED,
            event("response.output_text.delta", item_id="msg_1", content_index=0, delta="the answer"),
            event("response.output_item.done", output_index=0, item={**MESSAGE, "id": "msg_1"}),
            completed(MESSAGE),
        ],
        ("the answer", "", []),
    ),
    "two calls without output_index": (
        [
            CREATED,
            event("response.output_item.done", item=WHOLE),
            event("response.output_item.done", item={**WHOLE, "id": "fc_2", "call_id": "call_2", "name": "flip"}),
            completed(),
        ],
        ("", "", [(0, "roll", ARGUMENTS), (1, "flip", ARGUMENTS)]),
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_content_is_read_once(name: str) -> None:
    chunks, expected = CASES[name]
    pieces, _ = await read(*chunks)
    assert said(pieces) == expected
