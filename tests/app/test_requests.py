from __future__ import annotations

from typing import Any

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from app.rest.requests import Chat, Embeddings, check

NOT_TAKEN = {"metadata"}
"""To LiteLLM it is tags to route and charge by, guardrails to leave out, and where to log."""


def test_every_parameter_of_openais_sdk_is_known_or_refused_on_purpose() -> None:
    assert NOT_TAKEN.isdisjoint(Chat.__struct_fields__)
    known = {*Chat.__struct_fields__, *NOT_TAKEN}
    assert set(CompletionCreateParamsStreaming.__annotations__) <= known
    assert set(EmbeddingCreateParams.__annotations__) == set(Embeddings.__struct_fields__)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "https://example.com/a.pdf"}},
        {"type": "search_result", "source": "wiki:cats", "title": "Cats", "content": []},
    ],
)
def test_parts_that_only_some_models_support_are_accepted(part: dict[str, Any]) -> None:
    check({"model": "m", "messages": [{"role": "user", "content": [part]}]}, Chat)
