"""Input items that contain all their content."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import BadUserInput
from resolvers.responses.items import own_items

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
COMPLETE: list[dict[str, Any]] = [
    {"role": "user", "content": ""},
    {"type": None, "role": "user", "content": "a"},
    CALL,
    {"type": "function_call_output", "call_id": "c", "output": ""},
    {"type": "apply_patch_call_output", "call_id": "c", "status": "completed"},
]


@pytest.mark.parametrize("item", COMPLETE)
def test_an_item_loses_an_id_that_it_does_not_need(item: dict[str, Any]) -> None:
    assert own_items([{**item, "id": "x_1"}, item]) == [item, item]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search"}},
        {"type": "local_shell_call_output", "id": "ls_1", "output": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    ],
)
def test_an_item_keeps_an_id_that_it_needs(item: dict[str, Any]) -> None:
    assert own_items([item]) == [item]


@pytest.mark.parametrize(
    "item",
    [
        {"id": "msg_1"},
        {"type": None, "id": "msg_1"},
        {"type": None, "role": "user", "content": None, "id": "msg_1"},
        {"type": "message", "content": "a"},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "computer_call", "id": "cu_1", "action": None},
        {"type": "function_call_output", "id": "fco_1", "call_id": "c"},
        {"type": "image_generation_call", "id": "ig_1", "result": "x"},
        {"type": ["message"], "role": "user", "content": "a"},
    ],
)
def test_an_item_that_refers_to_a_stored_item_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(BadUserInput) as caught:
        own_items([CALL, item])
    assert caught.value.details == {"param": "input[1]"}


def test_tools_in_an_item_are_refused() -> None:
    with pytest.raises(BadUserInput) as caught:
        own_items([{"role": "developer", "content": "a", "tools": [{"type": "mcp"}]}])
    assert caught.value.details == {"param": "input[0].tools"}


def test_reasoning_of_the_providers_store_is_omitted() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert own_items([thought, CALL]) == [CALL]
    with pytest.raises(BadUserInput):
        own_items([thought])
