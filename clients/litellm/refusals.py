"""Converts LiteLLM's errors to the gateway's errors."""

import re
from collections.abc import Mapping

import msgspec

from clients.calls import UpstreamRejected
from clients.codes import Reason
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    Forbidden,
    GatewayError,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Service,
    UpstreamError,
    UpstreamTimeout,
)
from clients.litellm.fields import Object, as_json, as_object, json_object, word
from clients.overflow import SEARCHED_CHARACTERS, any_of, is_too_long
from clients.retry_after import retry_after_seconds


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """An error from LiteLLM.

    ``text`` is the whole error, which the gateway searches and never passes on. Clients may see ``param``. ``status``
    is the HTTP status that the error's code, status or type implies.
    """

    text: str = ""
    type: str | None = None
    param: str | None = None
    status: int | None = None


_SHOWN = re.compile(r"[\w.\[\]-]{1,100}", re.ASCII)
"""The pattern for names of request parameters. Clients get no other upstream text."""
_UNKNOWN_MODEL = re.compile(r"Invalid model name passed in model=")
_CONTENT_FILTER = any_of(
    r"ContentPolicyViolation|content_policy_violation|content_filter(?!_result)|ResponsibleAIPolicyViolation",
    r"content (?:management|filtering) policy|(?:our|the) safety system|cyber_policy|moderation_blocked",
    r"(?:violat\w+|against) (?:our |the )?(?:usage|content) (?:policy|policies|guidelines)|the response was blocked",
    r"guardrail_intervened|violated .{0,40}policy|content blocked|blocked entity detected|blocked by .{0,30}filter",
    r"safety settings|block_?reason|(?:input|prompt|content) (?:was|has been) flagged|content moderation|new_sensitive",
    r"data_?inspection_?failed|inappropriate content|content exists risk|considered high risk|prohibited_content",
)
"""Phrases in errors about refused content. Providers and LiteLLM's guardrails send the phrases."""
_CERTAIN = any_of(r"ContextWindowExceeded|context_length_exceeded|ContentPolicyViolation|content_policy_violation")
"""Error names that identify an error with any HTTP status. Other phrases need a status in ``_BLAMES_THE_REQUEST``."""
_NUMBER = r"(\d[\d,]{1,11})"
_LIMIT = any_of(
    rf"maximum (?:context|prompt|model|input|allowed|allowed input) (?:length|limit) ?\D{{0,10}}{_NUMBER}",
    rf"(?:context (?:length|size)|maximum number of tokens allowed)\D{{0,10}}{_NUMBER}(?=\s*tokens|\))",
    rf"(?:configured limit of|token limit:|while limit is|tokens, limit is|tokens >) {_NUMBER}",
)
"""Finds the token limit in an error about the model's context."""
_NAMED_PARAM = any_of(
    r"(?:(?:unsupported|unknown|unrecognized|missing required) (?:parameter|value|argument):?"
    r"|invalid (?:value|type) for|invalid|does not support parameters: \[) ?'([\w.\[\]-]{1,100})'",
    r"unrecognized request argument supplied: ([\w.\[\]-]{1,100})",
)
_UNKNOWN_PARAM = any_of(r"(?:unknown|unrecognized) (?:parameter|argument|request argument)")
_STALLED = "Timeout on reading data from socket"
"""LiteLLM 1.106's error for an answer that the model does not continue. LiteLLM 1.110 sends the code 408."""
_NO_PREVIOUS = any_of(
    r"previous_response_not_found|previous response with id .{1,500} not found",
    r"response id (?:is not associated with the user|was not issued by this proxy)",
)
"""Errors of a provider, and of LiteLLM, about the previous response."""
_NO_OBJECT = any_of(
    r"\b(?:item|response|file|container|conversation|prompt|vector store)s? (?:with )?(?:id )?[\\'\"`].{1,500}not found"
)
"""Errors of a provider about an object that the request names."""
_BLAMES_THE_REQUEST = frozenset({400, 403, 404, 413, 415, 422})
_STATUS_OF = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "throttling_error", "throttlingexception"), 429),
    **dict.fromkeys(("insufficient_quota", "resource_exhausted"), 429),
    **dict.fromkeys(("invalid_argument", "invalid_request_error", "context_length_exceeded"), 400),
    **dict.fromkeys(("content_filter", "content_policy_violation"), 400),
    **dict.fromkeys(("invalid_api_key", "authentication_error"), 401),
    **dict.fromkeys(("model_not_found", "not_found_error"), 404),
    **dict.fromkeys(("timeout_error", "timeout"), 408),
    "permission_error": 403,
}
"""Maps textual error codes to HTTP statuses."""

_NO_MODEL = "The model does not exist. Choose a model from the list of models."


def wire_error(value: object) -> WireError:
    """Decode an error response from LiteLLM."""
    wire = as_object(value)
    text = value if isinstance(value, str) else as_json(value)
    param = word(wire.get("param"))
    words = [word(wire.get(name)) for name in ("code", "status", "status_code", "statusCode", "type")]
    if not any(words) and isinstance(wire.get("error"), dict | str):
        words = [word(as_object(wire["error"]).get(name)) for name in ("code", "status", "type")]
    return WireError(
        text=text[:SEARCHED_CHARACTERS],
        type=word(wire.get("type")),
        param=param if param not in {None, "None"} and _SHOWN.fullmatch(param or "") else None,
        status=next((status for sent in words if sent and (status := _status(sent))), None),
    )


def _status(sent: str) -> int | None:
    return int(sent) if re.fullmatch(r"[45]\d\d", sent, re.ASCII) else _STATUS_OF.get(sent.lower())


def error_in(body: bytes) -> WireError | None:
    """Return the error in the body of a 2xx response.

    Returns ``None`` if the body has no error. The error can have the form of OpenAI, Anthropic, Google or vLLM.
    """
    wire = _object(body)
    if wire is None or wire.get("choices") or wire.get("data"):
        return None
    sent = wire.get("error")
    if isinstance(sent, str) and sent:
        return wire_error(sent)
    if isinstance(sent, dict) and any(sent.get(name) for name in ("message", "code", "type", "status")):
        return wire_error(sent)
    return wire_error(wire) if wire.get("object") == "error" else None


def _object(body: bytes) -> Object | None:
    """Return the JSON object in a response's body. Google's OpenAI API sends an error in a list of one object."""
    if body.lstrip().startswith(b"["):
        body = body.strip()[1:-1]
    return json_object(body)


def _of_body(body: bytes) -> WireError:
    wire = _object(body)
    return WireError() if wire is None else wire_error(wire.get("error") or wire.get("detail") or wire)


def translate(rejected: UpstreamRejected) -> GatewayError:
    """Return the gateway's error for a call that LiteLLM refused.

    The gateway sent the virtual key, so the status is never 401.
    """
    return _meaning(rejected.status, _of_body(rejected.body), _retry_after(rejected.headers))


class NoResponsesApi(NotFound):
    """The model's provider answered 404, probably because it has no Responses API."""


def translate_response(rejected: UpstreamRejected) -> GatewayError:
    """Return the gateway's error for a refused call of the Responses API. Raises nothing.

    A 404 is NoResponsesApi, unless the provider's error is about an object, such as a stored item.
    """
    error = translate(rejected)
    if rejected.status != 404 or type(error) is not NotFound:
        return error
    if _NO_OBJECT.search(_of_body(rejected.body).text):
        message = "The model's provider does not have an item or file that the request names. Send the content itself."
        return _bad_input(message, None, None)
    return NoResponsesApi(_NO_MODEL, reason=Reason.MODEL_NOT_FOUND, service=Service.LITELLM)


def failure_in_stream(wire: WireError) -> GatewayError:
    """Convert an error in LiteLLM's stream to the gateway's error.

    A refusal with the same status has the same error. An error without a status is identified by its words.
    """
    if wire.status is None and (error := _by_words(400, wire)) is not None:
        return error
    status = wire.status or 500
    return _meaning(408 if status >= 500 and _STALLED in wire.text else status, wire, None)


def _meaning(status: int, wire: WireError, retry_after: float | None) -> GatewayError:
    if (error := _by_words(status, wire)) is not None:
        return error
    service = Service.LITELLM
    match status:
        case 400 | 415 | 422:
            return _bad_request(wire)
        case 404:
            return NotFound(_NO_MODEL, reason=Reason.MODEL_NOT_FOUND, service=service)
        case 413:
            return PayloadTooLarge("The request is too large for the model. Shorten the request.", service=service)
        case 401:
            return bad_key()
        case 403:
            message = "Your LiteLLM key does not permit this model. Choose a model from the list of models."
            return Forbidden(message, reason=Reason.MODEL_NOT_ALLOWED, service=service)
        case 408:
            message = "The model did not answer in time. Retry the request."
            return UpstreamTimeout(
                message, reason=Reason.TOTAL, service=service, retry_after_seconds=retry_after, unconfirmed=False
            )
        case 429:
            message = "The model's rate limit is exceeded. Retry later."
            return RateLimited(message, retry_after_seconds=retry_after, service=service)
        case _ if status >= 500:
            return UpstreamError(
                "The model call failed. Retry the request.",
                reason=Reason.MODEL,
                service=service,
                retry_after_seconds=retry_after,
            )
        case _:
            message = (
                "The model's provider refused the call. Choose another model, or report the error to the operator."
            )
            return UpstreamError(message, reason=Reason.MODEL, can_retry=False, service=service)


def _by_words(status: int, wire: WireError) -> GatewayError | None:
    """Identify an error by LiteLLM's error types and phrases.

    The function is for errors that share an HTTP status.
    """
    text = wire.text
    if wire.type == "no_db_connection":
        return bad_key()
    if wire.type == "budget_exceeded":
        return BudgetExceeded(
            "Your budget for model calls is exhausted. Ask the operator for a larger budget.", service=Service.LITELLM
        )
    if status == 400 and _UNKNOWN_MODEL.search(text):
        return NotFound(_NO_MODEL, reason=Reason.MODEL_NOT_FOUND, service=Service.LITELLM)
    if status not in _BLAMES_THE_REQUEST and (status < 500 or not _CERTAIN.search(text)):
        return None
    if _NO_PREVIOUS.search(text):
        return previous_not_stored()
    if is_too_long(text):
        return _bad_input(_context_words(text), Reason.CONTEXT_LENGTH, wire.param)
    if _CONTENT_FILTER.search(text):
        return _bad_input(
            "A content filter refused the messages. Change the messages.", Reason.CONTENT_FILTER, wire.param
        )
    return None


def _context_words(text: str) -> str:
    """Return a message with the phrases by which SDKs detect a context overflow. SDKs then shorten the conversation.

    litellm 1.110.2 searches for "this model's maximum context length is". langchain-openai 1.7.4 searches for "prompt
    is too long" and, in a stream, for "exceeds the context window".
    """
    found = _LIMIT.search(text)
    limit = None if found is None else next(filter(None, found.groups())).replace(",", "")
    phrase = "exceeded" if limit is None else f"{limit} tokens"
    return (
        f"This model's maximum context length is {phrase}: the prompt is too long and exceeds the context window. "
        "Please reduce the length of the messages."
    )


def _bad_request(wire: WireError) -> BadUserInput:
    named = _NAMED_PARAM.search(wire.text)
    param = wire.param or (named[1] or named[2] if named else None)
    reason = Reason.UNKNOWN_PARAMETER if _UNKNOWN_PARAM.search(wire.text) else None
    message = "LiteLLM refused the request because a parameter is missing or invalid. Check the parameters."
    return _bad_input(message, reason, param)


def _bad_input(message: str, reason: Reason | None, param: str | None) -> BadUserInput:
    details = None if param is None else {"param": param}
    return BadUserInput(message, reason=reason, service=Service.LITELLM, details=details)


def previous_not_stored() -> BadUserInput:
    """Return the error for a request that continues a response that the model's provider has not stored."""
    message = (
        "The model's provider has not stored the previous response. Send the whole conversation in `input`, without "
        "`previous_response_id`."
    )
    return _bad_input(message, Reason.PREVIOUS_RESPONSE_NOT_FOUND, "previous_response_id")


def bad_key() -> UpstreamError:
    """Return the error for a virtual key that LiteLLM refused."""
    return UpstreamError(
        "LiteLLM refused the key that pays for your model calls. Report this error to the operator.",
        reason=Reason.CREDENTIAL,
        can_retry=False,
        service=Service.LITELLM,
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    seconds = retry_after_seconds(headers)
    if seconds is not None:
        return seconds
    prefix = "llm_provider-"
    return retry_after_seconds(
        {name.removeprefix(prefix): headers[name] for name in headers if name.startswith(prefix)}
    )
