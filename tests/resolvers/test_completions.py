"""The source of a completion, with the bytes of an upstream's body."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import BadUserInput, GatewayError, RateLimited, UpstreamError, UpstreamTimeout
from clients.limiter import MemoryLimiter
from clients.litellm import CompletionStream
from clients.origin import Origin
from clients.upstream import StreamedAnswer
from clients.usage import Usage
from resolvers.limits import LimitKind, RateLimits
from resolvers.sources.completions import CompletionSource
from resolvers.streams.events import (
    Ended,
    Entry,
    Event,
    FinishReason,
    Raw,
    ReasoningDelta,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.merging import joined_calls, merged
from resolvers.streams.timeouts import Timeouts
from resolvers.tokens import Need
from tests.support.cached import changes_nothing

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
READ_USAGE = Usage(prompt_tokens=7, completion_tokens=5, total_tokens=12)
DONE = END = b"data: [DONE]\n\n"


class Heard:
    """The results of a body: events, bytes for ``/v1``, and the error that ended it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.raw = b""
        self.error: GatewayError | None = None
        self.usage: Usage | None = None
        self.unreadable = 0

    def event_unreadable(self, kind: str) -> None:
        self.unreadable += 1

    def request_refused(self, limit: LimitKind) -> None: ...

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if type(event) is TextDelta)

    @property
    def ended(self) -> Ended:
        assert isinstance(self.events[-1], Ended)
        return self.events[-1]


async def heard(*body: bytes | Any, wants_usage: bool = True) -> Heard:
    """Read a body. Chunks are bytes, or values that become the JSON of an event."""
    found = Heard()

    async def pieces() -> AsyncIterator[bytes]:
        for one in body:
            yield one if isinstance(one, bytes) else b"data: " + json.dumps(one).encode() + b"\n\n"

    @asynccontextmanager
    async def opened() -> AsyncIterator[StreamedAnswer]:
        yield StreamedAnswer({}, pieces())

    def stream(*_: object, wants_usage: bool, **__: object) -> CompletionStream:
        return CompletionStream(opened(), "sk-key", wants_usage=wants_usage)

    timeouts = Timeouts(request=9, llm_total=9, first_token=9, idle=9)
    limits = RateLimits(MemoryLimiter(), {}, found)
    litellm = SimpleNamespace(stream=stream)
    resources = SimpleNamespace(metrics=found, timeouts=timeouts, litellm=litellm, limits=limits, platform_key=None)
    user = SimpleNamespace(user_id="ada")
    context = SimpleNamespace(
        resources=resources,
        model_scope=lambda: None,
        origin=Origin.USER,
        principal=user,
        changed=changes_nothing,
    )
    source = CompletionSource(context, "key", b"", Need(1), wants_usage=wants_usage)  # type: ignore[arg-type]
    try:
        async for batch in source.events():
            found.events += [event for event, _ in batch.events]
            found.raw += b"".join(raw for _, raw in batch.events)
    except GatewayError as error:
        found.error = error
    found.usage = source.usage
    return found


def chunk(delta: Any = None, finish: Any = None, *, index: Any = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"choices": None}, [Raw()]),
        ({"choices": [{"delta": None}]}, [Raw()]),
        (chunk({"content": "a"}), [TextDelta(text="a")]),
        (chunk({"content": "a", "reasoning": "hm"}), [ReasoningDelta(text="hm"), TextDelta(text="a")]),
        (
            {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]},
            [TextDelta(text="a")],
        ),
        (chunk({"tool_calls": [{"index": None, "id": "c"}]}), [ToolCallDelta(tool_call_id="c")]),
    ],
)
async def test_the_events_of_a_chunk(wire: Any, expected: list[Event]) -> None:
    found = await heard(wire, END)
    assert found.events[1:-1] == expected
    assert found.raw == b"data: " + json.dumps(wire).encode() + b"\n\n" + DONE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    *("id", "model", "usage", "choices", "x"),
    *("usage.cost", "usage.prompt_tokens", "usage.prompt_tokens_details", "usage.prompt_tokens_details.cached_tokens"),
    *("choices.0", "choices.0.index", "choices.0.delta", "choices.0.finish_reason", "choices.0.logprobs"),
    *("choices.0.delta.content", "choices.0.delta.role", "choices.0.delta.reasoning_content"),
    *("choices.0.delta.reasoning_details", "choices.0.delta.thinking_blocks", "choices.0.delta.refusal"),
    *("choices.0.delta.tool_calls", "choices.0.delta.tool_calls.0", "choices.0.delta.tool_calls.0.index"),
    *("choices.0.delta.tool_calls.0.id", "choices.0.delta.tool_calls.0.function"),
    *("choices.0.delta.tool_calls.0.function.name", "choices.0.delta.tool_calls.0.function.arguments"),
    *("choices.0.delta.tool_calls.0.custom", "choices.0.delta.function_call"),
    *("choices.0.delta.provider_specific_fields", "choices.0.message", "choices.0.text"),
]


def with_value(path: str, value: Any) -> dict[str, Any]:
    """Return a chunk without text, with a value at one of its positions."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}
    wire: Any = chunk({"tool_calls": [call]}, index=1, usage={**USAGE, "prompt_tokens_details": {}})
    *parents, last = path.split(".")
    place = wire
    for name in parents:
        place = place[int(name) if name.isdecimal() else name]
    place[int(last) if last.isdecimal() else last] = value
    return dict(wire)


@given(st.sampled_from(FIELDS), json_values, st.booleans())
def test_an_odd_value_does_not_lose_the_text_of_other_chunks(path: str, value: Any, wants_usage: bool) -> None:
    odd = with_value(path, value)
    body = [chunk({"content": "Hello "}), odd, chunk({"content": "world"}), chunk(None, "stop"), END]
    found = asyncio.run(heard(*body, wants_usage=wants_usage))
    assert found.error is None
    assert found.ended.outcome is StreamOutcome.COMPLETED
    assert found.text.startswith("Hello ")
    assert found.text.endswith("world")
    assert found.raw.endswith(DONE)


@given(st.binary(max_size=40))
def test_an_unreadable_event_is_forwarded_and_loses_no_text(data: bytes) -> None:
    odd = b"data: {\x00" + data.replace(b"\n", b"").replace(b"\r", b"") + b"\n\n"
    found = asyncio.run(heard(chunk({"content": "Hello "}), odd, chunk({"content": "world"}), chunk(None, "stop"), END))
    assert (found.text, found.ended.outcome, found.unreadable) == ("Hello world", StreamOutcome.COMPLETED, 1)
    assert odd in found.raw


async def test_an_answer_of_unreadable_events_is_an_error() -> None:
    found = await heard(b"data: <html>\n\n", b"data: ping\n\n")
    assert isinstance(found.error, UpstreamError)
    assert found.error.reason == "DECODE"


async def test_an_event_without_data_is_not_passed_on() -> None:
    found = await heard(b"data:\n\n", chunk({"content": "a"}, "stop"), b"data: \n\n", END)
    assert (found.text, found.unreadable) == ("a", 0)
    assert b"data: \n" not in found.raw
    assert b"data:\n" not in found.raw


async def test_a_body_that_ends_after_its_finish_reason_is_whole() -> None:
    found = await heard(chunk({"content": "a"}), chunk(None, "length"), chunk(None, usage=USAGE))
    assert (found.ended.outcome, found.ended.finish_reason) == (StreamOutcome.COMPLETED, FinishReason.LENGTH)
    assert found.ended.usage == READ_USAGE
    assert found.raw.endswith(DONE)


@pytest.mark.parametrize(
    "body",
    [
        [chunk({"content": "a"})],
        [chunk({"content": "a"}, "stop"), chunk({"content": "b"}, index=1)],
        [],
        [b": comment\n\n"],
        [chunk({"content": "a"}), b'data: {"choices": [{"ind'],
    ],
    ids=["without", "of one choice of two", "nothing", "a comment", "half a chunk"],
)
async def test_a_body_that_ends_before_its_finish_reason_is_cut(body: list[Any]) -> None:
    found = await heard(*body)
    assert isinstance(found.error, UpstreamError)
    assert (found.error.reason, DONE in found.raw) == ("CUT", False)


async def test_usage_reported_before_the_end_is_kept() -> None:
    found = await heard(chunk({"content": "a"}, usage=USAGE), chunk({"content": "b"}, usage="later"))
    assert found.error is not None
    assert found.usage == READ_USAGE


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ({"message": "x", "code": "408", "type": "invalid_request_error"}, UpstreamTimeout, "TOTAL"),
        ({"message": "x", "code": "429", "type": None}, RateLimited, None),
        ({"message": "x", "code": 429}, RateLimited, None),
        ({"message": "x", "code": "rate_limit_exceeded"}, RateLimited, None),
        ({"message": "x", "type": "throttling_error"}, RateLimited, None),
        (
            {"message": "The maximum context length is 8 tokens.", "code": "400"},
            BadUserInput,
            "CONTEXT_LENGTH",
        ),
        ({"message": "The maximum context length is 8 tokens."}, BadUserInput, "CONTEXT_LENGTH"),
        ({"message": "The maximum context length is 8 tokens.", "code": "500"}, UpstreamError, "MODEL"),
        ("The response was blocked.", BadUserInput, "CONTENT_FILTER"),
        ({"message": "x", "code": "context_length_exceeded"}, BadUserInput, "CONTEXT_LENGTH"),
        ({"message": "litellm.ContextWindowExceededError: x", "code": "500"}, BadUserInput, "CONTEXT_LENGTH"),
        ({"message": "x", "code": "content_filter"}, BadUserInput, "CONTENT_FILTER"),
        ({"message": "litellm.ContentPolicyViolationError: x", "code": "400"}, BadUserInput, "CONTENT_FILTER"),
        ({"message": "x", "code": "400"}, BadUserInput, None),
        ({"message": "x", "code": "401"}, UpstreamError, "CREDENTIAL"),
        ({"message": "x", "code": "500"}, UpstreamError, "MODEL"),
        ({"message": "x", "code": None}, UpstreamError, "MODEL"),
        ({"message": "x", "code": "77"}, UpstreamError, "MODEL"),
        ("overloaded", UpstreamError, "MODEL"),
        (True, UpstreamError, "MODEL"),
    ],
)
async def test_an_error_event_is_classified_by_its_code(
    error: Any, kind: type[GatewayError], reason: str | None
) -> None:
    found = await heard(chunk({"content": "a"}), {"error": error}, END)
    assert type(found.error) is kind
    assert found.error.reason == reason
    assert (found.text, b"error" in found.raw, DONE in found.raw) == ("a", False, False)


async def test_an_error_event_has_an_entry_of_its_own_without_bytes() -> None:
    found = await heard(chunk({"content": "a"}), {"error": {"message": "x"}})
    assert (found.events[1:], found.raw.count(b"data:")) == ([TextDelta(text="a"), Raw()], 1)


async def test_usage_that_was_not_requested_has_no_entry() -> None:
    usage_alone = {"choices": [], "usage": USAGE}
    found = await heard(chunk({"content": "a"}, "stop"), usage_alone, END, wants_usage=False)
    assert found.events[1:-1] == [TextDelta(text="a")]
    requested = await heard(chunk({"content": "a"}, "stop"), usage_alone, END)
    assert requested.events[1:-1] == [TextDelta(text="a"), Raw()]


async def test_a_stream_that_an_error_event_ends_is_freed_without_the_garbage_collector() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'data: {"error": {"message": "x"}}\n\n'

    @asynccontextmanager
    async def opened() -> AsyncIterator[StreamedAnswer]:
        yield StreamedAnswer({}, pieces())

    class Frame:
        """Represents the objects that the error's stack frames keep alive."""

    async def read(_: Frame) -> None:
        async with CompletionStream(opened(), "sk-key", wants_usage=True) as stream:
            async for _piece in stream:
                pass

    frame = Frame()
    is_there = weakref.ref(frame)
    gc.disable()
    try:
        with pytest.raises(UpstreamError):
            await read(frame)
        del frame
        assert is_there() is None
    finally:
        gc.enable()


async def test_only_chunks_with_nothing_but_usage_are_withheld() -> None:
    body = [
        chunk({"role": "assistant"}, usage=USAGE),
        chunk({"role": "assistant"}, index=1, usage=USAGE),
        chunk({"content": "left"}, usage=USAGE),
        chunk({"content": "right"}, index=1, usage=USAGE),
        chunk({"refusal": "no"}, usage=USAGE),
        chunk(None, "stop", usage=USAGE),
        {"choices": [], "usage": USAGE},
        chunk(None, usage=USAGE),
        END,
    ]
    found = await heard(*body, wants_usage=False)
    kept = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in body[:6]]
    assert found.raw == b"".join(kept) + DONE
    assert (found.text, found.ended.usage) == ("leftno", READ_USAGE)
    assert (await heard(*body, wants_usage=True)).raw.count(b'"usage"') == 8


async def test_calls_with_equal_indexes_get_different_ones() -> None:
    def call(**told: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": 0, **told}]})

    found = await heard(
        call(id="a", function={"name": "roll", "arguments": '{"sides":'}),
        call(id="", function={"name": "", "arguments": "6}"}),
        call(id="b", function={"name": "flip", "arguments": ""}),
        call(function={"arguments": '{"times":2}'}),
        chunk(None, "tool_calls"),
        END,
    )
    told = [
        (one.index, one.tool_call_id, one.name, one.arguments_delta)
        for one in found.events
        if isinstance(one, ToolCallDelta)
    ]
    assert told == [
        (0, "a", "roll", '{"sides":'),
        (0, None, None, "6}"),
        (1, "b", "flip", ""),
        (1, None, None, '{"times":2}'),
    ]
    assert [(one.tool_call_id, one.arguments_delta) for one in joined_calls(found.events)] == [
        ("a", '{"sides":6}'),
        ("b", '{"times":2}'),
    ]


def test_waiting_pieces_are_merged_as_whole_answers_are_joined() -> None:
    first = ToolCallDelta(index=0, arguments_delta="{")
    late = ToolCallDelta(index=0, tool_call_id="a", name="f", arguments_delta="}")
    other = ToolCallDelta(index=1, tool_call_id="b", name="g")
    another = ToolCallDelta(index=0, tool_call_id="c")
    assert merged([Entry(1, first), Entry(2, late)]) == [Entry(2, call) for call in joined_calls([first, late])]
    for apart in (other, another):
        assert merged([Entry(1, late), Entry(2, apart)]) == [Entry(1, late), Entry(2, apart)]
