"""Reads and deletes the responses that a model's provider has stored."""

from collections.abc import Sequence
from urllib.parse import quote

from msgspec.structs import replace

from clients.calls import AnswerSize, Call, CallScope, UpstreamRejected
from clients.codes import Reason
from clients.errors import GatewayError, NotFound, Service
from clients.litellm.checks import model_failed
from clients.litellm.client import RESPONSES, LiteLLM, bearer
from clients.litellm.redaction import without_key
from clients.litellm.refusals import translate
from clients.litellm.response_objects import ITEMS, STORED, ResponseLabels, relabelled


class StoredResponses:
    """Reads and deletes stored responses of one model with one LiteLLM key.

    ``response_id`` is LiteLLM's id. All methods raise NotFound (``RESPONSE_NOT_FOUND``) if the provider has not stored
    the response.
    """

    def __init__(self, litellm: LiteLLM, scope: CallScope, key: str, model: str) -> None:
        self._upstream = litellm.upstream
        self._scope = scope
        self._key = key
        self._model = model

    async def get(self, response_id: str, labels: ResponseLabels, params: Sequence[tuple[str, str]] = ()) -> bytes:
        """Read a response."""
        call = self._call("response", response_id)
        answer = await self._upstream.request(self._scope, replace(call, params=params, check=STORED))
        return relabelled(answer.body, labels, self._key)

    async def input_items(self, response_id: str, params: Sequence[tuple[str, str]]) -> bytes:
        """Read a page of a response's input items."""
        call = self._call("response.items", response_id, "/input_items")
        answer = await self._upstream.request(self._scope, replace(call, params=params, check=ITEMS))
        return without_key(answer.body, self._key)

    async def delete(self, response_id: str, labels: ResponseLabels) -> bytes:
        """Delete a response."""
        call = self._call("response.delete", response_id)
        call = replace(call, method="DELETE", check=STORED, size=AnswerSize.RECORD)
        return relabelled((await self._upstream.request(self._scope, call)).body, labels, self._key)

    def _call(self, operation: str, response_id: str, rest: str = "") -> Call:
        path = f"{RESPONSES}/{quote(response_id, safe='=')}{rest}"
        return Call(
            operation,
            path,
            headers=bearer(self._key),
            model=self._model,
            refused=_refused,
            is_models_failure=model_failed,
        )


def _refused(rejected: UpstreamRejected) -> GatewayError:
    """LiteLLM answers 403 to an id that another user's key has created, or that LiteLLM has not issued."""
    if rejected.status in {403, 404}:
        return not_stored()
    return translate(rejected)


def not_stored() -> NotFound:
    """Return the error for a response that is unknown, or that the provider has not stored."""
    message = "The response does not exist, or the model's provider has not stored the response. Check the id."
    return NotFound(message, reason=Reason.RESPONSE_NOT_FOUND, service=Service.LITELLM)
