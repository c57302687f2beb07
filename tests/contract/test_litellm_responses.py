"""LiteLLM's Responses API: with a provider that serves it (native), and bridged to completions."""

from __future__ import annotations

import httpx
import orjson
import pytest

from tests.conftest import REAL
from tests.support.responses import (
    BRIDGED,
    NATIVE,
    PATH,
    TEXT_EVENTS,
    TOOL,
    ask,
    streamed,
    text_of,
    types,
    whole,
    without_provider,
)
from tests.support.stack import until
from tests.support.upstreams import EMBEDDING, PIXEL, Json, Upstreams, charged, error_of, events_so_far

pytestmark = pytest.mark.usefixtures("responses_of_later_litellm")
both = pytest.mark.parametrize("kind", [NATIVE, BRIDGED])
SCRIPTED = [BRIDGED] if REAL else [NATIVE, BRIDGED]
"""The kinds whose model follows all directives. The provider behind the real LiteLLM answers with text alone."""
as_scripted = pytest.mark.parametrize("kind", SCRIPTED)


@both
async def test_a_whole_response(up: Upstreams, kind: str) -> None:
    body = ask(up, kind, "hi [[tokens=2]]", user="u", metadata={"a": "b"})
    answer = await up.litellm.post(PATH, json=body, headers=await up.key(max_budget=5.0))
    assert answer.status_code == 200, answer.text
    response = answer.json()
    assert (response["object"], response["status"], response["model"]) == ("response", "completed", body["model"])
    assert response["id"].startswith("resp_")
    assert len(response["id"]) > 300
    [item] = response["output"]
    assert (item["type"], item["role"], item["status"], item["phase"]) == ("message", "assistant", "completed", None)
    assert text_of(response) == "tok0 tok1"
    usage = response["usage"]
    assert (usage["output_tokens"], usage["cost"]) == (2, None)
    assert usage["total_tokens"] == usage["input_tokens"] + 2
    for name in ("cached_tokens_details", "image_tokens", "text_tokens", "video_tokens"):
        assert usage["input_tokens_details"][name] is None
    assert float(answer.headers["x-litellm-response-cost"]) > 0
    for name in ("call-id", "model-id", "key-spend", "key-max-budget"):
        assert answer.headers[f"x-litellm-{name}"]
    assert answer.headers["x-litellm-model-group"] == body["model"]


@both
async def test_a_streamed_response(up: Upstreams, kind: str) -> None:
    events = await streamed(up, ask(up, kind, "hi [[tokens=2]]"), await up.key())
    assert types(events) == TEXT_EVENTS
    assert "".join(event.get("delta", "") for event in events).strip() == "tok0 tok1"
    assert [event["response"]["status"] for event in events[:2]] == ["in_progress", "in_progress"]
    response = events[-1]["response"]
    assert (text_of(response), response["status"]) == ("tok0 tok1", "completed")
    assert (response["usage"]["output_tokens"], response["usage"]["cost"] > 0) == (2, True)
    assert None not in response["usage"].values()
    assert response["output"][0]["id"] == events[4]["item_id"]


@pytest.mark.parametrize("path", ["/responses", "/v1/responses"])
async def test_both_paths_answer(up: Upstreams, path: str) -> None:
    answer = await up.litellm.post(path, json=ask(up, BRIDGED, "[[tokens=1]]"), headers=await up.key())
    assert (answer.status_code, text_of(answer.json())) == (200, "tok0")


@as_scripted
async def test_reasoning_precedes_the_text(up: Upstreams, kind: str) -> None:
    key, body = await up.key(), ask(up, kind, "hi [[tokens=1 reasoning=1]]")
    response = await whole(up, body, key)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    thought = response["output"][0]["summary" if kind == NATIVE else "content"][0]["text"]
    events = await streamed(up, body, key)
    deltas = [event["delta"] for event in events if event["type"] == "response.reasoning_summary_text.delta"]
    assert "".join(deltas) == thought
    at = types(events)
    assert (
        at.index("reasoning_summary_text.done")
        < at.index("reasoning_summary_part.done")
        < at.index("output_text.delta")
    )
    assert ("reasoning_summary_part.added" in at) == (kind == NATIVE)
    [said] = [event for event in events if event["type"] == "response.output_text.delta"]
    assert said["output_index"] == 1


@as_scripted
async def test_tools_are_called_and_answer(up: Upstreams, kind: str) -> None:
    key = await up.key()
    body = ask(up, kind, "weather? [[tool=get_weather tokens=2]]", tools=[TOOL])
    [call] = (await whole(up, body, key))["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "get_weather", "completed")
    assert orjson.loads(call["arguments"]) == {"city": "tok0 tok1"}
    events = await streamed(up, body, key)
    assert types(events)[2:] == [
        *(
            "output_item.added",
            *["function_call_arguments.delta"] * types(events).count("function_call_arguments.delta"),
        ),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    pieces = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert len(pieces) > 1
    assert orjson.loads("".join(pieces)) == {"city": "tok0 tok1"}
    [streamed_call] = events[-1]["response"]["output"]
    result = {"type": "function_call_output", "call_id": streamed_call["call_id"], "output": "sunny"}
    asked = {"role": "user", "content": "weather? [[tool=get_weather tokens=3]]"}
    answer = await whole(up, {**body, "input": [asked, streamed_call, result]}, key)
    assert text_of(answer) == "tok0 tok1 tok2"


@both
async def test_images_instructions_and_json_are_accepted(up: Upstreams, kind: str) -> None:
    key = await up.key()
    parts = [{"type": "input_text", "text": "see [[tokens=1]]"}, {"type": "input_image", "image_url": PIXEL}]
    body = ask(up, kind, [{"role": "user", "content": parts}], instructions="Be brief.", temperature=0.1)
    seen = await whole(up, body, key)
    if up.real and kind == NATIVE:
        return  # the scripted provider repeats no parameter and knows no format
    assert (text_of(seen), seen["instructions"], seen["temperature"]) == ("tok0", "Be brief.", 0.1)
    schema = {
        "type": "json_schema",
        "name": "x",
        "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    }
    for form, text in (({"type": "json_object"}, '{"answer":"tok0"}'), (schema, '{"n":1}')):
        response = await whole(up, ask(up, kind, "json [[tokens=1]]", text={"format": form}), key)
        assert response["text"]["format"]["type"] == form["type"]
        assert up.real or text_of(response) == text


if not REAL:  # the model behind the real LiteLLM knows no limit

    @both
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_token_limit_makes_a_response_incomplete(up: Upstreams, kind: str, stream: bool) -> None:
        body, key = ask(up, kind, "[[tokens=4]]", max_output_tokens=2), await up.key()
        if stream:
            events = await streamed(up, body, key)
            assert types(events)[-1] == "incomplete"
            response = events[-1]["response"]
        else:
            response = await whole(up, body, key)
        assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert (text_of(response), response["usage"]["output_tokens"]) == ("tok0 tok1", 2)
        assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        *((kind, "cut", "server_error") for kind in (NATIVE, BRIDGED)),
        *((kind, "errdone", "rate_limit_exceeded") for kind in SCRIPTED),
    ],
)
async def test_a_stream_that_breaks_off_ends_with_a_failed_response(
    up: Upstreams, kind: str, error: str, code: str
) -> None:
    key = await up.key()
    events = await streamed(up, ask(up, kind, f"x [[tokens=4 error={error} delay=0.05]]"), key)
    assert types(events)[:5] == TEXT_EVENTS[:5]
    assert types(events)[-1] == "failed"
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"], response["output"]) == ("failed", code, [])
    assert response["error"]["message"]
    bill = await until(lambda: charged(up, key), 20)
    assert (bill["total_failed_requests"], bill["total_successful_requests"]) == (1, 0)
    assert (bill["total_completion_tokens"] > 0, bill["total_spend"] > 0) == (True, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ("400", 400, "invalid_request_error"),
        ("401", 401, "authentication_error"),
        ("404", 404, "invalid_request_error"),
        ("ctx", 400, "invalid_request_error"),
        ("429", 429, "throttling_error"),
        ("500", 500, "internal_server_error"),
        ("503", 503, "internal_server_error"),
    ],
)
async def test_a_failed_call_has_its_status(up: Upstreams, error: str, status: int, kind: str, stream: bool) -> None:
    body = ask(up, BRIDGED, f"x [[error={error}]]", stream=stream)
    answer = await up.litellm.post(PATH, json=body, headers=await up.key())
    assert error_of(answer) == (status, kind)
    assert "LiteLLM: model group" in answer.json()["error"]["message"]
    assert answer.headers.get("llm_provider-retry-after") == ("2" if status == 429 else None)
    assert ("maximum context length" in answer.json()["error"]["message"]) == (error == "ctx")


@pytest.mark.parametrize("stream", [False, True])
async def test_without_the_provider_there_is_404_unless_the_request_asks_for_the_bridge(
    up: Upstreams, stream: bool
) -> None:
    key, body = await up.key(), without_provider(up, "[[tokens=1]]", stream=stream)
    missing = await up.litellm.post(PATH, json=body, headers=key)
    assert error_of(missing) == (404, "invalid_request_error")
    text = missing.json()["error"]["message"]
    assert text.startswith("litellm.NotFoundError: NotFoundError: OpenAIException - Not Found\n\nLiteLLM: model group")
    assert f"'{body['model']}'" in text
    bridged = await up.litellm.post(PATH, json=body | {"use_chat_completions_api": True}, headers=key)
    assert (bridged.status_code, "tok0" in bridged.text) == (200, True)


async def calls_with(up: Upstreams, response_id: str, key: dict[str, str]) -> list[httpx.Response]:
    """Return the answers of all calls that name a response."""
    body = ask(up, BRIDGED, "who? [[tokens=1]]", previous_response_id=response_id)
    return [
        await up.litellm.post(PATH, json=body, headers=key),
        await up.litellm.get(f"{PATH}/{response_id}", headers=key),
        await up.litellm.delete(f"{PATH}/{response_id}", headers=key),
        await up.litellm.get(f"{PATH}/{response_id}/input_items", headers=key),
    ]


@both
async def test_ids_of_other_users_and_ids_that_were_not_issued_are_refused(up: Upstreams, kind: str) -> None:
    own = await whole(up, ask(up, kind, "[[tokens=1]]"), await up.key())
    other = await up.key()
    for response_id, reason in ((own["id"], "not associated with the user"), ("resp_nope", "not issued by this proxy")):
        for answer in await calls_with(up, response_id, other):
            assert error_of(answer) == (403, "permission_error")
            assert reason in answer.json()["error"]["message"]


async def test_keys_of_a_user_share_responses(up: Upstreams) -> None:
    user = "contract-" + up.tag[-36:]
    first, second = await up.key(user_id=user), await up.key(user_id=user)
    own = await whole(up, ask(up, BRIDGED, "[[tokens=1]]"), first)
    await whole(up, ask(up, BRIDGED, "[[tokens=1]]", previous_response_id=own["id"]), second)


async def test_the_bridge_accepts_a_previous_response_without_its_conversation(up: Upstreams) -> None:
    key = await up.key()
    own = await whole(up, ask(up, BRIDGED, "a long word: " + "w" * 400 + " [[tokens=1]]"), key)
    following = ask(up, BRIDGED, "who? [[tokens=1]]", previous_response_id=own["id"])
    assert (await whole(up, following, key))["usage"]["input_tokens"] < 20
    for answer in (await calls_with(up, own["id"], key))[1:]:
        assert error_of(answer) == (404, "invalid_request_error")
        assert "OpenAIException - Not Found" in answer.json()["error"]["message"]


@both
async def test_what_no_bridge_serves_is_ignored(up: Upstreams, kind: str) -> None:
    more: Json = {"background": True, "conversation": "conv_x", "prompt": {"id": "p"}, "context_management": []}
    response = await whole(up, ask(up, kind, "[[tokens=1]]", **more), await up.key())
    assert (text_of(response), response["status"]) == ("tok0", "completed")


async def test_invalid_requests_are_refused(up: Upstreams) -> None:
    key, small = await up.key(), await up.key(models=[EMBEDDING])
    unknown = await up.litellm.post(PATH, json={"model": "nope", "input": "x"}, headers=key)
    assert error_of(unknown) == (400, "invalid_request_error")
    assert "/responses: Invalid model name passed in model=nope" in unknown.json()["error"]["message"]
    missing = await up.litellm.post(PATH, json={"model": ask(up, BRIDGED, "")["model"]}, headers=key)
    assert error_of(missing) == (400, "invalid_request_error")
    assert missing.json()["error"]["param"] == "input"
    bad = await up.litellm.post(PATH, content="{nope", headers=key)
    assert error_of(bad) == (400, "invalid_request_error")
    for kind in (NATIVE, BRIDGED):
        refused = await up.litellm.post(PATH, json=ask(up, kind, "x"), headers=small)
        assert error_of(refused) == (403, "key_model_access_denied")
    control = await up.litellm.post(PATH, json=ask(up, BRIDGED, "x", api_base="x"), headers=key)
    assert error_of(control) == (401, "auth_error")
    nobody = await up.litellm.post(PATH, json=ask(up, BRIDGED, "x"), headers={"authorization": "Bearer sk-nobody"})
    assert error_of(nobody) == (401, "token_not_found_in_db")


async def test_a_rate_limit_and_a_spent_budget(up: Upstreams) -> None:
    slow, poor = await up.key(rpm_limit=1), await up.key(max_budget=1e-06)
    await whole(up, ask(up, BRIDGED, "[[tokens=1]]"), slow)
    for stream in (False, True):
        limited = await up.litellm.post(PATH, json=ask(up, BRIDGED, "x", stream=stream), headers=slow)
        assert error_of(limited) == (429, "throttling_error")
        assert 0 < int(limited.headers["retry-after"]) <= 60

    async def refused() -> httpx.Response | None:
        answer = await up.litellm.post(PATH, json=ask(up, BRIDGED, "[[tokens=50]]"), headers=poor)
        return None if answer.status_code == 200 else answer

    assert error_of(await until(refused)) == (422, "budget_exceeded")


@both
async def test_a_client_that_leaves_pays_for_what_was_streamed(up: Upstreams, kind: str) -> None:
    key, left = await up.key(), 3
    body = ask(up, kind, "hi [[tokens=50 delay=0.2]]", stream=True)
    async with up.litellm.stream("POST", PATH, json=body, headers=key) as answer:
        async for event in events_so_far(answer.aiter_lines()):
            left -= event["type"] == "response.output_text.delta"
            if left == 0:
                break
    bill = await until(lambda: charged(up, key), 20)
    assert (bill["total_api_requests"], bill["total_successful_requests"]) == (1, 1)
    assert 3 <= bill["total_completion_tokens"] < 50
    assert (bill["total_prompt_tokens"] > 0, bill["total_spend"] > 0) == (True, True)


@as_scripted
async def test_leaving_before_the_first_token_costs_nothing(up: Upstreams, kind: str) -> None:
    key, body = await up.key(), ask(up, kind, "hi [[tokens=2 first=6]]", stream=True)
    with pytest.raises(httpx.ReadTimeout):
        await up.litellm.post(PATH, json=body, headers=key, timeout=2)
    await whole(up, ask(up, kind, "hi [[tokens=1]]"), key)
    bill = await until(lambda: charged(up, key), 20)
    assert (bill["total_api_requests"], bill["total_completion_tokens"]) == (1, 1)
