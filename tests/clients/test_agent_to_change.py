from __future__ import annotations

from typing import Any

import pytest

from clients.letta.records import AgentToChange


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"handle": "openai-proxy/old", "model": "old", "display_name": "Old", "model_endpoint": "e"},
            {"handle": "openai-proxy/new/er", "model": "new/er", "display_name": None, "model_endpoint": "e"},
        ),
        ({"handle": None, "model": "old"}, {"handle": None, "model": "new/er", "display_name": None}),
        ({"handle": "old"}, {"handle": "new/er", "model": "new/er", "display_name": None}),
        (
            {"context_window": 9000, "max_tokens": 900},
            {"context_window": 800, "max_tokens": 90, "model": "new/er", "display_name": None},
        ),
        (
            {"context_window": 700, "max_tokens": None},
            {"context_window": 700, "max_tokens": None, "model": "new/er", "display_name": None},
        ),
    ],
)
def test_another_model_in_a_config(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert AgentToChange(llm_config=config).with_model("new/er", context=800, output=90) == expected


def test_a_model_without_limits_leaves_them() -> None:
    config = AgentToChange(llm_config={"context_window": 9000}).with_model("new", context=None, output=None)
    assert config["context_window"] == 9000
