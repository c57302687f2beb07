"""Allowed contents of model requests."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import BadUserInput
from resolvers.checks import MAX_NESTING
from resolvers.vetting import MAX_ADDRESSES, vet_chat, vet_embeddings, vet_response

INSIDE = "http://169.254.169.254/latest"
PUBLIC = "https://example.com/a.png"
PIXEL = "data:image/png;base64,aGVsbG8="


def saying(*parts: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": role, "content": [*parts]}], **more}


def refused(body: dict[str, Any]) -> tuple[str | None, str]:
    with pytest.raises(BadUserInput) as error:
        vet_chat(body)
    assert error.value.details is not None
    return error.value.reason, error.value.details["param"]


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "type_",
    ["function", "custom", "computer_20250124", "bash_20250124", "text_editor_20250728", "memory_20250818",
     "tool_search_tool_regex_20251119"],
)  # fmt: skip
def test_a_tool_that_the_client_runs_is_accepted(type_: str) -> None:
    vet_chat(saying({"type": "text", "text": "hi"}, tools=[FUNCTION | {"type": type_}]))


@pytest.mark.parametrize(
    "type_",
    ["mcp", "MCP", "Mcp", " mcp", "mcp\n", "url", "web_search", "web_search_20250305", "web_fetch_20250910",
     "file_search", "code_interpreter", "code_execution_20250825", "image_generation", "advisor_20260301", "Function",
     "function ", "", "\uff4d\uff43\uff50"],
)  # fmt: skip
def test_any_other_tool_is_refused_with_its_path(type_: str) -> None:
    tool = {"type": type_, "server_url": "https://example.com/mcp", "server_label": "x"}
    assert refused(saying(tools=[FUNCTION, tool])) == ("TOOLS", "tools[1].type")


CARRIERS: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"type": "image_url", "image_url": {"url": INSIDE}}, "image_url.url"),
    "image as a text": ({"type": "image_url", "image_url": INSIDE}, "image_url"),
    "file id": ({"type": "file", "file": {"file_id": INSIDE}}, "file.file_id"),
    "file data": ({"type": "file", "file": {"file_data": INSIDE}}, "file.file_data"),
    "file as a text": ({"type": "file", "file": INSIDE}, "file"),
    "input file": ({"type": "input_file", "file_url": INSIDE}, "file_url"),
    "input image": ({"type": "input_image", "image_url": INSIDE}, "image_url"),
    "input audio": ({"type": "input_audio", "input_audio": {"data": INSIDE, "format": "wav"}}, "input_audio.data"),
    "video": ({"type": "video_url", "video_url": {"url": INSIDE}}, "video_url.url"),
    "audio": ({"type": "audio_url", "audio_url": INSIDE}, "audio_url"),
    "image source": ({"type": "image", "source": {"type": "url", "url": INSIDE}}, "source.url"),
    "document source": ({"type": "document", "source": {"type": "url", "url": INSIDE}}, "source.url"),
    "search result": ({"type": "search_result", "source": INSIDE, "content": []}, "source"),
    "tool result": (
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": INSIDE}}]},
        "content[0].source.url",
    ),
    "document of parts": (
        {"type": "document", "source": {"type": "content", "content": [{"type": "image_url", "image_url": INSIDE}]}},
        "source.content[0].image_url",
    ),
    "under another type": ({"type": "text", "text": "hi", "image_url": {"url": INSIDE}}, "image_url.url"),
    "bucket": ({"type": "file", "file": {"file_id": "gs://bucket/key"}}, "file.file_id"),
    "no scheme": ({"type": "file", "file": {"file_id": "www.example.com"}}, "file.file_id"),
    "scheme in the middle": ({"type": "file", "file": {"file_id": "a http://127.0.0.1"}}, "file.file_id"),
    "script": ({"type": "video_url", "video_url": "data:text/html,<script>"}, "video_url"),
    "unknown field": ({"type": "text", "text": "hi", "made_up": {"deep": [[INSIDE]]}}, "made_up.deep[0][0]"),
    "public, of an unknown type": ({"type": "mcp_server", "address": PUBLIC}, "address"),
    "bytes, of an unknown type": ({"type": "made_up", "made_up": PIXEL}, "made_up"),
}


@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
@pytest.mark.parametrize("kind", CARRIERS)
def test_an_address_is_refused_anywhere_in_a_message(kind: str, role: str) -> None:
    part, place = CARRIERS[kind]
    reason, param = refused(saying({"type": "text", "text": "hi"}, part, role=role))
    assert param == f"messages[1].content[1].{place}"
    assert reason == ("IMAGE" if "image_url" in place else "ADDRESS")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"images": [INSIDE]}, "images[0]"),
        ({"images": [{"type": "image_url", "image_url": {"url": INSIDE}}]}, "images[0].image_url.url"),
        ({"audio": {"url": INSIDE}}, "audio.url"),
        ({"provider_specific_fields": {"compaction_blocks": [{"source": {"url": INSIDE}}]}},
         "provider_specific_fields.compaction_blocks[0].source.url"),
        ({"tool_calls": [{"function": {"name": "f", "url": INSIDE}}]}, "tool_calls[0].function.url"),
    ],
)  # fmt: skip
def test_an_address_beside_a_messages_content_is_refused(given: dict[str, Any], place: str) -> None:
    body = {"model": "m", "messages": [{"role": "assistant", "content": "hi", **given}]}
    assert refused(body)[1] == f"messages[0].{place}"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"prediction": {"type": "content", "content": [{"type": "file", "file": {"file_id": INSIDE}}]}},
         "prediction.content[0].file.file_id"),
        ({"audio": {"voice": {"url": INSIDE}}}, "audio.voice.url"),
        ({"tool_choice": {"type": "mcp", "server_url": INSIDE}}, "tool_choice.server_url"),
        ({"tools": [FUNCTION | {"server_url": INSIDE}]}, "tools[0].server_url"),
        ({"functions": [{"name": "f", "endpoint": INSIDE}]}, "functions[0].endpoint"),
        ({"thinking": {"type": "enabled", "callback": INSIDE}}, "thinking.callback"),
        ({"chat_template_kwargs": {"documents": [{"url": INSIDE}]}}, "chat_template_kwargs.documents[0].url"),
        ({"web_search_options": {"endpoint": INSIDE}}, "web_search_options.endpoint"),
    ],
)  # fmt: skip
def test_an_address_in_any_other_parameter_is_refused(given: dict[str, Any], place: str) -> None:
    assert refused(saying(**given)) == ("ADDRESS", place)


SCHEMA = {"type": "object", "properties": {"url": {"type": "string", "pattern": "https?://.*", "$ref": "#/$defs/u"}}}


@pytest.mark.parametrize("word", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize("reference", [INSIDE, PUBLIC, "other.json", "//a/b", ""])
def test_a_schema_with_external_references_is_refused(word: str, reference: str) -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{word: reference}]}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    inner = f"properties.a.anyOf[0].{word}"
    assert refused(saying(response_format=form)) == ("SCHEMA", f"response_format.json_schema.schema.{inner}")
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert refused(saying(tools=[tool])) == ("SCHEMA", f"tools[0].function.parameters.{inner}")


HONEST: list[dict[str, Any]] = [
    {"type": "text", "text": INSIDE},
    {"type": "image_url", "image_url": {"url": PUBLIC, "detail": "low"}},
    {"type": "image_url", "image_url": {"url": PIXEL}},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-abc", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
    {"type": "file", "file": {"file_id": PUBLIC}},
    {"type": "search_result", "source": "wiki:cats", "title": "Cats", "content": [{"type": "text", "text": INSIDE}]},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": f"{INSIDE} is it"}},
    {"type": "tool_use", "id": "1", "name": "open", "input": {"url": "http://localhost:3000"}},
    {"type": "tool_result", "tool_use_id": "1", "content": "http://localhost:3000 says hi"},
    {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "url": "http://example.com"}]},
    {"type": "made_up", "words": "of no address: none"},
]


@pytest.mark.parametrize("part", HONEST, ids=lambda part: part["type"])
def test_public_addresses_and_other_content_are_accepted(part: dict[str, Any]) -> None:
    body = saying(part, tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}])
    assert vet_chat(body) is body


def test_texts_that_only_look_like_addresses_are_accepted() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "//start\nstart: /https?:/"}}
    custom = {"type": "custom", "custom": {"name": "f", "description": INSIDE, "format": grammar}}
    called = {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": INSIDE}}]}
    vet_chat({"model": "m", "messages": [called], "tools": [custom], "stop": ["//", "http://", "www."]})


def test_an_earlier_answer_is_accepted_as_input() -> None:
    cited = [{"type": "url_citation", "url_citation": {"url": "http://example.com", "title": "x"}}]
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"url": "http://localhost"}'}}]
    answered = {"role": "assistant", "content": None, "annotations": cited, "tool_calls": calls, "refusal": None}
    vet_chat({"model": "m", "messages": [answered]})


@pytest.mark.bound("addresses")
def test_addresses_at_the_bound_and_past_it() -> None:
    part = {"type": "image_url", "image_url": {"url": PUBLIC}}
    vet_chat(saying(*[part] * MAX_ADDRESSES, *[{"type": "image_url", "image_url": PIXEL}] * 10))
    assert refused(saying(*[part] * (MAX_ADDRESSES + 1)))[0] == "RANGE"


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.bound("request-depth")
def test_nesting_at_the_bound_and_past_it() -> None:
    vet_chat(saying(prediction=nested(MAX_NESTING + 1)))
    assert refused(saying(prediction=nested(MAX_NESTING + 2)))[0] == "REQUEST"
    assert refused(saying(tools=[FUNCTION | {"function": {"parameters": nested(1000)}}]))[0] == "REQUEST"


@pytest.mark.parametrize("model", ["a,b", "huggingface/http://127.0.0.1", "https://example.com/v1"])
def test_a_model_that_is_a_list_or_address_is_refused(model: str) -> None:
    assert refused({**saying(), "model": model}) == ("MODEL", "model")
    with pytest.raises(BadUserInput):
        vet_embeddings({"model": model, "input": "hi"})


@pytest.mark.parametrize("text", ["gs://bucket/a.png", "s3://bucket/a", " S3://bucket/a", "file:///etc/passwd"])
def test_an_input_that_is_an_address_of_an_object_store_is_refused(text: str) -> None:
    for inputs, place in ((text, "input"), (["hi", text], "input[1]")):
        with pytest.raises(BadUserInput) as error:
            vet_embeddings({"model": "m", "input": inputs})
        assert (error.value.reason, error.value.details) == ("ADDRESS", {"param": place})


@pytest.mark.parametrize("inputs", ["hi", "http://localhost is down", ["see gs://bucket"], [1, 2], [[1], [2]]])
def test_other_inputs_are_accepted(inputs: Any) -> None:
    vet_embeddings({"model": "m", "input": inputs})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(INSIDE) | st.just(PUBLIC),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["type", "content", "url", "source", "file"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_is_accepted_or_refused(value: Any) -> None:
    with suppress(BadUserInput):
        vet_chat(saying(value, prediction=value))


def responding(*items: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "input": [{"role": "user", "content": "hi"}, *items], **more}


def response_refused(body: dict[str, Any]) -> tuple[str | None, str]:
    with pytest.raises(BadUserInput) as error:
        vet_response(body)
    assert error.value.details is not None
    return error.value.reason, error.value.details["param"]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call_output", "call_id": "c", "output": INSIDE},
        {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": INSIDE},
        {"type": "function_call", "call_id": "c", "name": "n", "arguments": INSIDE},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "//abc"},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": INSIDE, "annotations": [{"type": "url_citation", "url": INSIDE}],
             "logprobs": [{"token": "http://x", "bytes": []}]}]},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]},
        {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PIXEL}},
    ],
)  # fmt: skip
def test_an_item_that_only_the_model_reads_may_have_any_text(item: dict[str, Any]) -> None:
    vet_response(responding(item))


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"role": "user", "content": [{"type": "input_image", "image_url": INSIDE}]}, "content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_file", "file_url": INSIDE}]}, "content[0].file_url"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": INSIDE}]}, "content[0].file_id"),
        ({"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_image", "image_url": INSIDE}]}, "output[0].image_url"),
        ({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": INSIDE}},
         "output.image_url"),
        ({"type": "item_reference", "id": "msg_1"}, ""),
    ],
)  # fmt: skip
def test_an_item_with_an_address_inside_is_refused_with_its_path(item: dict[str, Any], path: str) -> None:
    assert response_refused(responding(item))[1] == f"input[1].{path}".rstrip(".")


@pytest.mark.parametrize(
    "type_", ["mcp", "file_search", "code_interpreter", "image_generation", "shell", "web_searchx"]
)
def test_a_tool_that_runs_in_a_service_is_refused(type_: str) -> None:
    assert response_refused(responding(tools=[{"type": type_}])) == ("TOOLS", "tools[0].type")


@pytest.mark.parametrize(
    "type_", ["function", "custom", "web_search", "web_search_preview_2025_03_11", "local_shell", "apply_patch"]
)
def test_a_tool_that_the_client_runs_and_a_web_search_are_accepted(type_: str) -> None:
    vet_response(responding(tools=[{"type": type_, "name": "n", "parameters": {"default": INSIDE}}]))


def test_a_schema_of_a_response_refers_only_to_itself() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"$ref": INSIDE}}
    assert response_refused(responding(text={"format": schema})) == ("SCHEMA", "text.format.schema.$ref")
