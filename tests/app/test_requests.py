from __future__ import annotations

from typing import Any

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from app.rest.requests import Chat, Embeddings, check


def test_every_parameter_of_openais_sdk_is_known() -> None:
    assert set(CompletionCreateParamsStreaming.__annotations__) <= set(Chat.__struct_fields__)
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
