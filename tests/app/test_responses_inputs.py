"""Any JSON is either a request that the embedded Responses API translates, or refused."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.embedded.litellm.answers import Refused
from app.embedded.litellm.checks import check_completion
from app.embedded.litellm.replies import reply_to
from app.embedded.litellm.responses.body import Body
from app.embedded.litellm.responses.inputs import chat_of, items_of
from app.embedded.litellm.responses.store import StoredResponses
from app.embedded.model import answer_to
from app.embedded.state import State

NAMES = ["role", "content", "arguments", "output", "text", "image_url", "format", "schema", "name", "type"]
KINDS = ["message", "function_call", "function_call_output", "reasoning", "item_reference", "function", "input_text"]
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab\ud7ff", max_size=3) | st.sampled_from(KINDS)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS[:4])},
    optional={"call_id": st.sampled_from("xy") | SCALARS, "id": SCALARS, **dict.fromkeys(NAMES[:6], ANYTHING)},
)
TOOL = st.fixed_dictionaries(
    {"type": st.just("function"), "name": st.sampled_from("xy")}, optional={"parameters": ANYTHING}
)
BODIES = st.fixed_dictionaries(
    {"input": st.lists(ITEM, max_size=3) | st.text(max_size=3) | ANYTHING},
    optional={
        "tools": st.lists(TOOL, max_size=2) | ANYTHING,
        "tool_choice": TOOL | st.just("required") | ANYTHING,
        **dict.fromkeys(("text", "instructions", "max_output_tokens", "reasoning", "parallel_tool_calls"), ANYTHING),
    },
)


@given(BODIES, st.booleans())
def test_any_json_is_answered_or_refused(body: dict[str, Any], native: bool) -> None:
    try:
        items = items_of(body["input"])
        if native:
            items = StoredResponses(State()).context("m", None, "owner", items)
        chat = chat_of(body, items)
        check_completion(chat)
        reply = reply_to(chat, answer_to(chat["messages"], words_per_second=1))
    except Refused:
        return
    made = Body("resp_x", "m", body, native, None)
    assert made.whole(reply, [])["object"] == "response"
    assert made.ended(reply, [], 0.0)["id"] == made.beginning()["id"]
