"""Answers of the Responses API have the form of LiteLLM 1.110.2's recorded ones: fields of the same names and types."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import REAL
from tests.support.responses import BRIDGED, NATIVE, PATH, TOOL, ask, streamed, without_provider
from tests.support.samples import Sample, samples
from tests.support.shapes import differences
from tests.support.upstreams import PIXEL, Json, Upstreams

pytestmark = pytest.mark.usefixtures("responses_of_later_litellm")
SAMPLES = {sample.name: sample for sample in samples("litellm-1.110")}
IMAGE = [
    {
        "role": "user",
        "content": [{"type": "input_text", "text": "[[tokens=1]]"}, {"type": "input_image", "image_url": PIXEL}],
    }
]
FORMAT: Json = {
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object", "properties": {}}}}
}

WHOLE: dict[str, tuple[str, Any, Json]] = {
    "resp_native": (NATIVE, "[[tokens=3]]", {}),
    "resp_bodyflag": (BRIDGED, "[[tokens=2]]", {}),
    "resp_image": (BRIDGED, IMAGE, {}),
    "resp_reason": (BRIDGED, "[[tokens=1 reasoning=1]]", {}),
    "resp_tools": (BRIDGED, "[[tokens=2 tool=get_weather]]", {"tools": [TOOL]}),
    "resp_params": (BRIDGED, "[[tokens=1]]", {"store": False, "reasoning": {"effort": "low"}, **FORMAT}),
    "resp_p_background": (BRIDGED, "[[tokens=1]]", {"background": True}),
}
STREAMED: dict[str, tuple[str, Any, Json]] = {
    "resp_native_stream": (NATIVE, "[[tokens=3]]", {}),
    "resp_native_mid_errevent": (NATIVE, "[[tokens=4 error=cut]]", {}),
    "resp_bodyflag_stream": (BRIDGED, "[[tokens=2]]", {}),
    "resp_reason_stream": (BRIDGED, "[[tokens=1 reasoning=1]]", {}),
    "resp_tools_stream": (BRIDGED, "[[tokens=2 tool=get_weather]]", {"tools": [TOOL]}),
    "resp_mid_cut": (BRIDGED, "[[tokens=4 error=cut delay=0.05]]", {}),
    "resp_mid_errdone": (BRIDGED, "[[tokens=4 error=errdone delay=0.05]]", {}),
}
if not REAL:  # the model behind the real LiteLLM knows no limit
    LIMITED: Json = {"max_output_tokens": 2}
    WHOLE["resp_length"] = (BRIDGED, "[[tokens=4]]", LIMITED)
    STREAMED["resp_length_stream"] = (BRIDGED, "[[tokens=4]]", LIMITED)
REFUSED: dict[str, tuple[str, Json]] = {
    "resp_err_no_input": ("[[tokens=1]]", {"input": None}),
    "resp_p_tenant_id": ("x", {"api_base": "x"}),
    "resp_prev_unknown": ("x", {"previous_response_id": "resp_nope"}),
    "resp_up_429": ("x [[error=429]]", {}),
    "resp_up_ctx": ("x [[error=ctx]]", {}),
}


def of_each_type(events: list[Json]) -> Json:
    """Return the last event of each type and, for items, of each item's type."""
    return {f"{event['type']} {event.get('item', {}).get('type', '')}": event for event in events}


@pytest.mark.parametrize("name", WHOLE)
async def test_whole_responses(up: Upstreams, name: str) -> None:
    kind, said, more = WHOLE[name]
    answer = await up.litellm.post(PATH, json=ask(up, kind, said, **more), headers=await up.key())
    assert answer.status_code == SAMPLES[name].status
    assert differences(answer.json(), SAMPLES[name].json) == []


@pytest.mark.parametrize("name", STREAMED)
async def test_streamed_responses(up: Upstreams, name: str) -> None:
    kind, said, more = STREAMED[name]
    events, recorded = await streamed(up, ask(up, kind, said, **more), await up.key()), SAMPLES[name].events
    assert set(of_each_type(events)) == set(of_each_type(recorded))
    assert differences(of_each_type(events), of_each_type(recorded)) == []
    order = list(dict.fromkeys(event["type"] for event in recorded))
    assert list(dict.fromkeys(event["type"] for event in events)) == order


@pytest.mark.parametrize("name", REFUSED)
async def test_refusals(up: Upstreams, name: str) -> None:
    said, more = REFUSED[name]
    body = {key: value for key, value in ask(up, BRIDGED, said, **more).items() if value is not None}
    answer = await up.litellm.post(PATH, json=body, headers=await up.key())
    assert_refused(answer.status_code, answer.json(), SAMPLES[name])


async def test_a_model_without_the_api(up: Upstreams) -> None:
    key, body = await up.key(), without_provider(up, "[[tokens=1]]")
    answer = await up.litellm.post(PATH, json=body, headers=key)
    assert_refused(answer.status_code, answer.json(), SAMPLES["resp_fake-chat"])
    theirs = SAMPLES["resp_fake-chat"].json["error"]["message"].replace("fake-chat", body["model"])
    assert answer.json()["error"]["message"] == theirs


async def test_bridged_and_stored_responses_by_id(up: Upstreams) -> None:
    key, other = await up.key(), await up.key()
    bridged = (await up.litellm.post(PATH, json=ask(up, BRIDGED, "[[tokens=1]]"), headers=key)).json()["id"]
    stored = (await up.litellm.post(PATH, json=ask(up, NATIVE, "[[tokens=1]]"), headers=key)).json()["id"]
    calls: list[tuple[str, str, str, dict[str, str]]] = [
        ("resp_GET_BRIDGED", "GET", bridged, key),
        ("resp_stored_get_not_issued", "GET", "resp_nope", key),
        ("resp_stored_get_other_user", "GET", stored, other),
    ]
    if not up.real:  # the scripted provider stores nothing
        calls += [
            ("resp_stored_get", "GET", stored, key),
            ("resp_stored_items", "GET", f"{stored}/input_items", key),
            ("resp_stored_delete", "DELETE", stored, key),
            ("resp_stored_get_deleted", "GET", stored, key),
        ]
    for name, method, path, headers in calls:
        answer, sample = await up.litellm.request(method, f"{PATH}/{path}", headers=headers), SAMPLES[name]
        assert answer.status_code == sample.status, name
        assert differences(answer.json(), sample.json) == [], name
    if not up.real:
        body = ask(up, NATIVE, "x", previous_response_id=stored)
        gone = await up.litellm.post(PATH, json=body, headers=key)
        assert_refused(gone.status_code, gone.json(), SAMPLES["resp_stored_prev_deleted"])


def assert_refused(status: int, found: Json, sample: Sample) -> None:
    """Assert that a refusal has the recorded status, type, code and parameter."""
    ours, theirs = found["error"], sample.json["error"]
    assert (status, ours["type"], ours["code"]) == (sample.status, theirs["type"], theirs["code"])
    assert ours["param"] in {theirs["param"], "None"}
    assert differences(found, sample.json) == []
