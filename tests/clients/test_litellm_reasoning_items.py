"""The reasoning items of responses are completed, and all other items are unchanged."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.litellm.reasoning_items import complete_output

BRIDGED = {"type": "reasoning", "id": "rs_1", "status": "completed", "role": "assistant"}
SUMMARY = [{"type": "summary_text", "text": "hm"}]
WHOLE: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": SUMMARY}
SCALAR = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def completed(output: object, *, encrypted: bool = False) -> Any:
    return json.loads(bytes(complete_output(msgspec.Raw(json.dumps(output).encode()), encrypted=encrypted)))


@pytest.mark.parametrize(
    ("content", "summary"),
    [
        ([{"type": "output_text", "text": "hm", "annotations": []}], SUMMARY),
        ([{"text": "hm"}, {"text": 1}, 2, {"text": "hm"}], SUMMARY * 2),
        ([], []),
        (None, []),
        ("hm", []),
    ],
)
def test_content_becomes_the_missing_summary(content: object, summary: object) -> None:
    found = {"type": "reasoning", "id": "rs_1", "status": "completed", "summary": summary}
    assert completed([{**BRIDGED, "content": content}]) == [found]
    assert completed([{**BRIDGED, "content": content, "summary": None}]) == [found]


def test_a_summary_is_kept() -> None:
    for thought in (WHOLE, WHOLE | {"summary": []}, WHOLE | {"content": [{"type": "reasoning_text", "text": "x"}]}):
        assert completed([thought]) == [thought]


@pytest.mark.parametrize(
    ("sent", "shown"), [({}, ""), ({"encrypted_content": None}, ""), ({"encrypted_content": "gAAA"}, "gAAA")]
)
def test_encrypted_content_is_a_text_on_request(sent: dict[str, Any], shown: str) -> None:
    assert completed([WHOLE | sent]) == [WHOLE | sent]
    assert completed([WHOLE | sent], encrypted=True) == [WHOLE | {"encrypted_content": shown}]


@pytest.mark.parametrize("output", [b"null", b'"reasoning"', b'{"type":"reasoning"}', b'["reasoning", {'])
def test_what_is_no_list_is_unchanged(output: bytes) -> None:
    assert bytes(complete_output(msgspec.Raw(output), encrypted=True)) == output


@given(st.lists(JSON.filter(lambda item: not isinstance(item, dict) or item.get("type") != "reasoning")))
def test_other_items_are_unchanged(items: list[Any]) -> None:
    about = {"type": "message", "content": [{"text": "reasoning"}]}
    assert completed([WHOLE, *items, about], encrypted=True)[1:] == [*items, about]


@given(st.dictionaries(st.text(), JSON))
def test_each_reasoning_item_is_complete(fields: dict[str, Any]) -> None:
    [found] = completed([{**fields, "type": "reasoning"}], encrypted=True)
    assert isinstance(found["summary"], list)
    assert isinstance(found["encrypted_content"], str)
    assert completed([found], encrypted=True) == [found]
