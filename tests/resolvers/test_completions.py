from __future__ import annotations

import pytest

from clients.decode import decode
from clients.errors import Service
from resolvers.streams.completions import _CHUNK, CompletionSource
from resolvers.streams.events import Event, Raw, TextDelta, ToolCallDelta


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ('{"choices": null}', [Raw()]),
        ('{"choices": [{"delta": null}]}', [Raw()]),
        ('{"choices": [{"index": 0, "delta": {"content": "a"}}]}', [TextDelta(text="a")]),
        (
            '{"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}',
            [TextDelta(text="a")],
        ),
        ('{"choices": [{"delta": {"tool_calls": [{"index": null, "id": "c"}]}}]}', [ToolCallDelta(tool_call_id="c")]),
    ],
)
def test_what_a_chunk_says_in_the_graph(chunk: str, expected: list[Event]) -> None:
    source = CompletionSource(None, "key", b"", wants_usage=True)  # type: ignore[arg-type]
    pairs = source._from(decode(Service.LITELLM, _CHUNK, chunk.encode()), chunk.encode())
    assert [event for event, _ in pairs] == expected
    assert b"".join(raw for _, raw in pairs) == chunk.encode()
