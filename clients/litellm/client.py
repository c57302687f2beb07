"""The client of LiteLLM, the service that calls models."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamRejected
from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, Service
from clients.litellm.answers import ModelAnswer, model_answer
from clients.litellm.checks import MODELS, NO_STREAM, VECTORS, WHOLE, model_failed, model_of, models_of, with_models
from clients.litellm.completions import CompletionStream
from clients.litellm.fields import MAX_COUNT
from clients.litellm.keys import ACTIVITY, KEY, Activity, KeyInfo, UsageLine, hashed, lines
from clients.litellm.models import ModelDetails, ModelRecord, decode_details, decode_models
from clients.litellm.redaction import without_key
from clients.litellm.refusals import bad_key, translate, translate_response
from clients.litellm.response_objects import RESPONSE, ResponseLabels, response_answer
from clients.litellm.responses import ResponseStream
from clients.service import ServiceClient

MAX_ACTIVITY_PAGES, _ACTIVITY_PAGE = 20, 1000
"""The maximum number of usage pages per call, and the number of records per page.

A record is for one day, key, model and endpoint.
"""

RESPONSES = "/v1/responses"
"""The path of OpenAI's Responses API."""


class _Counted(msgspec.Struct):
    total_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


_COUNTED = msgspec.json.Decoder(_Counted)


class LiteLLM(ServiceClient):
    """A client of LiteLLM, the service that calls models. ``key`` is the virtual key that pays for the call."""

    service = Service.LITELLM
    translate = staticmethod(translate)

    async def ping(self, scope: CallScope) -> None:
        """Raise GatewayError if LiteLLM is unavailable."""
        await self.upstream.ping(scope, "/health/liveliness")

    async def models(self, scope: CallScope, key: str) -> list[ModelRecord]:
        """Read the models that the virtual key may call."""
        return await self.parsed(scope, Call("models", "/model_group/info", headers=bearer(key)), decode_models)

    async def model_details(self, scope: CallScope, key: str) -> dict[str, ModelDetails]:
        """Read the details of the models that the virtual key may call. The call is slow, since the answer is long."""
        return await self.parsed(scope, Call("model.details", "/model/info", headers=bearer(key)), decode_details)

    async def key_info(self, scope: CallScope, key: str) -> KeyInfo:
        """Read the virtual key's spend and limits."""
        call = Call("key", "/key/info", headers=bearer(key), size=AnswerSize.RECORD)
        return (await self.read(scope, KEY, call)).info

    async def usage(self, scope: CallScope, key: str, first: date, last: date) -> list[UsageLine]:
        """Read the virtual key's daily usage between two dates.

        ``first`` and ``last`` are days in UTC, and the usage includes both days. Raises UpstreamError (``CREDENTIAL``)
        for a key without a user, and BadUserInput (``RANGE``) if the usage has more than ``MAX_ACTIVITY_PAGES`` pages.
        """
        key_hash = hashed(key)
        found: list[UsageLine] = []
        for page in range(1, MAX_ACTIVITY_PAGES + 1):
            activity = await self._activity(scope, key, key_hash, first, last, page)
            found += lines(activity, key_hash)
            if not activity.metadata.has_more:
                return found
        raise BadUserInput("The usage report for this period is too large. Request fewer days.", reason=Reason.RANGE)

    async def _activity(
        self, scope: CallScope, key: str, key_hash: str, first: date, last: date, page: int
    ) -> Activity:
        days = [("start_date", first.isoformat()), ("end_date", last.isoformat())]
        params = [*days, ("api_key", key_hash), ("page", str(page)), ("page_size", str(_ACTIVITY_PAGE))]
        call = Call("usage", "/user/daily/activity", params=params, headers=bearer(key), refused=_refused_activity)
        return await self.read(scope, ACTIVITY, call)

    async def openai_models(self, scope: CallScope, key: str, *, more: bytes = b"") -> bytes:
        """Read the list of models from LiteLLM's ``GET /v1/models``. The answer's ``data`` lists the models.

        ``more`` are further models for the end of the list: JSON objects that commas separate.
        """
        call = Call("v1.models", "/v1/models", headers=bearer(key), check=MODELS)
        listed = without_key((await self.upstream.request(scope, call)).body, key)
        return with_models(listed, more) if more else listed

    async def openai_model(self, scope: CallScope, key: str, name: str) -> bytes | None:
        """Read one model from LiteLLM's ``GET /v1/models``. Returns ``None`` if LiteLLM does not list the model."""
        listed = models_of(await self.openai_models(scope, key))
        return next((raw for model_id, raw in listed if model_id == name), None)

    async def complete(self, scope: CallScope, key: str, body: bytes, model: str) -> ModelAnswer:
        """Create a chat completion. ``body`` is the body of an OpenAI request to the model."""
        call = _model_work("chat.completions", "/v1/chat/completions", key, body, WHOLE, model)
        return model_answer(await self.upstream.request(scope, call), key)

    async def embeddings(self, scope: CallScope, key: str, body: bytes, model: str) -> ModelAnswer:
        """Create embeddings. ``body`` is the body of an OpenAI request to the model."""
        call = _model_work("embeddings", "/v1/embeddings", key, body, VECTORS, model)
        return model_answer(await self.upstream.request(scope, replace(call, size=AnswerSize.VECTORS)), key)

    async def count_tokens(
        self,
        scope: CallScope,
        key: str,
        model: str,
        *,
        messages: list[Any] | None = None,
        tools: list[Any] | None = None,
        text: str | None = None,
    ) -> int:
        """Count the tokens of messages or of a text with the tokenizer by which LiteLLM charges cut-off answers."""
        wire = {"model": model, "messages": messages, "tools": tools, "prompt": text}
        body = {name: value for name, value in wire.items() if value is not None}
        call = Call(
            "tokens",
            "/utils/token_counter",
            method="POST",
            json=body,
            headers=bearer(key),
            size=AnswerSize.RECORD,
            model_work=True,  # a slow tokenizer is no failure of LiteLLM
            is_models_failure=model_failed,
        )
        counted = await self.read(scope, _COUNTED, call)
        return counted.total_tokens

    def stream(
        self, scope: CallScope, key: str, body: bytes, *, opens_within: float, wants_usage: bool, joins: bool = False
    ) -> CompletionStream:
        """Open a stream of a chat completion.

        Exiting the context manager closes the connection. ``body`` is a request in OpenAI's form that requests usage.
        Chunks that have only usage are passed on if ``wants_usage`` is set. ``CompletionStream`` describes ``joins``.
        """
        call = _model_work("chat.completions.stream", "/v1/chat/completions", key, body, NO_STREAM, model_of(body))
        answer = self.upstream.stream(scope, call, opens_within=opens_within)
        return CompletionStream(answer, key, wants_usage=wants_usage, joins=joins)

    async def respond(self, scope: CallScope, key: str, body: bytes, model: str, labels: ResponseLabels) -> ModelAnswer:
        """Create a response. ``body`` is the body of a request to OpenAI's Responses API."""
        call = replace(_model_work("responses", RESPONSES, key, body, RESPONSE, model), refused=translate_response)
        return response_answer(await self.upstream.request(scope, call), key, labels)

    def respond_stream(
        self,
        scope: CallScope,
        key: str,
        body: bytes,
        labels: ResponseLabels,
        *,
        opens_within: float,
        joins: bool = False,
    ) -> ResponseStream:
        """Open a stream of a response. Exiting the context manager closes the connection."""
        call = _model_work("responses.stream", RESPONSES, key, body, NO_STREAM, model_of(body))
        call = replace(call, refused=translate_response)
        answer = self.upstream.stream(scope, call, opens_within=opens_within)
        return ResponseStream(answer, key, labels, joins=joins)


def _refused_activity(rejected: UpstreamRejected) -> GatewayError:
    return bad_key() if rejected.status == 403 else translate(rejected)


def bearer(key: str) -> dict[str, str]:
    """Return the header that authenticates a call with a LiteLLM key."""
    return {"authorization": f"Bearer {key}"}


def _model_work(
    operation: str, path: str, key: str, body: bytes, check: Callable[[Answer], Answer], model: str
) -> Call:
    return Call(
        operation=operation,
        method="POST",
        path=path,
        content=body,
        headers={**bearer(key), "content-type": "application/json"},
        model=model,
        model_work=True,
        is_models_failure=model_failed,
        check=check,
    )
