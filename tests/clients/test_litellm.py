from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from clients import errors
from clients.calls import Answer, UpstreamRejected
from clients.litellm.keys import ACTIVITY, KEY, lines
from clients.litellm.models import DETAILS, GROUPS, ModelMode, decode_details, decode_models, details_by_name
from clients.litellm.refusals import failure_in_stream, translate, wire_error

OWN, OTHER = "a" * 64, "b" * 64


def metrics(requests: int, spend: float = 0.0) -> dict[str, Any]:
    return {"api_requests": requests, "failed_requests": 0, "prompt_tokens": requests, "spend": spend}


def by_key(**requests: int) -> dict[str, Any]:
    keys = {"own": OWN, "other": OTHER}
    return {keys[name]: {"metrics": metrics(count, count * 1.1e-05)} for name, count in requests.items()}


def test_usage_is_of_one_key_and_calls_without_a_model_have_a_line() -> None:
    day = {
        "date": "2026-03-02",
        "metrics": metrics(106),
        "breakdown": {
            "model_groups": {
                "gpt": {"metrics": metrics(103), "api_key_breakdown": by_key(own=3, other=100)},
                "other": {"metrics": metrics(1), "api_key_breakdown": by_key(other=1)},
                "": {"metrics": metrics(2), "api_key_breakdown": by_key(own=2)},
            },
            "api_keys": by_key(own=5, other=101),
        },
    }
    found = list(lines(ACTIVITY.decode(json.dumps({"results": [day], "metadata": {"has_more": False}})), OWN))
    assert [(str(line.day), line.model, line.counts.api_requests) for line in found] == [
        ("2026-03-02", "gpt", 3),
        ("2026-03-02", None, 2),
    ]
    assert found[0].counts.spend == Decimal("0.000033")
    assert list(lines(ACTIVITY.decode(json.dumps({"results": [day], "metadata": {"has_more": True}})), "c" * 64)) == []


def test_a_group_of_several_deployments_has_the_capabilities_of_each() -> None:
    data = [
        {"model_name": "a", "model_info": {"supports_pdf_input": False, "cache_read_input_token_cost": 1e-7}},
        {"model_name": "a", "model_info": {"supports_pdf_input": True, "cache_read_input_token_cost": 2e-7}},
        {"model_name": "a", "model_info": {"supports_pdf_input": None}},
        {"model_name": "b", "model_info": {"supports_audio_input": None}},
        {"model_name": "c"},
    ]
    found = details_by_name(DETAILS.decode(json.dumps({"data": data})).data)
    assert found["a"].supports_pdf_input is True
    assert found["a"].supports_audio_input is None
    assert found["a"].cached_input_usd_per_million_tokens == Decimal("0.2")
    assert found["b"].cached_input_usd_per_million_tokens is None
    assert set(found) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("chat", ModelMode.CHAT),
        (None, ModelMode.CHAT),
        ("embedding", ModelMode.EMBEDDING),
        ("telepathy", ModelMode.UNKNOWN),
    ],
)
def test_an_unknown_mode(mode: str | None, expected: ModelMode) -> None:
    [model] = GROUPS.decode(json.dumps({"data": [{"model_group": "m", "mode": mode}]})).data
    assert model.mode is expected


@pytest.mark.parametrize("odd", ["many", {}, [1], True, -1, 1e300, None], ids=repr)
def test_a_fact_of_a_model_that_cannot_be_read_does_not_affect_others(odd: Any) -> None:
    names = ("max_input_tokens", "max_output_tokens", "supports_vision", "providers", "mode", "input_cost_per_token")
    groups = [{"model_group": "a", name: odd, "supports_reasoning": True} for name in names]
    models = decode_models(json.dumps({"data": groups}).encode())
    assert [(model.name, model.supports.reasoning) for model in models] == [("a", True)] * len(names)
    assert models[0].context_window in {None, 1}
    pages = [{"model_name": "a", "model_info": {"output_vector_size": odd, "supports_pdf_input": True}}]
    assert decode_details(json.dumps({"data": pages}).encode())["a"].supports_pdf_input is True
    assert set(decode_details(json.dumps({"data": [{"model_name": "a", "model_info": odd}]}).encode())) == {"a"}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": [1]}', b'{"data": [{"mode": "chat"}]}', b'{"data": null}'])
def test_an_answer_that_is_not_a_list_of_models_is_an_error(body: bytes) -> None:
    with pytest.raises(errors.UpstreamError):
        decode_models(body)


@pytest.mark.parametrize(
    ("per_token", "shown"),
    [("1.5e-07", "0.15"), ("2e-08", "0.02"), ("0.0", "0"), ("1e-05", "10"), ("0.0001", "100"), ("null", None)],
)
def test_prices_are_plain_numbers(per_token: str, shown: str | None) -> None:
    [model] = GROUPS.decode(f'{{"data": [{{"model_group": "m", "input_cost_per_token": {per_token}}}]}}').data
    price = model.input_usd_per_million_tokens
    assert (None if price is None else format(price, "f")) == shown


def test_the_rest_of_a_budget() -> None:
    info = KEY.decode('{"info": {"spend": 1.0999999999999264e-05, "max_budget": 1e-06}}').info
    assert (info.spend_usd, info.max_usd, info.remaining_usd) == (Decimal("0.000011"), Decimal("0.000001"), Decimal(0))
    free = KEY.decode('{"info": {"spend": 0.0}}').info
    assert (free.spend_usd, free.max_usd, free.remaining_usd, free.expires) == (Decimal(0), None, None, None)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "invalid_request_error", "Invalid model name passed in model=x", errors.NotFound),
        (400, "invalid_request_error", "This model's maximum context length is 8", errors.BadUserInput),
        (401, "expired_key", "Expired", errors.UpstreamError),
        (402, None, "", errors.UpstreamError),
        (403, None, "", errors.Forbidden),
        (404, None, "", errors.NotFound),
        (408, None, "", errors.UpstreamTimeout),
        (409, None, "", errors.UpstreamError),
        (413, None, "", errors.PayloadTooLarge),
        (422, "budget_exceeded", "Budget has been exceeded!", errors.BudgetExceeded),
        (429, "throttling_error", "", errors.RateLimited),
        (429, "budget_exceeded", "", errors.BudgetExceeded),
        (500, None, "", errors.UpstreamError),
        (503, None, "", errors.UpstreamError),
    ],
)
def test_the_error_for_a_refusal(status: int, kind: str | None, message: str, expected: type[Exception]) -> None:
    body = json.dumps({"error": {"message": message, "type": kind}}).encode()
    error = translate(UpstreamRejected(Answer(status, {}, body)))
    assert type(error) is expected
    assert message not in error.message or not message


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>no</html>", b"[1]", b"null", b'{"error": 5}', b'{"error": []}', b'{"detail": "no"}', b"\xff\xfe"],
)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "BAD_USER_INPUT"),
        (401, "UPSTREAM_ERROR"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (408, "UPSTREAM_TIMEOUT"),
        (413, "PAYLOAD_TOO_LARGE"),
        (429, "RATE_LIMITED"),
        (503, "UPSTREAM_ERROR"),
    ],
)
def test_a_refusal_without_a_readable_body_is_classified_by_its_status(status: int, code: str, body: bytes) -> None:
    assert translate(UpstreamRejected(Answer(status, {}, body))).code == code


def refused(message: Any, status: int = 400, headers: dict[str, str] | None = None, **more: Any) -> errors.GatewayError:
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": str(status), **more}})
    return translate(UpstreamRejected(Answer(status, headers or {}, body.encode())))


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("litellm.ContextWindowExceededError: This model's maximum context length is 8192 tokens.", 8192),
        ("This model's maximum context length is 128,000 tokens. However, you requested 130000 tokens", 128000),
        ("AnthropicException - prompt is too long: 208310 tokens > 200000 maximum", 200000),
        ("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens", 272000),
        ("VertexAI - The input token count (9) exceeds the maximum number of tokens allowed (1048576).", 1048576),
        ("the request exceeds the available context size (4096 tokens), try increasing it", 4096),
        ("BedrockException: Context Window Error - Input is too long for requested model.", None),
        ("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", None),
        ("Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192", 8192),
        ("This model's maximum prompt length is 131072 but the request contains 200000 tokens.", 131072),
        ("The decoder prompt (length 9000) is longer than the maximum model length of 8192.", 8192),
        ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", 8192),
        ("Input length (9000 tokens) exceeds the maximum allowed length (8192 tokens).", 8192),
        ("Your request exceeded model token limit: 8192", 8192),
        ("BedrockException - Input too long: 9000 input tokens, limit is 8192", 8192),
        ("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]", None),
        ("The maximum context length is exceeded.", None),
        ("`inputs` tokens + `max_new_tokens` must be <= 4097", None),
        ("too many tokens: size limit exceeded", None),
        ("Maximum input length is 4096 tokens", 4096),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_context_overflow_has_a_message_that_sdks_recognize(message: str, limit: int | None, status: int) -> None:
    error = refused(message, status)
    length = "exceeded" if limit is None else f"{limit} tokens"
    assert (error.code, error.reason) == ("BAD_USER_INPUT", "CONTEXT_LENGTH")
    assert f"This model's maximum context length is {length}: " in error.message
    for words in ("prompt is too long", "exceeds the context window", "reduce the length of the messages"):
        assert words in error.message


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("x", {"code": "context_length_exceeded"}),
        ("litellm.ContextWindowExceededError: x", {}),
        ({"error": "maximum context length"}, {}),
    ],
)
def test_context_overflow_is_recognized_by_code_and_name(message: Any, more: dict[str, Any]) -> None:
    assert refused(message, **more).reason == "CONTEXT_LENGTH"
    if isinstance(message, str):
        assert refused(message, 500, **more).reason == "CONTEXT_LENGTH"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("500", "UPSTREAM_TIMEOUT"), (None, "UPSTREAM_TIMEOUT"), ("400", "BAD_USER_INPUT"), ("429", "RATE_LIMITED")],
)
def test_only_a_failure_with_the_text_of_a_stall_is_a_timeout(code: str | None, expected: str) -> None:
    """A refusal can quote the same text from the prompt."""
    error = failure_in_stream(wire_error({"message": "Timeout on reading data from socket", "code": code}))
    assert error.code == expected


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'user': string too long. Expected a string with maximum length 64 (string_above_max_length)",
        "Request too large for model on tokens per minute (TPM): prompt is too long",
        "max_tokens is too large: 9000",
    ],
)
def test_other_inputs_that_are_too_long_are_not_a_context_overflow(message: str) -> None:
    assert refused(message).reason is None


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("litellm.ContentPolicyViolationError: AzureException - The response was filtered", {}),
        ("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", {}),
        ("x", {"code": "content_filter"}),
        ("x", {"code": "content_policy_violation"}),
        ("x", {"provider_specific_fields": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        ("Your request was rejected as a result of our safety system.", {}),
        ("Output blocked by content filtering policy", {}),
        ("VertexAIException - The response was blocked.", {}),
        ("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", {}),
        ({"error": "Violated guardrail policy", "bedrock_guardrail_response": "blocked"}, {}),
        ("Violated OpenAI moderation policy", {}),
        ("DeepseekException - Content Exists Risk", {}),
        ("The request was rejected because it was considered high risk", {}),
        ("<400> InternalError.Algo.DataInspectionFailed: Input data may contain inappropriate content.", {}),
        ("XaiException - Content violates usage guidelines.", {}),
        ("Content blocked: keyword found", {}),
        ("Blocked entity detected: PERSON by Guardrail: presidio", {}),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_content_filter_is_recognized(message: Any, more: dict[str, Any], status: int) -> None:
    error = refused(message, status, **more)
    assert (error.code, error.http_status, error.reason) == ("BAD_USER_INPUT", 400, "CONTENT_FILTER")


@pytest.mark.parametrize(
    ("message", "sent", "param"),
    [
        ("x", "max_tokens", "max_tokens"),
        ("x", "messages[0].content", "messages[0].content"),
        ("x", "None", None),
        ("x", None, None),
        ("x", "", None),
        ("x", "text of an upstream", None),
        ("x", "a" * 101, None),
        ("x", "é", None),
        ("x", ["max_tokens"], None),
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", None, "max_tokens"),
        ("Unsupported value: 'temperature' does not support 0.2 with this model.", None, "temperature"),
        ("Unknown parameter: 'foo'.", None, "foo"),
        ("Unrecognized request argument supplied: foo", None, "foo"),
        ("Missing required parameter: 'messages'.", None, "messages"),
        ("Invalid value for 'content': expected a string, got null.", None, "content"),
        ("Invalid 'tools[0].function.name': empty string.", None, "tools[0].function.name"),
        ("Invalid value: 'developer'. Supported values are: 'system'.", None, None),
        ("litellm.UnsupportedParamsError: groq does not support parameters: ['seed'], for model=x", None, "seed"),
    ],
)
def test_the_parameter_that_a_refusal_names_is_reported(message: str, sent: Any, param: str | None) -> None:
    error = refused(message, param=sent)
    assert error.details.get("param") == param
    assert (
        error.message == "LiteLLM refused the request because a parameter is missing or invalid. Check the parameters."
    )


@pytest.mark.parametrize("status", [408, 429, 503])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"llm_provider-retry-after": "3"}, 3.0),
        ({"llm_provider-retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7", "llm_provider-retry-after": "3"}, 7.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_retry_after_of_a_refusal(status: int, headers: dict[str, str], seconds: float | None) -> None:
    assert refused("x", status, headers).retry_after_seconds == seconds


def test_a_price_that_is_not_a_number_is_unknown() -> None:
    one = {"model_name": "m", "model_info": {"cache_read_input_token_cost": "NaN"}}
    two = {"model_name": "m", "model_info": {"cache_read_input_token_cost": 1e-6}}
    for data in ([one], [one, one], [one, two]):
        details = decode_details(json.dumps({"data": data}).encode())["m"]
        assert details.cached_input_usd_per_million_tokens == (Decimal(1) if two in data else None)
