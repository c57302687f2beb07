"""Parameters of model requests: OpenAI's are accepted, and those that configure LiteLLM are refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.embedded.people import ADA, GRACE
from tests.support.openai import EMBEDDING, Received, ask, asking
from tests.support.stack import Stack
from tests.support.usage import rises

CHATS = ("/v1/chat/completions", "proxy", "proxy/chat/completions")
VECTORS = ("/v1/embeddings", "proxy/embeddings")


async def refused(stack: Stack, path: str, body: dict[str, Any]) -> dict[str, Any]:
    before = stack.calls("litellm")
    answer = await ask(stack, path, body)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert stack.calls("litellm") == before
    return error


STEERING: dict[str, Any] = {
    "api_base": "http://127.0.0.1:1/v1",
    "base_url": "http://127.0.0.1:1/v1",
    "api_key": "sk-mine",
    "api_version": "2024-01-01",
    "custom_llm_provider": "ollama",
    "organization": "org-mine",
    "extra_headers": {"authorization": "Bearer sk-mine"},
    "headers": {"x-litellm-tags": "a"},
    "extra_body": {"api_base": "http://127.0.0.1:1/v1"},
    "extra_query": {"a": "b"},
    "litellm_metadata": {"user": GRACE},
    "litellm_params": {"api_base": "http://127.0.0.1:1/v1"},
    "litellm_credential_name": "other",
    "proxy_server_request": {},
    "mock_response": "made up",
    "mock_testing_fallbacks": True,
    "fallbacks": ["gpt-4o"],
    "context_window_fallbacks": [{"a": ["b"]}],
    "disable_fallbacks": True,
    "model_list": [],
    "user_config": {},
    "router_settings_override": {},
    "num_retries": 5,
    "timeout": 6000,
    "cache": {"no-cache": True},
    "caching": True,
    "no-log": True,
    "tags": ["free"],
    "guardrails": [],
    "input_cost_per_token": 0,
    "allowed_model_region": "eu",
    "drop_params": True,
    "aws_role_name": "admin",
    "vertex_credentials": "{}",
    "azure_ad_token": "oidc/x",
    "callbacks": ["langfuse"],
    "langfuse_host": "http://127.0.0.1:1",
    "rust": True,
    "`\n": 1,
}


@pytest.mark.parametrize("path", [*CHATS, *VECTORS])
async def test_a_parameter_that_configures_litellm_is_refused_by_name(stack: Stack, path: str) -> None:
    for name, value in STEERING.items():
        for more in [{"stream": True}, {"stream": False}] if path in CHATS else [{}]:
            right = asking(stack, "tokens=1") if path in CHATS else EMBEDDING
            error = await refused(stack, path, {**right, **more, name: value})
            assert (error["param"], error["code"]) == (name, "unknown_parameter")


@pytest.mark.parametrize("path", VECTORS)
async def test_embeddings_have_no_metadata(stack: Stack, path: str) -> None:
    error = await refused(stack, path, EMBEDDING | {"metadata": {"a": "b"}})
    assert (error["param"], error["code"]) == ("metadata", "unknown_parameter")


LARGEST = {f"{number:02}".ljust(64, "k"): "v" * 512 for number in range(16)}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", CHATS)
async def test_metadata_and_a_stored_answer_are_accepted_and_not_sent(
    stack: Stack, path: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, said = Received(stack, monkeypatch), str(uuid.uuid4())
    for metadata in (LARGEST, {"tags": "free", "guardrails": "[]"}, {}, None):
        body = asking(stack, f"tokens=1 delay=0 {said}", stream=stream, metadata=metadata, store=True)
        answer = await ask(stack, path, body)
        assert answer.status_code == 200, answer.text
        assert {"metadata", "store"}.isdisjoint(await received.one(said))


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        "a",
        {"a": 1},
        {"a": None},
        {"tags": ["free"]},
        {"a": {"b": "c"}},
        {"k" * 65: "v"},
        {"k": "v" * 513},
        LARGEST | {"one more": "v"},
    ],
    ids=repr,
)
async def test_metadata_outside_of_openais_bounds_are_refused(stack: Stack, metadata: Any) -> None:
    error = await refused(stack, CHATS[0], asking(stack, "tokens=1") | {"metadata": metadata})
    assert (error["param"], error["code"]) == ("metadata", "request")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", CHATS)
async def test_parameters_for_the_model_reach_the_model(
    stack: Stack, path: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, said = Received(stack, monkeypatch), str(uuid.uuid4())
    passed = {"reasoning_effort": "low", "prompt_cache_key": "chat-7", "store": False}
    more = {"verbosity": "low", "safety_identifier": "me"}
    answer = await ask(stack, path, asking(stack, f"tokens=1 delay=0 {said}", stream=stream, **passed, **more))
    assert answer.status_code == 200, answer.text
    body = await received.one(said)
    assert {name: body.get(name) for name in passed} == passed
    assert body["safety_identifier"] == ADA
    assert body.get("verbosity") == (None if stack.real else "low")  # LiteLLM does not know the model


SILENT: list[dict[str, Any]] = [
    {"metadata": None},
    {"metadata": {}},
    {"api_base": None, "mock_response": None, "extra_body": None, "no-log": None},
]


@pytest.mark.parametrize("path", [*CHATS, *VECTORS])
@pytest.mark.parametrize("silent", SILENT, ids=["metadata null", "metadata empty", "nulls"])
async def test_null_and_empty_parameters_are_accepted(stack: Stack, path: str, silent: dict[str, Any]) -> None:
    right = asking(stack, "tokens=1") if path in CHATS else EMBEDDING
    for more in [{"stream": True}, {"stream": False}] if path in CHATS else [{}]:
        answer = await ask(stack, path, {**right, **more, **silent})
        assert answer.status_code == 200, answer.text


HI = {"role": "user", "content": "hi"}
IMAGE = {"type": "image_url", "image_url": 1}
SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"messages": "x"}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [HI, [HI]]}, "messages[1]"),
    ({"messages": [{"content": "hi"}]}, "messages[0]"),
    ({"messages": [{"role": "nobody", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
    ({"model": ["gpt-4o"]}, "model"),
    ({"model": "gpt-4o,gpt-4o-mini"}, "model"),
    ({"tools": {}}, "tools"),
    ({"tools": ["f"]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
    ({"tools": [{"type": "mcp", "server_url": "litellm_proxy", "server_label": "x"}]}, "tools[0].type"),
    ({"tool_choice": 1}, "tool_choice"),
    ({"response_format": "json"}, "response_format"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": True}, "stream_options"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"stop": [1]}, "stop[0]"),
    ({"user": {"id": 1}}, "user"),
]


VECTOR_SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": {"text": "hi"}}, "input"),
    ({"input": [["a"]]}, "input[0][0]"),
    ({"input": [None]}, "input[0]"),
    ({"dimensions": "many"}, "dimensions"),
    ({"encoding_format": "hex"}, "encoding_format"),
    ({"model": 1}, "model"),
]


@pytest.mark.parametrize("path", [*CHATS, *VECTORS])
async def test_a_wrong_type_is_refused_with_its_path(stack: Stack, path: str) -> None:
    right = asking(stack, "tokens=1") if path in CHATS else EMBEDDING
    for given, place in SHAPES if path in CHATS else VECTOR_SHAPES:
        assert (await refused(stack, path, right | given))["param"] == place, given


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "https://localhost/a.png", "file:///etc/passwd", "gs://a/b"]
)
async def test_an_image_must_have_a_public_url(stack: Stack, url: str) -> None:
    for given in (url, {"url": url}):
        content = [{"type": "image_url", "image_url": given}]
        error = await refused(stack, CHATS[0], asking(stack, "") | {"messages": [{"role": "user", "content": content}]})
        assert error["code"] == "image"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "https://localhost/a.pdf", "gs://a/b", "www.x.y"])
async def test_a_file_must_have_a_public_url(stack: Stack, url: str) -> None:
    for name, given in [
        ("file", {"file_id": url}),
        ("file", {"file_data": url}),
        ("file", url),
        ("file_data", url),
        ("video_url", {"url": url}),
        ("audio_url", url),
        ("source", {"type": "url", "url": url}),
    ]:
        content = [{"type": "text", "text": "hi"}, {"type": "file", name: given}]
        said = [HI, {"role": "tool", "tool_call_id": "call_1", "content": content}]
        for path in CHATS:
            error = await refused(stack, path, asking(stack, "") | {"messages": said})
            assert error["param"].startswith(f"messages[1].content[1].{name}")
            assert error["code"] == "address"


async def test_the_parameters_of_openai_are_accepted(stack: Stack) -> None:
    said: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi [[tokens=1 delay=0]]"}], "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": None, "audio": None},
        {"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            {"type": "file", "file": {"file_id": "file-abc"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        ]},
        {"role": "user", "content": "and? [[tokens=1 delay=0]]"},
    ]  # fmt: skip
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    own = {"temperature": 1, "top_p": 0.5, "n": 1, "stop": None, "seed": 7, "max_completion_tokens": 5}
    calls = {"tools": tools, "tool_choice": "auto", "parallel_tool_calls": False}
    for path in CHATS:
        answer = await ask(stack, path, {"model": stack.chat_model, "messages": said, **own, **calls})
        assert answer.status_code == 200, answer.text
    for given in ("hi", ["hi", "there"], [1, 2], [[1, 2], [3]]):
        for path in VECTORS:
            body = {**EMBEDDING, "input": given, "dimensions": None, "encoding_format": "base64"}
            assert (await ask(stack, path, body)).status_code == 200


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
async def test_the_user_parameter_does_not_charge_another_user(stack: Stack, name: str) -> None:
    await stack.own_key()
    other = str(uuid.uuid4())  # LiteLLM may still record earlier calls of a user of other tests
    for path, stream in ((CHATS[0], False), (CHATS[0], True), (CHATS[2], False)):
        mine = await stack.charged()
        answer = await ask(stack, path, asking(stack, "tokens=1 delay=0", stream=stream) | {name: other})
        assert answer.status_code == 200, answer.text
        await rises(stack.charged, mine)
        assert await stack.charged(other) == 0
