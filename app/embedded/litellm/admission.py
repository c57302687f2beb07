"""What all routes that call a model share: admission, failures, and the headers of answers."""

from __future__ import annotations

from app.embedded.litellm.answers import Refused, invalid
from app.embedded.litellm.checks import check_safe
from app.embedded.litellm.keys import Keys
from app.embedded.litellm.spend import Call, Ledger
from app.embedded.model import ModelFailure
from app.embedded.state import Json, State

_FAILURES = {
    "400": (400, "invalid_request_error"),
    "401": (401, "authentication_error"),
    "404": (404, "invalid_request_error"),
    "ctx": (400, "invalid_request_error"),
    "429": (429, "throttling_error"),
    "500": (500, "internal_server_error"),
    "503": (503, "internal_server_error"),
}
_MODEL_FAILED = (
    "litellm.InternalServerError: InternalServerError: OpenAIException - The server had an error\n\n"
    "LiteLLM: model group failed with the error above. No fallback was attempted."
)
_CONTEXT = (
    "litellm.ContextWindowExceededError: This model's maximum context length is 8192 tokens.\n\n"
    "LiteLLM: model group failed with the error above. No fallback was attempted."
)


class Admission:
    """Admits model calls, and records their failures."""

    def __init__(self, state: State, keys: Keys, ledger: Ledger) -> None:
        self._state = state
        self._keys = keys
        self._ledger = ledger

    def admit(self, record: Json, body: Json, path: str, kind: str) -> Call:
        """Return the call of a request, if the key permits the model and the call. Raises Refused.

        ``path`` is the route in LiteLLM's texts, and ``kind`` is LiteLLM's call type.
        """
        check_safe(body)
        model = body.get("model")
        named = record["info"]["models"]
        if isinstance(model, str) and named and model not in named:
            text = (
                f"The requested model '{model}' is not available for this API key, or the model name is invalid. "
                "Check the models available to you and try again."
            )
            raise Refused(403, "key_model_access_denied", text, param="model")
        if not isinstance(model, str) or model not in self._state.models:
            raise invalid(
                f"{path}: Invalid model name passed in model={model}. "
                "Call `/v1/models` to view available models for your key."
            )
        self._keys.admit(record)
        return Call(record, model, kind, str(body.get("user") or ""))

    def failed(self, call: Call, failure: ModelFailure) -> Refused:
        """Record a failed call, and return its refusal."""
        self._ledger.settle(call, 0, 0, failed=True)
        status, kind = _FAILURES.get(failure.kind, (500, "internal_server_error"))
        text = _CONTEXT if failure.kind == "ctx" else _MODEL_FAILED
        return Refused(status, kind, text, headers={"llm_provider-retry-after": "2"} if status == 429 else {})

    def headers(self, call: Call, cost: float) -> dict[str, str]:
        """Return the headers of a successful answer."""
        return {
            "x-litellm-call-id": call.id,
            "x-litellm-model-id": f"{call.model}-id",
            "x-litellm-model-name": f"openai/{call.model}",
            "x-litellm-version": "1.106.2",
            "x-litellm-model-group": call.model,
            "x-litellm-response-cost": str(cost),
            **self._keys.headers(call.record),
        }
