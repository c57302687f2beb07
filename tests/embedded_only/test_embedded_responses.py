"""The responses that the embedded LiteLLM's provider stores, as OpenAI stores them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest

from app.embedded import state as states
from app.embedded.litellm.keys import make_key
from app.embedded.people import ADA
from app.embedded.seed import CHAT_ONLY
from app.embedded.store import open_store
from tests.support.embedded import Embedded, embedded
from tests.support.openai import sdk_client
from tests.support.responses import PATH, TOOL, text_of

CALL = {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "sunny"}


async def ask(services: Embedded, said: Any, **more: Any) -> httpx.Response:
    return await services.litellm.post(PATH, json={"model": "gpt-4.1", "input": said, **more})


async def response(services: Embedded, said: Any, **more: Any) -> dict[str, Any]:
    answer = await ask(services, said, **more)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def provider_error(answer: httpx.Response) -> tuple[int, str | None, str | None, str]:
    """Return status, parameter, code and message of a provider's error, which LiteLLM's message contains."""
    text = answer.json()["error"]["message"]
    error = orjson.loads(text[text.index("{") : text.index("\n\n")])["error"]
    return answer.status_code, error["param"], error["code"], error["message"]


async def items(services: Embedded, response_id: str, query: str = "order=asc") -> list[tuple[str, str]]:
    page = (await services.litellm.get(f"{PATH}/{response_id}/input_items?{query}")).json()
    assert page["object"] == "list"
    return [(one["type"], str(one.get("content") or one.get("output") or one.get("name"))) for one in page["data"]]


async def test_a_response_is_stored_until_it_is_deleted(services: Embedded) -> None:
    made = await response(services, "hi [[tokens=2]]")
    path = f"{PATH}/{made['id']}"
    assert (await services.litellm.get(path)).json() == made
    assert (await services.litellm.get(path.removeprefix("/v1"))).json() == made
    deleted = await services.litellm.delete(path)
    assert deleted.json() == {"id": made["id"], "object": "response", "deleted": True}
    for answer in (await services.litellm.get(path), await services.litellm.delete(path)):
        status, _, _, text = provider_error(answer)
        assert (status, text.endswith("not found.")) == (404, True)
    gone = await ask(services, "again", previous_response_id=made["id"])
    assert provider_error(gone)[:3] == (400, "previous_response_id", "previous_response_not_found")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_is_not_stored_cannot_be_read_or_continued(services: Embedded, stream: bool) -> None:
    answer = await ask(services, "hi [[tokens=2]]", store=False, stream=stream)
    response_id = answer.text.partition('"id":"')[2].partition('"')[0]
    assert (await services.litellm.get(f"{PATH}/{response_id}")).status_code == 404
    gone = await ask(services, "again", previous_response_id=response_id)
    assert provider_error(gone)[2] == "previous_response_not_found"
    assert services.platform.state.responses == {}


async def test_a_previous_response_continues_its_conversation(services: Embedded) -> None:
    first = await response(services, "weather? [[tool=get_weather]]", tools=[TOOL], instructions="Be brief.")
    [call] = first["output"]
    result = {**RESULT, "call_id": call["call_id"]}
    second = await response(services, [result], tools=[TOOL], previous_response_id=first["id"])
    assert text_of(second) == "The tool get_weather answered sunny."
    assert (await services.litellm.delete(f"{PATH}/{first['id']}")).status_code == 200
    third = await response(services, "thanks [[tokens=1]]", previous_response_id=second["id"], stream=False)
    told = await items(services, third["id"])
    assert [kind for kind, _ in told] == ["message", "function_call", "function_call_output", "message", "message"]
    assert "thanks" in told[-1][1]
    assert "Be brief." not in str(told), "instructions are not part of the conversation"
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"]
    assert third["previous_response_id"].startswith("resp_")


async def test_a_streamed_response_can_be_continued_at_its_last_event(services: Embedded) -> None:
    body = {"model": "gpt-4.1", "input": "one " * 40 + "[[tokens=2]]", "stream": True}
    async with services.litellm.stream("POST", PATH, json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and '"response.completed"' in line:
                made = orjson.loads(line.removeprefix("data: "))["response"]
                following = await response(services, "more [[tokens=1]]", previous_response_id=made["id"])
    assert following["usage"]["input_tokens"] > 40


async def test_the_items_of_a_response_are_paged(services: Embedded) -> None:
    said = [{"role": "user", "content": f"n{n}"} for n in range(5)]
    made = await response(services, said)
    path = f"{PATH}/{made['id']}/input_items"
    newest = (await services.litellm.get(path, params={"limit": 2})).json()
    assert [one["content"][0]["text"] for one in newest["data"]] == ["n4", "n3"]
    assert (newest["first_id"], newest["last_id"]) == (newest["data"][0]["id"], newest["data"][1]["id"])
    assert newest["has_more"] is True
    rest = (await services.litellm.get(path, params={"after": newest["last_id"]})).json()
    assert [one["content"][0]["text"] for one in rest["data"]] == ["n2", "n1", "n0"]
    assert rest["has_more"] is False
    assert [text for _, text in await items(services, made["id"])] == [
        str([{"type": "input_text", "text": f"n{n}"}]) for n in range(5)
    ]
    assert provider_error(await services.litellm.get(path, params={"limit": 101}))[:2] == (400, "limit")


async def test_an_item_reference_is_its_item(services: Embedded) -> None:
    first = await response(services, "weather? [[tool=get_weather]]", tools=[TOOL])
    [call] = first["output"]
    reference = {"type": "item_reference", "id": call["id"]}
    said = ["weather? [[tool=get_weather]]", reference, {**RESULT, "call_id": call["call_id"]}]
    said[0] = {"role": "user", "content": said[0]}
    assert text_of(await response(services, said, tools=[TOOL])) == "The tool get_weather answered sunny."
    missing = await ask(services, [{"type": "item_reference", "id": "msg_nope"}])
    assert provider_error(missing)[0] == 404
    make_key(services.platform.state, "sk-other", "another-user")
    other = {"authorization": "Bearer sk-other"}
    body = {"model": "gpt-4.1", "input": said}
    assert (await services.litellm.post(PATH, json=body, headers=other)).status_code == 404


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([RESULT], "No tool call found for function call output with call_id c."),
        ([CALL], "No tool output found for function call c."),
        ([{"type": "nope"}], "Invalid value: 'nope'."),
        (5, None),
        (["x"], None),
    ],
)
async def test_invalid_items_are_refused(services: Embedded, said: Any, text: str | None) -> None:
    answer = await ask(services, said)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert text is None or provider_error(answer) == (400, "input", provider_error(answer)[2], text)
    (log,) = services.platform.state.spend
    assert (log["status"], log["call_type"], log["spend"]) == ("failure", "aresponses", 0.0)


async def test_a_bridged_conversation_cannot_be_continued_by_a_provider_that_stores(services: Embedded) -> None:
    bridged = await response(services, "hi [[tokens=1]]", model=CHAT_ONLY, use_chat_completions_api=True)
    refused = await ask(services, "again", previous_response_id=bridged["id"])
    assert provider_error(refused)[2] == "previous_response_not_found"
    also = await response(services, "hi [[tokens=1]]", use_chat_completions_api=True)
    assert provider_error(await services.litellm.get(f"{PATH}/{also['id']}"))[0] == 404
    assert services.platform.state.responses == {}


@pytest.mark.parametrize("error", ["400", "429", "500"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_native_failure_before_the_answer_is_an_http_error(
    services: Embedded, error: str, stream: bool
) -> None:
    assert (await ask(services, f"x [[error={error}]]", stream=stream)).status_code == int(error)
    assert services.platform.state.responses == {}


@pytest.mark.parametrize("bridged", [False, True])
async def test_leaving_before_the_first_word_stops_the_model_and_costs_nothing(
    services: Embedded, bridged: bool
) -> None:
    model = {"model": CHAT_ONLY, "use_chat_completions_api": True} if bridged else {"model": "gpt-4.1"}
    body = {**model, "input": "hi [[tokens=2 first=60]]", "stream": True}
    asking = asyncio.create_task(services.litellm.post(PATH, json=body))
    stats = services.platform.state.stats
    while not stats.inflight:
        (await services.litellm.get("/health/liveliness")).raise_for_status()
    asking.cancel()
    while stats.inflight:
        (await services.litellm.get("/health/liveliness")).raise_for_status()
    assert stats.disconnected == 1
    assert services.platform.state.spend == []


async def test_the_oldest_responses_are_dropped(services: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MAX_RESPONSES", 2)
    made = [await response(services, f"{n} [[tokens=1]]") for n in range(3)]
    found = [(await services.litellm.get(f"{PATH}/{one['id']}")).status_code for one in made]
    assert found == [404, 200, 200]
    monkeypatch.setattr(states, "MAX_RESPONSE_BYTES", 6_000)
    await response(services, "x" * 5_000 + " [[tokens=1]]")
    assert len(services.platform.state.responses) == 1


async def test_responses_and_their_ids_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with embedded(open_store(path)) as services:
        kept, dropped = [await response(services, f"{n} [[tokens=1]]") for n in range(2)]
        await services.litellm.delete(f"{PATH}/{dropped['id']}")
    async with embedded(open_store(path)) as services:
        assert (await services.litellm.get(f"{PATH}/{kept['id']}")).json() == kept
        assert (await services.litellm.get(f"{PATH}/{dropped['id']}")).status_code == 404
        await response(services, "again [[tokens=1]]", previous_response_id=kept["id"])


async def test_an_altered_id_is_refused(services: Embedded) -> None:
    made = (await response(services, "hi [[tokens=1]]"))["id"]
    for wrong in (made[:-6] + "AAAAAA", made[:-1], made + "A", "resp_", "resp_é", "resp_AAAA"):
        answer = await services.litellm.get(f"{PATH}/{wrong}")
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error"), wrong


async def test_a_key_without_a_user_owns_its_responses(services: Embedded) -> None:
    headers = []
    for key in ("sk-one", "sk-two"):
        make_key(services.platform.state, key, None)
        headers.append({"authorization": f"Bearer {key}"})
    body = {"model": "gpt-4.1", "input": "[[tokens=1]]"}
    made = (await services.litellm.post(PATH, json=body, headers=headers[0])).json()["id"]
    found = [(await services.litellm.get(f"{PATH}/{made}", headers=one)).status_code for one in headers]
    assert found == [200, 403]


async def test_model_groups_say_which_endpoints_their_providers_serve(services: Embedded) -> None:
    groups = (await services.litellm.get("/model_group/info")).json()["data"]
    served = {one["model_group"]: one["supported_endpoints"] for one in groups}
    assert served["gpt-4.1"] == ["/v1/chat/completions", "/v1/responses"]
    assert served[CHAT_ONLY] == ["/v1/chat/completions"]
    assert served["text-embedding-3-small"] == ["/v1/embeddings"]


async def test_the_daily_activity_names_the_endpoint(services: Embedded) -> None:
    await response(services, "hi [[tokens=1]]")
    daily = await services.litellm.get("/user/daily/activity?start_date=2020-01-01&end_date=2100-01-01")
    assert list(daily.json()["results"][0]["breakdown"]["endpoints"]) == ["/responses"]


@pytest.mark.parametrize("bridged", [False, True])
async def test_openais_sdk_reads_every_answer(services: Embedded, bridged: bool) -> None:
    key = services.platform.state.users[ADA].litellm_key or ""
    model, extra = (CHAT_ONLY, {"use_chat_completions_api": True}) if bridged else ("gpt-4.1", {})
    asked: dict[str, Any] = {"model": model, "extra_body": extra}
    async with sdk_client(f"{services.platform.urls['litellm']}/v1", key) as client:
        made = await client.responses.create(**asked, input="hi [[tokens=2 reasoning=1]]")
        assert made.output_text.strip() == "tok0 tok1"
        async with client.responses.stream(**asked, input="w [[tool=get_weather tokens=1]]", tools=[TOOL]) as stream:
            seen = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert seen[-1] == "response.completed"
        assert final.output[0].type == "function_call"
        if not bridged:
            assert (await client.responses.retrieve(made.id)).output_text == made.output_text
            page = await client.responses.input_items.list(made.id)
            assert [one.type for one in page.data] == ["message"]
            await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)
