"""The client of LiteLLM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamRejected
from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, Service
from clients.litellm.activity import ACTIVITY, Activity, UsageLine, hashed, lines
from clients.litellm.answers import ModelAnswer, model_answer
from clients.litellm.checks import MODELS, NO_STREAM, VECTORS, WHOLE, model_failed, model_of, models_of
from clients.litellm.completions import CompletionStream
from clients.litellm.keys import KEY, KeyInfo
from clients.litellm.models import ModelDetails, ModelRecord, decode_details, decode_models
from clients.litellm.refusals import bad_key, translate
from clients.service import ServiceClient

MAX_ACTIVITY_PAGES, _ACTIVITY_PAGE = 20, 1000
"""The most pages of a key's activity, and the records of a page: one for each day, key, model and endpoint."""


class LiteLLM(ServiceClient):
    """A client of LiteLLM. ``key`` is the virtual key that pays for a call."""

    service = Service.LITELLM
    translate = staticmethod(translate)

    async def ping(self, scope: CallScope) -> None:
        """Check that LiteLLM is available. Raises GatewayError if it is not."""
        await self.upstream.ping(scope, "/health/liveliness")

    async def models(self, scope: CallScope, key: str) -> list[ModelRecord]:
        """Read the models that the key may call."""
        answer = await self.upstream.request(scope, Call("models", "/model_group/info", headers=_bearer(key)))
        return decode_models(answer.body)

    async def model_details(self, scope: CallScope, key: str) -> dict[str, ModelDetails]:
        """Read the details of those models, by name. The answer is long: call it only if they are needed."""
        answer = await self.upstream.request(scope, Call("model.details", "/model/info", headers=_bearer(key)))
        return decode_details(answer.body)

    async def key_info(self, scope: CallScope, key: str) -> KeyInfo:
        """Read the spend and the limits of the key."""
        call = Call("key", "/key/info", headers=_bearer(key), size=AnswerSize.RECORD)
        return (await self.read(scope, KEY, call)).info

    async def usage(self, scope: CallScope, key: str, first: date, last: date) -> list[UsageLine]:
        """Read the daily usage of the key, from the first to the last day (UTC).

        LiteLLM can return the usage of other keys too, which is dropped. Raises UpstreamError (``CREDENTIAL``) for a
        key without a user, and BadUserInput (``RANGE``) for more usage than the gateway reads.
        """
        key_hash = hashed(key)
        found: list[UsageLine] = []
        for page in range(1, MAX_ACTIVITY_PAGES + 1):
            activity = await self._activity(scope, key, key_hash, first, last, page)
            found += lines(activity, key_hash)
            if not activity.metadata.has_more:
                return found
        raise BadUserInput("There is too much usage in this period. Request fewer days.", reason=Reason.RANGE)

    async def _activity(
        self, scope: CallScope, key: str, key_hash: str, first: date, last: date, page: int
    ) -> Activity:
        days = [("start_date", first.isoformat()), ("end_date", last.isoformat())]
        params = [*days, ("api_key", key_hash), ("page", str(page)), ("page_size", str(_ACTIVITY_PAGE))]
        call = Call("usage", "/user/daily/activity", params=params, headers=_bearer(key), refused=_refused_activity)
        return await self.read(scope, ACTIVITY, call)

    async def openai_models(self, scope: CallScope, key: str) -> bytes:
        """Read the body of ``GET /v1/models``: an object whose ``data`` are models with ids."""
        call = Call("v1.models", "/v1/models", headers=_bearer(key), check=MODELS)
        return (await self.upstream.request(scope, call)).body

    async def openai_model(self, scope: CallScope, key: str, name: str) -> bytes | None:
        """Read one model of that list; ``None`` if it is not in it."""
        listed = models_of(await self.openai_models(scope, key))
        return next((raw for model_id, raw in listed if model_id == name), None)

    async def complete(self, scope: CallScope, key: str, body: bytes) -> ModelAnswer:
        """Complete a chat. ``body`` is OpenAI's request."""
        call = _model_work("chat.completions", "/v1/chat/completions", key, body, WHOLE)
        return model_answer(await self.upstream.request(scope, call))

    async def embeddings(self, scope: CallScope, key: str, body: bytes) -> ModelAnswer:
        """Make embeddings. ``body`` is OpenAI's request."""
        call = _model_work("embeddings", "/v1/embeddings", key, body, VECTORS)
        return model_answer(await self.upstream.request(scope, replace(call, size=AnswerSize.VECTORS)))

    def stream(
        self, scope: CallScope, key: str, body: bytes, *, opens_within: float, wants_usage: bool
    ) -> CompletionStream:
        """Stream a chat completion. Leaving the context closes the connection to LiteLLM.

        ``body`` is OpenAI's request and requests usage. If the client did not (``wants_usage``), a chunk with nothing
        else is not passed on.
        """
        call = _model_work("chat.completions.stream", "/v1/chat/completions", key, body, NO_STREAM)
        return CompletionStream(self.upstream.stream(scope, call, opens_within=opens_within), wants_usage=wants_usage)


def _refused_activity(rejected: UpstreamRejected) -> GatewayError:
    return bad_key() if rejected.status == 403 else translate(rejected)


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _model_work(operation: str, path: str, key: str, body: bytes, check: Callable[[Answer], Answer]) -> Call:
    return Call(
        operation=operation,
        method="POST",
        path=path,
        content=body,
        headers={**_bearer(key), "content-type": "application/json"},
        model=model_of(body),
        model_work=True,
        is_models_failure=model_failed,
        check=check,
    )
