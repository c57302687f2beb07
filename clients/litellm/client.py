"""Calls to LiteLLM: records out, refusals translated."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from types import TracebackType
from typing import Self

from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamRejected
from clients.codes import Reason
from clients.decode import decode
from clients.errors import BadUserInput, Service
from clients.litellm.checks import MODELS, NO_STREAM, VECTORS, WHOLE, model_failed, model_of, models_of
from clients.litellm.errors import bad_key, translated
from clients.litellm.keys import KEY, KeyInfo
from clients.litellm.models import ModelDetails, ModelRecord, decode_details, decode_models
from clients.litellm.usage import ACTIVITY, UsageLine, hashed, lines
from clients.sse import SseEvent, sse_events
from clients.upstream import StreamedCall, Upstream

PASSED_HEADERS = re.compile(
    r"x-litellm-(call-id|model-id|model-group|response-cost|key-spend)\Z|llm_provider-|retry-after\Z"
)
"""Response headers that are worth passing on to an OpenAI SDK (LiteLLM contract)."""


MAX_ACTIVITY_PAGES, _ACTIVITY_PAGE = 20, 1000
"""How much of a key's activity is read at most. A page has so many records: one per day, key, model and endpoint."""


class CompletionStream:
    """A streamed completion, as a context that opens and closes it.

    Attributes:
        headers: the response headers to pass on.
        events: the events as they come.
    """

    __slots__ = ("_call", "events", "headers")

    headers: dict[str, str]
    events: AsyncIterator[SseEvent]

    def __init__(self, call: StreamedCall) -> None:
        self._call = call

    async def __aenter__(self) -> Self:
        try:
            answer = await self._call.__aenter__()
        except UpstreamRejected as rejected:
            raise translated(rejected) from rejected
        self.headers = passed_headers(answer.headers)
        self.events = sse_events(answer.chunks, Service.LITELLM)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call.__aexit__(kind, error, traceback)


class LiteLLM:
    """Calls to LiteLLM. ``key`` is the virtual key that pays for a call."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def ping(self, scope: CallScope) -> None:
        """Ask whether LiteLLM is there. Raises GatewayError where it is not."""
        await self.upstream.ping(scope, "/health/liveliness")

    def note(self) -> None:
        """It can do all that is asked of it, or is not there."""

    async def models(self, scope: CallScope, key: str) -> list[ModelRecord]:
        """The models that ``key`` may call."""
        answer = await self._ask(scope, Call(operation="models", path="/model_group/info", headers=_bearer(key)))
        return decode_models(answer.body)

    async def model_details(self, scope: CallScope, key: str) -> dict[str, ModelDetails]:
        """What LiteLLM knows of those models beyond their groups, by name. A long answer: ask where it is needed."""
        answer = await self._ask(scope, Call(operation="model.details", path="/model/info", headers=_bearer(key)))
        return decode_details(answer.body)

    async def key_info(self, scope: CallScope, key: str) -> KeyInfo:
        """What ``key`` has spent and may spend."""
        call = Call(operation="key", path="/key/info", headers=_bearer(key), size=AnswerSize.RECORD)
        answer = await self._ask(scope, call)
        return decode(Service.LITELLM, KEY, answer.body).info

    async def usage(self, scope: CallScope, key: str, first: date, last: date) -> list[UsageLine]:
        """What ``key`` was used for from day to day, both included, by UTC's days.

        LiteLLM answers for all keys of the key's user, and for everybody where that user is its admin: it is asked for
        this key alone, and what is of any other is dropped.

        Raises:
            UpstreamError: reason ``CREDENTIAL``, where the key is of no user and LiteLLM tells it nothing.
            BadUserInput: reason ``RANGE``, where there is more than the gateway reads.
        """
        mine = hashed(key)
        found: list[UsageLine] = []
        for page in range(1, MAX_ACTIVITY_PAGES + 1):
            answer = await self._activity(scope, key, mine, first, last, page)
            activity = decode(Service.LITELLM, ACTIVITY, answer.body)
            found += lines(activity, mine)
            if not activity.metadata.has_more:
                return found
        raise BadUserInput("There is too much usage in this period. Request fewer days.", reason=Reason.RANGE)

    async def _activity(self, scope: CallScope, key: str, key_hash: str, first: date, last: date, page: int) -> Answer:
        days = [("start_date", first.isoformat()), ("end_date", last.isoformat())]
        params = [*days, ("api_key", key_hash), ("page", str(page)), ("page_size", str(_ACTIVITY_PAGE))]
        call = Call(operation="usage", path="/user/daily/activity", params=params, headers=_bearer(key))
        try:
            return await self.upstream.request(scope, call)
        except UpstreamRejected as rejected:
            raise (bad_key() if rejected.status == 403 else translated(rejected)) from rejected

    async def openai_models(self, scope: CallScope, key: str) -> Answer:
        """``GET /v1/models`` as LiteLLM answers it: an object whose ``data`` are models with ids."""
        call = Call(operation="v1.models", path="/v1/models", headers=_bearer(key), check=MODELS)
        return await self._ask(scope, call)

    async def openai_model(self, scope: CallScope, key: str, name: str) -> bytes | None:
        """One model of that list, as LiteLLM writes it; ``None`` where it is not in it."""
        listed = models_of((await self.openai_models(scope, key)).body)
        return next((raw for model_id, raw in listed if model_id == name), None)

    async def complete(self, scope: CallScope, key: str, body: bytes) -> Answer:
        """A whole chat completion: OpenAI's request body in, the answer's bytes out."""
        return await self._ask(scope, _model_work("chat.completions", "/v1/chat/completions", key, body, WHOLE))

    async def embeddings(self, scope: CallScope, key: str, body: bytes) -> Answer:
        """Embeddings: OpenAI's request body in, the whole answer's bytes out."""
        call = _model_work("embeddings", "/v1/embeddings", key, body, VECTORS)
        return await self._ask(scope, replace(call, size=AnswerSize.VECTORS))

    def stream(self, scope: CallScope, key: str, body: bytes, *, opens_within: float) -> CompletionStream:
        """A streamed chat completion. Leaving the context closes LiteLLM's side at once."""
        call = _model_work("chat.completions.stream", "/v1/chat/completions", key, body, NO_STREAM)
        return CompletionStream(self.upstream.stream(scope, call, opens_within=opens_within))

    async def _ask(self, scope: CallScope, call: Call) -> Answer:
        try:
            return await self.upstream.request(scope, call)
        except UpstreamRejected as rejected:
            raise translated(rejected) from rejected


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


def passed_headers(headers: dict[str, str]) -> dict[str, str]:
    """The part of LiteLLM's response headers that goes to the caller."""
    return {name: value for name, value in headers.items() if PASSED_HEADERS.match(name)}
