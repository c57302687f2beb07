"""Every recorded answer of LiteLLM's Responses API, read by the gateway's own client over loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError
from clients.litellm import Done, Piece, ResponseLabels, StoredResponses, Unreadable
from tests.support.replay import Replay, replayed
from tests.support.samples import Sample, samples

in_one_loop = pytest.mark.asyncio(loop_scope="module")

KEY, MODEL = "sk-x", "m"
LABELS = ResponseLabels(lambda _: "ours")
SAMPLES = {
    sample.name: sample
    for sample in samples("litellm-1.110")
    if sample.path.startswith("/v1/responses") and not sample.path.endswith("/input_tokens")
}
ERRORS = {
    ("BAD_USER_INPUT", None): "err_no_input resp-like",
    ("BAD_USER_INPUT", "CONTEXT_LENGTH"): "up_ctx",
    ("BAD_USER_INPUT", "PREVIOUS_RESPONSE_NOT_FOUND"): "stored_prev_deleted prev_other_user prev_unknown",
    ("BUDGET_EXCEEDED", None): "err_budget",
    ("NOT_FOUND", "MODEL_NOT_FOUND"): "err_unknown_model fake-chat p_flag_off resp-vllm",
    ("NOT_FOUND", "RESPONSE_NOT_FOUND"): "GET_BRIDGED GET_NATIVE stored_get_deleted stored_get_not_issued "
    "stored_get_other_user",
    ("RATE_LIMITED", None): "err_rpm native_429 up_429 mid_errdone",
    ("UPSTREAM_ERROR", "CREDENTIAL"): "p_tenant_id",
    ("UPSTREAM_ERROR", "MODEL"): "mid_cut mid_nodone native_mid_errevent native_mid_failed",
}
"""The samples that become an error, by its code and reason. The last line's samples are streams."""
EXPECTED = {f"resp_{name}": key for key, names in ERRORS.items() for name in names.split()}


def test_all_recorded_answers_are_here() -> None:
    assert len(SAMPLES) == 51
    assert EXPECTED.keys() <= SAMPLES.keys()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replay() -> AsyncIterator[Replay]:
    async with replayed() as served:
        yield served


async def read(at: Replay, sample: Sample) -> Any:
    """Read a sample: a whole response, the pieces of a stream, or what is stored."""
    if sample.method == "POST":
        body = json.dumps(sample.asked).encode()
        if not sample.asked.get("stream"):
            return await at.litellm.respond(at.scope, KEY, body, MODEL, LABELS)
        async with at.litellm.respond_stream(at.scope, KEY, body, LABELS, opens_within=5) as stream:
            return [piece async for pieces in stream for piece in pieces], stream.usage
    stored = StoredResponses(at.litellm, at.scope, KEY, MODEL)
    if sample.method == "DELETE":
        return await stored.delete("resp_1", LABELS)
    if sample.path.endswith("/input_items"):
        return await stored.input_items("resp_1", [])
    return await stored.get("resp_1", LABELS)


def shown(sample: Sample) -> Any:
    """Return a whole answer with the client's id, and with the text of LiteLLM's bridged reasoning as a summary."""
    changed: dict[str, Any] = {"id": "ours", "previous_response_id": None}
    if sample.json.get("output"):
        changed["output"] = [_whole(item) for item in sample.json["output"]]
    return {**sample.json, **{name: value for name, value in changed.items() if name in sample.json}}


def _whole(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] != "reasoning" or "summary" in item:
        return item
    texts = [{"type": "summary_text", "text": part["text"]} for part in item["content"]]
    return {name: value for name, value in item.items() if name not in {"content", "role"}} | {"summary": texts}


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - EXPECTED.keys()))
@in_one_loop
async def test_an_answer_has_its_content(replay: Replay, name: str) -> None:
    sample = SAMPLES[name]
    replay.answer(sample)
    found = await read(replay, sample)
    if sample.streams:
        pieces, spent = found
        assert_stream(pieces, spent, sample)
    elif sample.path.endswith("/input_items"):
        assert json.loads(found) == sample.json
    elif isinstance(found, bytes):
        assert without_nulls(json.loads(found)) == without_nulls(shown(sample))
    else:
        assert without_nulls(json.loads(found.raw)) == without_nulls(shown(sample))
        usage = sample.json["usage"]
        assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (
            usage["input_tokens"],
            usage["output_tokens"],
        )
        assert "x-litellm-call-id" in found.headers


def assert_stream(pieces: list[Piece | Unreadable | Done], usage: Any, sample: Sample) -> None:
    """Assert that the pieces have the text, reasoning, tool calls and usage of the last event."""
    response = sample.events[-1]["response"]
    read = [piece for piece in pieces if isinstance(piece, Piece)]
    output = response["output"]
    texts = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    arguments = [item["arguments"] for item in output if item["type"] == "function_call"]
    assert "".join(piece.text for piece in read).strip() == "".join(texts).strip()
    assert "".join(call.arguments for piece in read for call in piece.calls) == "".join(arguments)
    assert bool("".join(piece.reasoning for piece in read)) == any(item["type"] == "reasoning" for item in output)
    last = pieces[-1]
    assert isinstance(last, Done)
    ends = {"completed": "tool_calls" if arguments else "stop", "incomplete": "length"}
    assert last.finish == ends[response["status"]]
    assert usage.completion_tokens == response["usage"]["output_tokens"]
    events = [json.loads(piece.raw.partition(b"data: ")[2]) for piece in pieces if piece.raw]
    assert [event["type"] for event in events] == [event["type"] for event in sample.events]
    shown_items = events[-1]["response"]["output"]
    assert [item["summary"] for item in shown_items if item["type"] == "reasoning"] == [
        _whole(item)["summary"] for item in output if item["type"] == "reasoning"
    ]


@pytest.mark.parametrize("name", EXPECTED)
@in_one_loop
async def test_an_error_is_the_gateways_own(replay: Replay, name: str) -> None:
    sample = SAMPLES[name]
    replay.answer(sample)
    with pytest.raises(GatewayError) as caught:
        await read(replay, sample)
    code, reason = EXPECTED[name]
    assert (caught.value.code, caught.value.reason) == (ErrorCode(code), None if reason is None else Reason(reason))
    assert "litellm." not in str(caught.value)


def without_nulls(value: Any) -> Any:
    """Return a JSON value without null token counts and details, in whose place clients get 0."""
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: without_nulls(one)
        for name, one in value.items()
        if not (name.endswith(("_tokens", "_tokens_details")) and one in (None, 0))
    }
