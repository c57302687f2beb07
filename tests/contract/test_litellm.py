from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from tests.conftest import REAL
from tests.support.embedded import events_of
from tests.support.stack import until
from tests.support.upstreams import EMBEDDING, PIXEL, Json, Upstreams, charged, error_of, events_so_far

CHAT = "/v1/chat/completions"
LATER = (1, 107)
"""The first version after LiteLLM 1.106, for the answers in which LiteLLM 1.110 differs."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(up: Upstreams, text: str, **more: Any) -> Json:
    return {"model": up.chat_model, "messages": [{"role": "user", "content": text}], **more}


async def test_a_whole_completion(up: Upstreams) -> None:
    answer = await up.litellm.post(
        CHAT, json=ask(up, "hi [[tokens=3]]", user="u"), headers=await up.key(max_budget=5.0)
    )
    assert answer.status_code == 200
    whole = answer.json()
    assert {"id", "created", "model", "object", "choices", "usage"} <= set(whole)
    assert (whole["object"], whole["model"]) == ("chat.completion", up.chat_model)
    [choice] = whole["choices"]
    assert (choice["finish_reason"], choice["index"]) == ("stop", 0)
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", "tok0 tok1 tok2")
    usage = whole["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 3
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    for name in ("call-id", "model-id", "response-cost", "key-spend", "key-max-budget"):
        assert answer.headers[f"x-litellm-{name}"]
    assert answer.headers["x-litellm-model-group"] == up.chat_model
    assert float(answer.headers["x-litellm-response-cost"]) > 0


async def streamed(up: Upstreams, body: Json, headers: dict[str, str]) -> list[Any]:
    answer = await up.litellm.post(CHAT, json=body | {"stream": True}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer.text)


async def test_a_streamed_completion_and_its_usage_chunk(up: Upstreams) -> None:
    key = await up.key()
    events = await streamed(up, ask(up, "hi [[tokens=3]]", stream_options={"include_usage": True}), key)
    *chunks, last, usage, done = events
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in events[:-1]}) == 1
    assert {chunk["object"] for chunk in events[:-1]} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"content": "", "role": "assistant"}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == "tok0 tok1 tok2"
    assert not [chunk for chunk in chunks if "finish_reason" in chunk["choices"][0]], "null fields are left out"
    assert last["choices"] == [{"finish_reason": "stop", "index": 0, "delta": {}}]
    assert usage["choices"] == ([] if up.version >= LATER else [{"index": 0, "delta": {}}])
    assert (usage["usage"]["completion_tokens"], usage["usage"]["cost"] > 0) == (3, True)
    without = await streamed(up, ask(up, "hi [[tokens=1]]"), key)
    assert not [chunk for chunk in without[:-1] if "usage" in chunk]


async def test_reasoning_precedes_the_text(up: Upstreams) -> None:
    key = await up.key()
    whole = (await up.litellm.post(CHAT, json=ask(up, "hi [[tokens=1 reasoning=1]]"), headers=key)).json()
    message = whole["choices"][0]["message"]
    assert (bool(message["reasoning_content"]), message["content"]) == (True, "tok0")
    deltas = [
        one["choices"][0]["delta"] for one in (await streamed(up, ask(up, "hi [[tokens=1 reasoning=1]]"), key))[:-1]
    ]
    thought = [place for place, delta in enumerate(deltas) if delta.get("reasoning_content")]
    spoken = [place for place, delta in enumerate(deltas) if delta.get("content")]
    assert thought
    assert max(thought) < min(spoken)


async def test_cached_tokens_of_gemini_are_null(up: Upstreams) -> None:
    key, model = await up.key(), "fake-gemini" if up.real else "gemini-2.5-flash"
    body = ask(up, "hi [[tokens=1]]") | {"model": model}
    whole = (await up.litellm.post(CHAT, json=body, headers=key)).json()
    assert whole["usage"]["prompt_tokens_details"].get("cached_tokens") is None
    events = await streamed(up, body | {"stream_options": {"include_usage": True}}, key)
    assert events[-2]["usage"]["prompt_tokens_details"].get("cached_tokens") is None


async def test_tools_are_called(up: Upstreams) -> None:
    key = await up.key()
    body = ask(up, "weather? [[tool=get_weather tokens=2]]", tools=[WEATHER])
    [choice] = (await up.litellm.post(CHAT, json=body, headers=key)).json()["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    [call] = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"].replace(" ", "") == '{"city":"tok0tok1"}'
    events = await streamed(up, ask(up, "weather? [[tokens=2]]", tools=[WEATHER], tool_choice="required"), key)
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    pieces = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
    assert (pieces[0]["function"]["name"], pieces[0]["index"]) == ("get_weather", 0)
    assert pieces[0]["id"].startswith("call_")
    assert "".join(piece["function"]["arguments"] for piece in pieces).replace(" ", "") == '{"city":"tok0tok1"}'
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_images_and_json_are_accepted(up: Upstreams) -> None:
    key = await up.key()
    parts = [{"type": "image_url", "image_url": {"url": PIXEL}}, {"type": "text", "text": "see [[tokens=1]]"}]
    body = ask(up, "") | {"messages": [{"role": "user", "content": parts}]}
    seen = (await up.litellm.post(CHAT, json=body, headers=key)).json()
    assert seen["choices"][0]["message"]["content"] == "tok0"
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
    for form in ({"type": "json_object"}, schema):
        body = ask(up, "[[tokens=2]]", response_format=form)
        assert (await up.litellm.post(CHAT, json=body, headers=key)).status_code == 200


async def test_embeddings_as_numbers_and_packed(up: Upstreams) -> None:
    key = await up.key()

    async def embed(**body: Any) -> Json:
        answer = await up.litellm.post("/v1/embeddings", json={"model": EMBEDDING, **body}, headers=key)
        assert answer.status_code == 200, answer.text
        whole: Json = answer.json()
        return whole

    plain = await embed(input=["a", "b c"], dimensions=4)
    assert [(one["index"], len(one["embedding"]), one["object"]) for one in plain["data"]] == [
        (0, 4, "embedding"), (1, 4, "embedding")
    ]  # fmt: skip
    assert (plain["object"], plain["model"], plain["usage"]["completion_tokens"]) == ("list", EMBEDDING, 0)
    assert plain["usage"]["total_tokens"] == plain["usage"]["prompt_tokens"] > 0
    packed = await embed(input="a", dimensions=4, encoding_format="base64")
    numbers = struct.unpack("<4f", base64.b64decode(packed["data"][0]["embedding"]))
    assert numbers == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)
    assert len((await embed(input=[1, 2, 3]))["data"][0]["embedding"]) == 1536
    assert (await embed(input=[]))["data"] == []
    for wrong in ({}, {"input": "a", "model": "nope"}):
        answer = await up.litellm.post("/v1/embeddings", json={"model": EMBEDDING, **wrong}, headers=key)
        assert error_of(answer) == (400, "invalid_request_error")


async def test_a_key_lists_its_permitted_models(up: Upstreams) -> None:
    small = await up.key(models=[up.chat_model])
    listed = (await up.litellm.get("/v1/models", headers=small)).json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert (model["id"], model["object"], isinstance(model["created"], int)) == (up.chat_model, "model", True)
    [group] = (await up.litellm.get("/model_group/info", headers=small)).json()["data"]
    assert (group["model_group"], group["mode"]) == (up.chat_model, "chat")
    assert isinstance(group["max_input_tokens"], float), "a whole number, written as a fraction"
    assert 0 < group["input_cost_per_token"] < group["output_cost_per_token"] < 1e-3
    assert isinstance(group["providers"], list)
    assert group["supports_function_calling"] is True
    for path in ("/model/info", "/v1/model/info"):
        [page] = (await up.litellm.get(path, headers=small)).json()["data"]
        assert (page["model_name"], page["model_info"]["mode"]) == (up.chat_model, "chat")
        assert page["model_info"]["output_cost_per_token"] == group["output_cost_per_token"]
    everything = (await up.litellm.get("/model_group/info", headers=await up.key())).json()["data"]
    assert {EMBEDDING, up.chat_model} <= {one["model_group"] for one in everything}


async def test_models_without_permission_and_invalid_requests_are_refused(up: Upstreams) -> None:
    small, whole = await up.key(models=[EMBEDDING]), await up.key()
    refused = await up.litellm.post(CHAT, json=ask(up, "x"), headers=small)
    assert error_of(refused) == (403, "key_model_access_denied")
    unknown = ask(up, "x") | {"model": "nope"}
    assert error_of(await up.litellm.post(CHAT, json=unknown, headers=small)) == (403, "key_model_access_denied")
    answer = await up.litellm.post(CHAT, json=unknown, headers=whole)
    assert error_of(answer) == (400, "invalid_request_error")
    assert "Invalid model name passed in model=nope" in answer.json()["error"]["message"]
    bodies: list[dict[str, Any]] = [unknown | {"stream": True}, {"model": up.chat_model}, {"messages": []}]
    for body in bodies:
        assert error_of(await up.litellm.post(CHAT, json=body, headers=whole)) == (400, "invalid_request_error")
    for message in ([{"role": "user"}], "hi", None):
        odd = await up.litellm.post(CHAT, json=ask(up, "x") | {"messages": [message]}, headers=whole)
        assert odd.status_code == 400, (message, odd.text)
    bad = await up.litellm.post(CHAT, content="{nope", headers=whole)
    assert error_of(bad) == (400, "invalid_request_error")


async def test_invalid_keys_are_refused(up: Upstreams) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    blocked = await up.key(blocked=True)
    cases = [("", "auth_error"), ("Bearer sk-nobody", "token_not_found_in_db"), ("Bearer nobody", "auth_error")]
    cases.append((blocked["authorization"], "auth_error"))
    if not up.real:
        cases.append(((await up.key(expires=yesterday))["authorization"], "expired_key"))
    for header, kind in cases:
        answer = await up.litellm.get("/v1/models", headers={"authorization": header})
        assert error_of(answer) == (401, kind)
        answer = await up.litellm.post(CHAT, json=ask(up, "x"), headers={"authorization": header})
        assert error_of(answer) == (401, kind)


async def test_a_rate_limit_has_retry_after(up: Upstreams) -> None:
    slow = await up.key(rpm_limit=1)
    assert (await up.litellm.post(CHAT, json=ask(up, "[[tokens=1]]"), headers=slow)).status_code == 200
    for stream in (False, True):
        limited = await up.litellm.post(CHAT, json=ask(up, "x", stream=stream), headers=slow)
        assert error_of(limited) == (429, "throttling_error")
        assert 0 < int(limited.headers["retry-after"]) <= 60
        assert limited.headers.get("x-litellm-key-rpm-limit") == (None if up.version >= LATER else "1")


async def test_a_spent_budget(up: Upstreams) -> None:
    poor = await up.key(max_budget=1e-06)

    async def refused() -> httpx.Response | None:
        answer = await up.litellm.post(CHAT, json=ask(up, "[[tokens=50]]"), headers=poor)
        return None if answer.status_code == 200 else answer

    spent = await until(refused)
    assert error_of(spent) == (422, "budget_exceeded")
    assert "retry-after" not in spent.headers


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
    answer = await up.litellm.post(CHAT, json=ask(up, f"x [[error={error}]]", stream=stream), headers=await up.key())
    assert error_of(answer) == (status, kind)
    assert "LiteLLM: model group" in answer.json()["error"]["message"]
    assert (answer.headers.get("retry-after"), answer.headers.get("llm_provider-retry-after")) == (
        None, "2" if status == 429 else None
    )  # fmt: skip
    assert ("maximum context length" in answer.json()["error"]["message"]) == (error == "ctx")


async def test_a_stream_that_breaks_off_ends_with_an_error(up: Upstreams) -> None:
    events = await streamed(up, ask(up, "x [[tokens=4 error=cut delay=0.2]]"), await up.key())
    if up.version >= LATER:
        assert events.pop() == "[DONE]"
    assert "[DONE]" not in events
    assert events[-1]["error"]["code"] == "500"
    assert {"message", "type", "param", "code"} <= set(events[-1]["error"])
    assert events[1]["choices"][0]["delta"]["content"] == "tok0 "


async def test_a_stream_that_breaks_off_is_charged(up: Upstreams) -> None:
    own = await up.key()
    await streamed(up, ask(up, "x [[tokens=8 error=cut delay=0.2]]"), own)
    bill = await until(lambda: charged(up, own), 20)
    assert (bill["total_failed_requests"], bill["total_successful_requests"]) == (1, 0)
    assert bill["total_prompt_tokens"] > 0
    assert bill["total_completion_tokens"] >= 4
    assert bill["total_spend"] > 0


async def test_leaving_before_the_first_token_costs_only_what_the_version_charges(up: Upstreams) -> None:
    own, is_held = await up.key(), up.version >= LATER
    body = ask(up, "hi [[tokens=2 first=4]]", stream=True)
    with pytest.raises(httpx.ReadTimeout):
        async with up.litellm.stream("POST", CHAT, json=body, headers=own, timeout=2):
            pass
    assert (await up.litellm.post(CHAT, json=ask(up, "hi [[tokens=1]]"), headers=own)).status_code == 200

    async def recorded() -> Json | None:
        totals = await charged(up, own)
        return totals if totals and totals["total_api_requests"] >= 1 + is_held else None

    bill = await until(recorded, 25)
    assert (bill["total_api_requests"], bill["total_successful_requests"]) == (1 + is_held, 1 + is_held)
    assert bill["total_completion_tokens"] == 1


async def test_the_info_of_a_key(up: Upstreams) -> None:
    own = await up.key(max_budget=5.0, rpm_limit=100, tpm_limit=1000, budget_duration="30d")
    shown = (await up.litellm.get("/key/info", headers=own)).json()
    info = shown["info"]
    assert shown["key"] != own["authorization"].removeprefix("Bearer ")
    assert (info["spend"], info["max_budget"], info["rpm_limit"], info["tpm_limit"]) == (0.0, 5.0, 100, 1000)
    assert {"key_alias", "user_id", "expires", "budget_reset_at", "budget_duration"} <= set(info)
    await up.litellm.post(CHAT, json=ask(up, "[[tokens=5]]"), headers=own)

    async def spent() -> bool:
        return bool((await up.litellm.get("/key/info", headers=own)).json()["info"]["spend"] > 0)

    await until(spent, 15)
    missing = await up.litellm.get("/key/info?key=sk-nope", headers=own)
    assert error_of(missing) == (404, "not_found_error")
    other = (await up.key())["authorization"].removeprefix("Bearer ")
    assert (await up.litellm.get(f"/key/info?key={other}", headers=own)).status_code == 403


async def test_all_keys_of_a_user_are_listed(up: Upstreams) -> None:
    user = "contract-" + up.tag[-36:]
    own, second = await up.key(user_id=user), await up.key(user_id=user, max_budget=1.0)
    keys = [one["authorization"].removeprefix("Bearer ") for one in (own, second)]
    many = (await up.litellm.post("/v2/key/info", json={"keys": [*keys, "sk-nope"]}, headers=own)).json()
    assert many["key"] == [*keys, "sk-nope"]
    assert sorted(one["max_budget"] or 0 for one in many["info"]) == [0, 1.0]
    assert {one["user_id"] for one in many["info"]} == {user}


async def test_the_daily_activity_of_a_user(up: Upstreams) -> None:
    own = await up.key()
    answer = await up.litellm.post(CHAT, json=ask(up, "[[tokens=5]]"), headers=own)
    cost = float(answer.headers["x-litellm-response-cost"])
    today = datetime.now(UTC).date()
    days = {"start_date": str(today - timedelta(days=1)), "end_date": str(today + timedelta(days=1))}

    async def shown() -> Json | None:
        activity = await up.litellm.get("/user/daily/activity", params=days, headers=own)
        assert activity.status_code == 200, activity.text
        whole: Json = activity.json()
        return whole if whole["results"] else None

    whole = await until(shown, 20)
    [day] = whole["results"]
    assert (day["date"], day["metrics"]["api_requests"]) == (str(today), 1)
    assert day["metrics"]["spend"] == pytest.approx(cost)
    assert whole["metadata"]["total_spend"] == pytest.approx(cost)
    assert (whole["metadata"]["page"], whole["metadata"]["has_more"]) == (1, False)
    [model] = day["breakdown"]["models"].values()
    assert model["metrics"]["completion_tokens"] == 5
    [by_key] = day["breakdown"]["api_keys"].values()
    assert by_key["metrics"]["spend"] == pytest.approx(cost)
    assert (await up.litellm.get("/user/daily/activity", headers=own)).status_code == 400
    assert (await up.litellm.get("/spend/logs", headers=own)).status_code == 401


@pytest.mark.parametrize("more", ["", " reasoning=1", *([" tool=get_weather"] if REAL else [])])
async def test_a_client_that_leaves_pays_what_the_token_counter_counts(up: Upstreams, more: str) -> None:
    own, texts, left = await up.key(), {"content": "", "reasoning_content": "", "calls": ""}, 4
    body = ask(up, f"hi [[tokens=50 delay=0.2{more}]]", stream=True, **({"tools": [WEATHER]} if "tool" in more else {}))
    async with up.litellm.stream("POST", CHAT, json=body, headers=own) as answer:
        async for event in events_so_far(answer.aiter_lines()):
            delta = event["choices"][0]["delta"]
            for name in ("content", "reasoning_content"):
                texts[name] += delta.get(name) or ""
            for piece in delta.get("tool_calls") or []:
                texts["calls"] = call_so_far(texts["calls"], piece)
            left -= bool(delta.get("content") or delta.get("tool_calls"))
            if left == 0:
                break

    async def counted(**of: Any) -> int:
        wire = {"model": up.chat_model, **of}
        told = await up.litellm.post("/utils/token_counter", json=wire, headers=own)
        assert told.status_code == 200, told.text
        return int(told.json()["total_tokens"])

    bill = await until(lambda: charged(up, own), 20)
    assert bill["total_prompt_tokens"] == await counted(messages=body["messages"])
    answer_tokens = await counted(prompt=texts["content"] + texts["calls"])
    if texts["reasoning_content"]:
        answer_tokens += await counted(prompt=texts["reasoning_content"])
    assert bill["total_completion_tokens"] == answer_tokens > 3
    refused = await up.litellm.post("/utils/token_counter", json={"model": up.chat_model}, headers=own)
    assert refused.status_code == 400


def call_so_far(text: str, piece: Json) -> str:
    """Return a tool call as JSON, as LiteLLM counts it, after another piece."""
    new: Json = {"function": {"arguments": "", "name": None}, "id": None, "type": "function"}
    call: Json = orjson.loads(text) if text else new
    call["id"] = call["id"] or piece.get("id")
    call["function"]["name"] = call["function"]["name"] or piece["function"].get("name")
    call["function"]["arguments"] += piece["function"]["arguments"]
    return orjson.dumps(call).decode()


async def test_the_health_is_open(up: Upstreams) -> None:
    alive = await up.litellm.get("/health/liveliness", headers={"authorization": ""})
    assert (alive.status_code, alive.json()) == (200, "I'm alive!")
    ready = await up.litellm.get("/health/readiness", headers={"authorization": ""})
    assert (ready.status_code, ready.json()["status"], ready.json()["db"]) == (200, "healthy", "connected")


async def test_control_parameters_are_refused_with_401(up: Upstreams) -> None:
    key = await up.key()
    for name in ("api_base", "base_url", "user_config", "azure_ad_token", "model_list"):
        answer = await up.litellm.post(CHAT, json=ask(up, "x") | {name: "x"}, headers=key)
        assert error_of(answer) == (401, "auth_error"), name
        assert "Rejected Request" in answer.json()["error"]["message"]
