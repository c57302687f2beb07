"""Every recorded exchange, read by the gateway's own clients over loopback.

The first line of ``READS`` that matches a sample reads it; ``UNREAD`` has the reasons for all other samples. A record
must have the values of its answer. An error must become the gateway's own error, without any text of the upstream.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from clients import litellm
from clients import owned as ids
from clients.errors import GatewayError
from clients.letta import turns
from clients.letta.frames import Done, ErrorFrame, Frame, MessageFrame, Ping, StopReason
from clients.letta.messages import MessageRecord, OpaqueMessage, decode_page
from clients.letta.sending import SentMessage
from clients.litellm import ModelAnswer, Piece, UsageLine
from clients.litellm.keys import ACTIVITY, lines
from clients.usage import Usage
from tests.support.owned import conversation, owned
from tests.support.replay import Replay, replayed
from tests.support.samples import BROKEN, Sample, samples

in_one_loop = pytest.mark.asyncio(loop_scope="module")

_NUMBER = "00000000-0000-4000-8000-000000000001"
AGENT = owned(ids.OwnedAgentId, f"agent-{_NUMBER}")
DEFAULT = conversation(agent_id=AGENT)
CONVERSATION = conversation(f"conv-{_NUMBER}", AGENT)
CLAIMED = owned(ids.ClaimedConversationId, f"conv-{_NUMBER}")
OWNED = owned(ids.OwnedConversationId, f"conv-{_NUMBER}")
BLOCK = owned(ids.ClaimedBlockId, f"block-{_NUMBER}")
RUN = owned(ids.OwnedRunId, f"run-{_NUMBER}")
HELLO = SentMessage(content=[{"type": "text", "text": "hi"}], otid="o")
KEY, DAY = "sk-x", date(2026, 11, 23)

Read = Callable[[Replay, Sample], Awaitable[Any]]


def agent(at: Replay, _: Sample) -> Awaitable[Any]:
    return at.letta.agent(at.scope, AGENT)


def block(at: Replay, _: Sample) -> Awaitable[Any]:
    return at.letta.update_block(at.scope, owned(ids.OwnedBlockId, f"block-{_NUMBER}"), "v")


async def turn(at: Replay, sample: Sample) -> list[Frame]:
    async with at.letta.send(at.scope, CONVERSATION, HELLO, opens_within=5) as opened:
        return await everything(opened.frames)


async def turn_again(at: Replay, sample: Sample) -> list[Frame]:
    numbers = turns.FrameNumbers((sample.asked or {}).get("starting_after", 0))
    async with at.letta.resume(at.scope, CONVERSATION, RUN, opens_within=5, numbers=numbers) as opened:
        return await everything(opened.frames)


async def whole_turn(_: Replay, sample: Sample) -> list[MessageRecord]:
    """Read a whole answer as the messages of a stream, since the gateway always streams."""
    return decode_page(json.dumps(sample.json["messages"]).encode(), CONVERSATION, newest_first=False)


async def page(at: Replay, sample: Sample) -> list[MessageRecord]:
    """Read the messages of a conversation, or of an agent, which are oldest first in any order."""
    newest, conversation = "order=asc" not in sample.path, DEFAULT if "/agents/" in sample.path else CONVERSATION
    return await at.letta.messages(at.scope, conversation, limit=100, newest_first=newest)


async def chat(at: Replay, sample: Sample) -> Any:
    body = json.dumps(sample.asked).encode()
    if not isinstance(sample.asked, dict) or not sample.asked.get("stream"):
        return await at.litellm.complete(at.scope, KEY, body, "m")
    async with at.litellm.stream(at.scope, KEY, body, opens_within=5, wants_usage=True) as stream:
        return await everything(with_error(one async for batch in stream for one in batch))


async def usage(at: Replay, sample: Sample) -> list[UsageLine]:
    """Read the usage of a recorded key, whose hash is in the sample."""
    assert await at.litellm.usage(at.scope, KEY, DAY, DAY) == []
    hashes = sample.json["results"][0]["breakdown"]["api_keys"]
    return [line for key in hashes for line in lines(ACTIVITY.decode(sample.body), key)]


async def cancel(at: Replay, _: Sample) -> None:
    return await at.letta.cancel(at.scope, AGENT, RUN)


async def with_error(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Return the items, and the error that ends them."""
    try:
        async for item in items:
            yield item
    except GatewayError as error:
        yield error


async def everything(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


PASSAGES = r"/v1/agents/[\w-]+/archival-memory(\?.*)?"
READS: list[tuple[str, str, str, Read]] = [
    ("letta", "POST", r"/v1/agents/", agent),
    ("letta", "GET|PATCH", r"/v1/agents/(agent-[\w-]+(/reset-messages|\?.*)?|not-an-id)", agent),
    ("letta", "PATCH", r".*/core-memory/blocks/(at|de)tach/.*", agent),
    ("letta", "GET", r"/v1/agents/(\?.*)?", lambda at, _: at.letta.agents_by_tag(at.scope, "t", limit=50)),
    ("letta", "GET", r"/v1/conversations/\?.*", lambda at, _: at.letta.conversations(at.scope, AGENT, limit=50)),
    ("letta", "POST", r"/v1/conversations/\?.*", lambda at, _: at.letta.create_conversation(at.scope, AGENT, "s")),
    ("letta", "GET|PATCH", r"/v1/conversations/[\w-]+", lambda at, _: at.letta.conversation(at.scope, CLAIMED)),
    ("letta", "POST", r"/v1/(conversations|runs)/[\w-]+/stream", turn_again),
    ("letta", "POST", r"/v1/(agents|conversations)/[\w-]+/messages(/stream)?", turn),
    ("letta", "GET", r"/v1/(agents|conversations)/[\w-]+/messages(\?.*)?|/v1/messages/message-.*", page),
    ("letta", "POST", r"/v1/(agents/[\w-]+/messages|conversations/[\w-]+)/cancel", cancel),
    ("letta", "GET", r"/v1/runs/(\?.*|active)", lambda at, _: at.letta.active_runs(at.scope, [AGENT])),
    ("letta", "GET", r"/v1/runs/run-[\w-]+", lambda at, _: at.letta.run(at.scope, RUN)),
    ("letta", "GET", r"/v1/runs/[\w-]+/messages", lambda at, _: at.letta.run_messages(at.scope, RUN, CONVERSATION)),
    ("letta", "GET", r"/v1/blocks/[\w-]+/agents", lambda at, _: at.letta.block_agents(at.scope, BLOCK)),
    ("letta", "GET|PATCH|POST", r"/v1/blocks/([\w-]+)?", block),
    ("letta", "GET", PASSAGES, lambda at, _: at.letta.passages(at.scope, AGENT, limit=9, newest_first=True)),
    ("letta", "POST", PASSAGES, lambda at, _: at.letta.insert_passage(at.scope, AGENT, "text", None)),
    ("letta", "GET", r"/v1/runs/[\w-]+/steps", lambda at, _: at.letta.run_steps(at.scope, RUN)),
    ("letta", "GET", r"/v1/runs/[\w-]+/usage", lambda at, _: at.letta.run_usage(at.scope, RUN)),
    ("letta", "DELETE", r"/v1/agents/[\w-]+", lambda at, _: at.letta.delete_agent(at.scope, AGENT)),
    ("letta", "DELETE", r"/v1/conversations/[\w-]+", lambda at, _: at.letta.delete_conversation(at.scope, OWNED)),
    ("letta", "GET|PATCH", r"/v1/agents/[\w-]+/core-memory/blocks/\w+", block),
    ("litellm", "POST", r"/v1/chat/completions", chat),
    ("litellm", "POST", r"/v1/embeddings", lambda at, _: at.litellm.embeddings(at.scope, KEY, b"{}", "m")),
    ("litellm", "GET", r"/v1/models", lambda at, _: at.litellm.openai_models(at.scope, KEY)),
    ("litellm", "GET", r"/model_group/info", lambda at, _: at.litellm.models(at.scope, KEY)),
    ("litellm", "GET", r"(/v1)?/model/info", lambda at, _: at.litellm.model_details(at.scope, KEY)),
    ("litellm", "GET", r"/user/daily/activity\?.*", usage),
    ("litellm", "GET", r"/key/info(\?.*)?", lambda at, _: at.litellm.key_info(at.scope, KEY)),
]
"""Service, methods, path, and the client's call that reads it. Paths with equal answers share a call."""

ADMINS, UNUSED = "an administrator's", "not used"
UNREAD: list[tuple[str, str, str]] = [
    ("letta", r".* /v1/(admin|identities|providers|ready|tags|steps)/.*|GET /v1/messages/(batches|\?.*)", UNUSED),
    ("letta", r"POST /v1/chat/completions|POST /v1/.*/messages/async|POST /v1/tools/", UNUSED),
    ("letta", r"GET /v1/agents/(count|[^/]+/(context|tools))", "tools come with the agent"),
    ("letta", r"GET /v1/health/?", "its status alone is read"),
    ("letta", r"PATCH .*/tools/.*", "its status alone is read"),
    ("letta", r"GET .*/archival-memory/search\?.*", "POST /v1/passages/search returns more"),
    ("letta", r"GET /v1/(blocks/\?.*|agents/[^/]+/core-memory/blocks)", "blocks come with the agent"),
    ("letta", r"GET /v1/(tools|models)/.*", "tools come with the agent, models from LiteLLM"),
    ("litellm", r".* /(key/(generate|block|delete|list|update)|(v2/)?(team|user)/(info|list|new))\b.*", ADMINS),
    ("litellm", r"GET /(global|spend)/.*", ADMINS),
    ("litellm", r"POST /v1/(completions|responses/input_tokens)", "an API that the gateway does not have"),
    ("litellm", r".* /v1/responses(?!/input_tokens).*", "test_response_samples.py reads it"),
    ("litellm", r"GET /v1/models/.*|POST /v2/key/info", "each user has one key, and its models are listed"),
    ("litellm", r"GET /health.*", "its status alone is read"),
    ("litellm", r"GET /(nope|v1/chat/completions)", "does not exist"),
]

FOLDERS = ("letta", "litellm", "litellm-1.110")
SAMPLES = [sample for folder in FOLDERS for sample in samples(folder)]

ERRORS = {
    ("letta", "BAD_USER_INPUT", None): "conv_bad conv_stream_resume err_422_agent_create err_422_bad_agent_id "
    "conv_stream_retrieve err_bad_json err_msg_422 err_msg_empty run_stream_nonbg",
    ("letta", "CONFLICT", "RUN_BUSY"): "conv_busy_second",
    ("letta", "NOT_FOUND", None): "agent_delete_404 agent_get_as_user_b agent_patch_404 block_by_label_404 conv_404 "
    "err_404_agent err_agent_bad_model err_msg_404 err_msg_stream_404 msg_by_id msgs_list_bad_after run_404",
    ("letta", "UPSTREAM_ERROR", "CREDENTIAL"): "err_401 err_401_wrong",
    ("letta", "RATE_LIMITED", None): "msg_send_err_429",
    ("letta", "UPSTREAM_ERROR", "STATUS"): "agents_list_bad_limit msg_send_err_500",
    ("litellm", "BAD_USER_INPUT", None): "err_bad_json err_no_messages err_up_400",
    ("litellm", "BAD_USER_INPUT", "CONTEXT_LENGTH"): "err_up_ctx",
    ("litellm", "BUDGET_EXCEEDED", None): "db_err_budget",
    ("litellm", "FORBIDDEN", "MODEL_NOT_ALLOWED"): "db_err_model_not_allowed",
    ("litellm", "NOT_FOUND", "MODEL_NOT_FOUND"): "db_err_unknown_model_vkey db_key_info_404 err_no_model "
    "err_unknown_model err_unknown_model_stream err_up_404",
    ("litellm", "RATE_LIMITED", None): "db_err_rpm_limit db_err_rpm_limit_stream db_rpm_1 err_429 err_429_stream "
    "rpm_2_limited",
    ("litellm", "UPSTREAM_ERROR", "CREDENTIAL"): "db_err_badkey db_err_badkey_nosk db_err_blocked db_err_deleted "
    "db_err_expired db_models_badkey err_badkey err_badkey_nosk err_noauth err_up_401 models_badkey models_noauth",
    ("litellm", "UPSTREAM_ERROR", "MODEL"): "err_500 err_up_503",
    ("litellm", "UPSTREAM_ERROR", "STATUS"): "key_info_nodb",
    ("litellm", "UPSTREAM_TIMEOUT", "TOTAL"): "err_hang err_hang_stream",
    ("litellm-1.110", "BAD_USER_INPUT", "CONTEXT_LENGTH"): "up_ctx",
    ("litellm-1.110", "NOT_FOUND", "MODEL_NOT_FOUND"): "up_404",
    ("litellm-1.110", "RATE_LIMITED", None): "rpm_2 rpm_2_stream up_429",
    ("litellm-1.110", "UPSTREAM_ERROR", "CREDENTIAL"): "err_badkey err_noauth",
    ("litellm-1.110", "UPSTREAM_ERROR", "MODEL"): "up_500",
    ("litellm-1.110", "UPSTREAM_TIMEOUT", "TOTAL"): "up_hang",
}
"""The samples that become an error, by its folder, code and reason."""
EXPECTED = {f"{key[0]}/{name}": key[1:] for key, names in ERRORS.items() for name in names.split()}
WAITS = dict.fromkeys(("db_err_rpm_limit", "db_err_rpm_limit_stream", "db_rpm_1"), 60.0)
WAITS |= dict.fromkeys(("rpm_2", "rpm_2_stream"), 60.0)
WAITS |= dict.fromkeys(("err_429", "err_429_stream", "up_429"), 2.0)
"""The ``retry-after`` of LiteLLM or of the provider, in seconds."""
PARAMS = {"err_bad_json": "request_body", "err_no_messages": "messages", "err_up_400": "temperature"}
"""The parameters that LiteLLM's refusals name."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replay() -> AsyncIterator[Replay]:
    async with replayed() as served:
        yield served


def reader_of(sample: Sample) -> Read | None:
    for service, methods, pattern, read in READS:
        if service == sample.service and re.fullmatch(methods, sample.method) and re.fullmatch(pattern, sample.path):
            return whole_turn if read is turn and sample.status == 200 and not sample.streams else read
    return None


READ = [sample for sample in SAMPLES if reader_of(sample) is not None and sample.status]
FAILED = [sample for sample in READ if sample.status >= 400 and sample.name != "bg_stream_noredis"]
READABLE = [sample for sample in READ if sample.status < 400]


def named(chosen: list[Sample]) -> dict[str, Any]:
    return {"argvalues": chosen, "ids": [sample.id.replace("/", "-") for sample in chosen]}


def test_all_recorded_exchanges_are_here() -> None:
    assert [len(samples(folder)) for folder in FOLDERS] == [149, 111, 79]


@pytest.mark.parametrize("sample", **named(SAMPLES))
def test_a_sample_is_read_or_has_a_reason(sample: Sample) -> None:
    asked = f"{sample.method} {sample.path}"
    reasons = [
        reason for service, pattern, reason in UNREAD if service == sample.service and re.fullmatch(pattern, asked)
    ]
    assert len(reasons) == (reader_of(sample) is None)


@pytest.mark.parametrize("pattern", [f"{service} {pattern}" for service, pattern, _ in UNREAD])
def test_each_reason_is_used(pattern: str) -> None:
    unread = [f"{one.service} {one.method} {one.path}" for one in SAMPLES if reader_of(one) is None]
    service, _, rest = pattern.partition(" ")
    assert any(re.fullmatch(f"{service} (?:{rest})", asked) for asked in unread)


@pytest.mark.parametrize("sample", **named(READABLE))
@in_one_loop
async def test_a_record_has_the_values_of_its_answer(replay: Replay, sample: Sample) -> None:
    read = reader_of(sample)
    assert read is not None
    replay.answer(sample)
    found = await read(replay, sample)
    if found is None:
        assert read is cancel or sample.method == "DELETE"
    elif read is usage:
        assert_usage(found, sample.json)
    elif isinstance(found, dict):
        assert set(found) == {one["model_name"] for one in sample.json["data"]}
    elif sample.service == "litellm" and sample.streams:
        assert_pieces(found, sample)
    elif sample.streams:
        assert_frames(found, sample)
    elif read in {page, whole_turn} or sample.path.endswith("/messages"):
        assert_messages(found, sample.json["messages"] if read is whole_turn else sample.json)
    elif isinstance(found, set):
        assert found == {one["id"] for one in sample.json}
    elif isinstance(found, bytes | ModelAnswer):
        assert (found if isinstance(found, bytes) else found.raw) == sample.body
    else:
        wire = sample.json
        assert_kept(found, wire.get("data", wire.get("info", wire)) if isinstance(wire, dict) else wire)


def assert_kept(record: Any, wire: Any) -> None:
    """Assert that a record has the answer's value in each of its fields."""
    if isinstance(record, list | tuple):
        assert len(record) == len(wire)
        for one, other in zip(record, wire, strict=True):
            assert_kept(one, other)
    elif isinstance(record, msgspec.Struct):
        for field in msgspec.structs.fields(record):
            if field.encode_name in wire:
                assert_kept(getattr(record, field.name), wire[field.encode_name])
    elif isinstance(record, datetime):
        assert utc(record) == utc(datetime.fromisoformat(wire))
    elif isinstance(record, Decimal):
        assert record == Decimal(str(wire))
    else:
        assert record == wire


def assert_usage(found: list[UsageLine], wire: Any) -> None:
    """Assert that the lines of all keys add up to the total."""
    assert float(sum(line.counts.spend for line in found)) == pytest.approx(wire["metadata"]["total_spend"])
    assert sum(line.counts.prompt_tokens for line in found) == wire["metadata"]["total_prompt_tokens"]


def utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def assert_messages(records: list[MessageRecord], wire: list[Any]) -> None:
    """Assert that the records are complete, oldest first, and of the classes of their types."""
    assert sorted(key(one.letta_id, one.otid) for one in records) == sorted(key(one["id"], one["otid"]) for one in wire)
    for record in records:
        one = next(one for one in wire if key(one["id"], one["otid"]) == key(record.letta_id, record.otid))
        assert_message(record, one)
    dates = [record.created_at for record in records if record.created_at]
    assert dates == sorted(dates)


def key(letta_id: str, otid: str | None) -> tuple[str, str]:
    return letta_id, otid or ""


def assert_message(record: MessageRecord, wire: Any) -> None:
    assert not isinstance(record, OpaqueMessage)
    for name in ("message_type", "run_id", "step_id"):
        assert getattr(record, name) == wire[name]
    text = wire.get("content") or wire.get("reasoning") or wire.get("summary")
    if "system_alert" in (text or ""):
        assert record.text == json.loads(text)["message"]
        return
    assert_kept(record, wire)
    if text is not None:
        assert record.text == text
    if calls := wire.get("tool_calls") or wire.get("tool_call"):
        assert_kept(record.tool_calls, calls if isinstance(calls, list) else [calls])  # type: ignore[attr-defined]


def assert_frames(frames: list[Frame], sample: Sample) -> None:
    """Assert that each event has a frame with its values, in the same order."""
    assert len(frames) == len(sample.events)
    for frame, event in zip(frames, sample.events, strict=True):
        match frame:
            case Done():
                assert event == "[DONE]"
            case Ping():
                assert ("ping", frame.run_id) == (event["message_type"], event["run_id"])
            case MessageFrame():
                assert_message(frame.message, event)
            case StopReason():
                assert ("stop_reason", frame.reason) == (event["message_type"], event["stop_reason"])
            case Usage():
                assert event["message_type"] == "usage_statistics"
                assert frame.cached_prompt_tokens == event["cached_input_tokens"]
                assert_kept(frame, event)
            case ErrorFrame():
                assert ("error_message", frame.error_type) == (event["message_type"], event["error_type"])


def assert_pieces(pieces: list[Any], sample: Sample) -> None:
    """Assert that each event's bytes are forwarded, except those of an error, which ends the answer."""
    body, failed, _ = sample.body.partition(b'data: {"error"')
    assert b"".join(piece.raw for piece in pieces if not isinstance(piece, GatewayError)) == body
    if failed:
        assert isinstance(pieces[-1], GatewayError)
        assert (pieces[-1].code.value, pieces[-1].reason) == BROKEN[sample.id]
    else:
        assert isinstance(pieces[-1], litellm.Done)
    choices = [choice for event in sample.events[: len(pieces) - 1] for choice in event.get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Piece)) == text


@pytest.mark.parametrize("sample", **named(FAILED))
@in_one_loop
async def test_a_refusal_is_an_error_of_the_gateway_without_upstream_text(replay: Replay, sample: Sample) -> None:
    read = reader_of(sample)
    assert read is not None
    replay.answer(sample)
    if read is cancel:
        await read(replay, sample)
        return
    with pytest.raises(GatewayError) as caught:
        await read(replay, sample)
    error = caught.value
    assert (error.code.value, error.reason) == EXPECTED[sample.id]
    assert error.retry_after_seconds == WAITS.get(sample.name)
    busy = sample.json.get("run_id") if isinstance(sample.json, dict) else None
    param = PARAMS.get(sample.name) if sample.service == "litellm" else None
    assert error.details == ({"runId": busy} if busy else {"param": param} if param else {})
    shown = f"{error.message} {error} {error.reason}"
    assert not [text for text in texts(sample.json) if len(text) > 8 and text in shown]
    assert not re.search(r"litellm\.|OpenAI|Error|sk-|[0-9a-f]{8}-|datetime|http", shown)


def test_each_expectation_is_used() -> None:
    refused = {one.id for one in FAILED if reader_of(one) is not cancel}
    assert refused == set(EXPECTED)
    assert {one.id for one in READABLE if one.streams and b'data: {"error"' in one.body} == set(BROKEN)


@in_one_loop
async def test_a_letta_without_redis_is_sent_the_message_again_in_the_foreground(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "NO_REDIS_SECONDS", 0.0)  # the next turn is a background run again
    recorded = {sample.name: sample for sample in samples("letta")}
    replay.answer(recorded["bg_stream_noredis"], recorded["conv_msg_stream"])
    async with replay.letta.send(replay.scope, CONVERSATION, HELLO, opens_within=5) as opened:
        assert opened.background is False
        assert_frames(await everything(opened.frames), recorded["conv_msg_stream"])
    assert len(replay.asked) == 2
    assert "no Redis" in (replay.letta.note() or "")
    replay.answer(recorded["conv_bg_stream"])
    async with replay.letta.send(replay.scope, CONVERSATION, HELLO, opens_within=5) as opened:
        assert opened.background is True
        await everything(opened.frames)
    assert replay.letta.note() is None


def texts(value: Any) -> list[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for one in inner for text in texts(one)]
