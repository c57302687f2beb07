from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.embedded.litellm.keys import hashed, make_key
from app.embedded.people import ADA, GRACE
from tests.support.embedded import Embedded, events_of

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(text: str, **more: object) -> dict[str, Any]:
    return {"model": "gpt-4.1", "messages": [{"role": "user", "content": text}], **more}


async def chat(services: Embedded, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await services.litellm.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


async def streamed(services: Embedded, body: dict[str, Any]) -> list[Any]:
    answer = await services.litellm.post("/v1/chat/completions", json=body | {"stream": True})
    assert answer.status_code == 200
    return events_of(answer.text)


async def test_the_cost_of_a_call_is_tokens_times_price(services: Embedded) -> None:
    first = await services.litellm.post("/v1/chat/completions", json=ask("hi [[tokens=50 delay=0]]", user="u"))
    usage = first.json()["usage"]
    cost = usage["prompt_tokens"] * 2e-06 + 50 * 8e-06
    assert usage["completion_tokens"] == 50
    assert float(first.headers["x-litellm-response-cost"]) == pytest.approx(cost)
    assert float(first.headers["x-litellm-key-spend"]) == pytest.approx(cost)
    assert first.headers["x-litellm-key-max-budget"] == "5.0"
    second = await streamed(services, ask("hi [[tokens=50 delay=0]]", stream_options={"include_usage": True}))
    assert second[-1] == "[DONE]"
    assert second[-2]["choices"] == [{"index": 0, "delta": {}}]
    assert second[-2]["usage"]["cost"] == pytest.approx(cost)
    info = (await services.litellm.get("/key/info")).json()
    key = services.platform.state.users[ADA].litellm_key or ""
    assert info["key"] == hashed(key)
    assert info["info"]["spend"] == pytest.approx(2 * cost)
    assert (info["info"]["key_name"], info["info"]["user_id"]) == (f"sk-...{key[-4:]}", ADA)

    logs = services.platform.state.spend
    assert [log["spend"] for log in logs] == pytest.approx([cost, cost])
    assert (logs[0]["end_user"], logs[0]["model"], logs[0]["status"]) == ("u", "openai/gpt-4.1", "success")
    assert logs[0]["request_id"] == first.headers["x-litellm-call-id"]
    today = datetime.now(UTC).date()
    days = f"start_date={today - timedelta(days=1)}&end_date={today + timedelta(days=1)}"
    daily = (await services.litellm.get(f"/user/daily/activity?{days}")).json()
    (day,) = daily["results"]
    assert (day["metrics"]["spend"], day["metrics"]["api_requests"]) == (pytest.approx(2 * cost), 2)
    assert day["breakdown"]["models"]["openai/gpt-4.1"]["metrics"]["completion_tokens"] == 100
    assert day["breakdown"]["api_keys"][hashed(key)]["metadata"]["key_alias"] == "ada"
    assert daily["metadata"]["total_spend"] == pytest.approx(2 * cost)
    assert daily["metadata"]["total_api_requests"] == 2
    later = (await services.litellm.get("/user/daily/activity?start_date=2100-01-01&end_date=2100-01-02")).json()
    assert later["results"] == []
    logs_of_all = await services.litellm.get("/spend/logs?summarize=false")
    assert (logs_of_all.status_code, logs_of_all.json()["error"]["type"]) == (401, "auth_error")


async def test_daily_activity_is_paged_and_only_the_users_own(services: Embedded) -> None:
    state = services.platform.state
    make_key(state, "sk-other", ADA)
    make_key(state, "sk-grace", GRACE)
    make_key(state, "sk-service", None)
    for key in (None, "sk-other", "sk-grace"):
        await chat(services, ask("hi [[tokens=1 delay=0]]"), **({"authorization": f"Bearer {key}"} if key else {}))
    path = "/user/daily/activity?start_date=2020-01-01&end_date=2100-01-01"
    whole = (await services.litellm.get(path)).json()
    assert whole["metadata"]["total_api_requests"] == 2
    pages = [(await services.litellm.get(f"{path}&page_size=1&page={n}")).json() for n in (1, 2, 3)]
    assert [page["metadata"]["total_api_requests"] for page in pages] == [1, 1, 0]
    assert [page["metadata"]["has_more"] for page in pages] == [True, False, False]
    assert {page["metadata"]["total_pages"] for page in pages} == {2}
    own = (await services.litellm.get(f"{path}&api_key={hashed('sk-other')}")).json()
    assert own["metadata"]["total_api_requests"] == 1
    for status, asked, headers in (
        (403, f"{path}&user_id={GRACE}", {}),
        (403, path, {"authorization": "Bearer sk-service"}),
        (400, "/user/daily/activity", {}),
        (422, f"{path}&page_size=1001", {}),
    ):
        assert (await services.litellm.get(asked, headers=headers)).status_code == status


async def test_a_refused_call_costs_nothing_and_a_broken_answer_its_tokens(services: Embedded) -> None:
    failed = await services.litellm.post("/v1/chat/completions", json=ask("[[error=503]]"))
    assert failed.status_code == 503
    cut = await streamed(services, ask("[[tokens=4 error=cut delay=0]]"))
    assert cut[-1]["error"]["code"] == "500"
    logs = services.platform.state.spend
    assert [(log["status"], log["completion_tokens"]) for log in logs] == [("failure", 0), ("failure", 2)]
    assert (logs[0]["spend"], logs[1]["spend"] > 0) == (0.0, True)


async def test_a_client_that_disconnects_pays_for_the_streamed_tokens(services: Embedded) -> None:
    body = ask("[[tokens=100 delay=0.05]]", stream=True)
    async with services.litellm.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        said = 0
        while said < 3:
            said += '"content":"tok' in await anext(lines)
    stats = services.platform.state.stats
    while stats.inflight:
        stats = services.platform.state.stats
        (await services.litellm.get("/health/liveliness")).raise_for_status()
    (log,) = services.platform.state.spend
    assert 3 <= log["completion_tokens"] < 100


async def test_a_key_sees_and_calls_only_its_models(services: Embedded) -> None:
    make_key(services.platform.state, "sk-small", ADA, models=["gpt-4.1"])
    small = {"authorization": "Bearer sk-small"}
    models = (await services.litellm.get("/v1/models", headers=small)).json()
    assert [model["id"] for model in models["data"]] == ["gpt-4.1"]
    assert (await services.litellm.get("/v1/models/gpt-4.1")).json()["max_input_tokens"] == 1047576
    assert (await services.litellm.get("/v1/models/gpt-4o-mini", headers=small)).status_code == 404
    refused = await services.litellm.post(
        "/v1/chat/completions", json=ask("x") | {"model": "gpt-4o-mini"}, headers=small
    )
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "key_model_access_denied")
    unknown = await services.litellm.post("/v1/chat/completions", json=ask("x") | {"model": "nope"})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (400, "invalid_request_error")
    pages = (await services.litellm.get("/v1/model/info", headers=small)).json()["data"]
    assert [(page["model_name"], page["model_info"]["output_cost_per_token"]) for page in pages] == [("gpt-4.1", 8e-06)]
    groups = (await services.litellm.get("/model_group/info", headers=small)).json()["data"]
    assert [group["model_group"] for group in groups] == ["gpt-4.1"]


async def test_json_formats_images_and_token_limits(services: Embedded) -> None:
    said = await chat(services, ask("[[tokens=2]]", response_format={"type": "json_object"}))
    assert said["choices"][0]["message"]["content"] == '{"answer":"tok0 tok1"}'
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "who": {"enum": ["a", "b"]}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    said = await chat(services, ask("[[tokens=2]]", response_format=form))
    assert said["choices"][0]["message"]["content"] == '{"n":1,"who":"a"}'
    parts = [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "see [[tokens=1]]"}]
    said = await chat(services, ask("") | {"messages": [{"role": "user", "content": parts}]})
    assert said["choices"][0]["message"]["content"] == "tok0"
    said = await chat(services, ask("[[tokens=9]]", max_tokens=3))
    assert (said["choices"][0]["finish_reason"], said["usage"]["completion_tokens"]) == ("length", 3)


ODD = [
    1,
    "x",
    True,
    [1],
    [[]],
    [[{"role": "user", "content": "x"}]],
    {"a": 1},
    [{"a": 1}],
    [{"type": "function"}],
    2**70,
]
PLACES: list[tuple[str, ...]] = [
    *((name,) for name in ("model", "messages", "stream_options", "tools", "tool_choice", "response_format", "user")),
    *((name,) for name in ("functions", "function_call", "parallel_tool_calls")),
    *(("messages", name) for name in ("role", "content", "tool_calls", "tool_call_id")),
    ("tool_choice", "function"),
    ("response_format", "json_schema"),
    ("response_format", "json_schema", "schema"),
    ("response_format", "json_schema", "schema", "properties"),
    ("tools", "function"),
    ("tools", "function", "parameters"),
]


def with_odd(place: tuple[str, ...], odd: object) -> dict[str, Any]:
    body = ask("hi [[tokens=1 delay=0]]", tools=[WEATHER], tool_choice="required")
    if place[0] == "response_format":
        body |= {"tool_choice": "none"}
    inner = odd
    for name in reversed(place[1:]):
        inner = {"type": "json_schema" if name == "json_schema" else "object", "name": "f", "role": "user", name: inner}
    listed = place[0] in {"messages", "tools"} and len(place) > 1
    return body | {place[0]: [inner] if listed else inner}


async def test_bodies_of_any_shape_are_answered_or_refused(services: Embedded) -> None:
    for place in PLACES:
        for odd in ODD:
            answer = await services.litellm.post("/v1/chat/completions", json=with_odd(place, odd))
            assert answer.status_code in {200, 400}, (place, odd, answer.text)
    for name in ("input", "dimensions", "encoding_format", "user"):
        for odd in ODD:
            body = {"model": "text-embedding-3-small", "input": "x", name: odd}
            answer = await services.litellm.post("/v1/embeddings", json=body)
            assert answer.status_code in {200, 400}, (name, odd, answer.text)
