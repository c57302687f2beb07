"""Creates responses, and finds out which models' providers have no Responses API."""

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.litellm import (
    ModelAnswer,
    NoResponsesApi,
    ResponseLabels,
    ResponseStream,
    StoredResponses,
    previous_not_stored,
)
from clients.origin import Origin
from resolvers.context import RequestContext
from resolvers.responses.ids import OwnedId, ResponseIds

T = TypeVar("T")

_BRIDGE = "use_chat_completions_api"
"""LiteLLM's parameter that sends a request to the provider's chat completions API (LiteLLM contract)."""


class ResponseCall:
    """A call that creates a response. ``key`` is the LiteLLM key that pays.

    ``previous`` is the client's id of the response that the request continues. All methods raise BadUserInput
    (``PREVIOUS_RESPONSE_NOT_FOUND``) if this is not a response of the user and of the model, or if the model's provider
    has not stored the response, so that the history would be lost.

    If the model's provider has no Responses API, LiteLLM translates the request to a chat completion. Only the
    provider's answer shows whether it has this API (decision 0088).
    """

    __slots__ = ("_context", "_ids", "_key", "_labels", "_model")

    def __init__(self, context: RequestContext, key: str, model: str, previous: str | None) -> None:
        self._context = context
        self._ids = ids = ResponseIds(context.principal.user_id, key)
        self._key = key
        self._model = model
        by_letta = context.origin is Origin.LETTA
        self._labels = ResponseLabels(lambda sent: ids.sealed(sent, model), previous, encrypted=by_letta)

    async def whole(self, body: bytes) -> ModelAnswer:
        """Create a response. Raises GatewayError."""
        scope, litellm = self._context.model_scope(), self._context.resources.litellm

        async def create(sent: bytes) -> ModelAnswer:
            return await litellm.respond(scope, self._key, sent, self._model, self._labels)

        return await self._created(body, create)

    def stream(self, body: bytes, *, opens_within: float, joins: bool) -> "ResponseOpening":
        """Return a context manager that creates a streamed response."""

        async def begin() -> ResponseStream:
            scope, litellm = self._context.model_scope(), self._context.resources.litellm
            deadline = time.monotonic() + opens_within

            async def create(sent: bytes) -> ResponseStream:
                left = max(0.0, deadline - time.monotonic())
                stream = litellm.respond_stream(scope, self._key, sent, self._labels, opens_within=left, joins=joins)
                return await stream.__aenter__()

            return await self._created(body, create)

        return ResponseOpening(begin)

    async def _created(self, body: bytes, create: Callable[[bytes], Awaitable[T]]) -> T:
        if self._labels.previous is None:
            return await self._bridged(body, create)
        previous = await self._stored(self._labels.previous)
        try:
            return await create(_changed(body, "previous_response_id", previous))
        except NoResponsesApi as error:
            raise previous_not_stored() from error

    async def _bridged(self, body: bytes, create: Callable[[bytes], Awaitable[T]]) -> T:
        known = self._context.resources.bridged_models
        refusal: NoResponsesApi | None = None
        if self._model not in known:
            try:
                return await create(body)
            except NoResponsesApi as error:
                refusal = error
        try:
            answer = await create(_changed(body, _BRIDGE, True))
        except NotFound as error:
            known.discard(self._model)
            raise refusal or error from None
        known.add(self._model)
        return answer

    async def _stored(self, sent: str) -> OwnedId:
        """Check the previous response, and return LiteLLM's id.

        LiteLLM omits the history if the provider has not stored it (LiteLLM contract). One name can belong to several
        deployments, so that each response must be read.
        """
        try:
            previous = self._ids.opened(sent)
        except NotFound as error:
            message = "`previous_response_id` is not the id of one of your responses. Check the id."
            raise _unknown(message) from error
        if previous.model != self._model:
            message = f"The previous response is from the model {previous.model!r}. Use this model, or send all input."
            raise _unknown(message)
        stored = StoredResponses(self._context.resources.litellm, self._context.scope, self._key, self._model)
        try:
            await stored.get(previous.id, ResponseLabels(str))
        except NotFound as error:
            raise previous_not_stored() from error
        return previous.id


class ResponseOpening:
    """A context manager that opens a streamed response, and closes the connection."""

    __slots__ = ("_begin", "_stream")

    _stream: ResponseStream

    def __init__(self, begin: Callable[[], Awaitable[ResponseStream]]) -> None:
        self._begin = begin

    async def __aenter__(self) -> ResponseStream:
        begin = self._begin
        del self._begin  # frees the request's body, because the answer may take minutes
        self._stream = await begin()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stream.__aexit__(kind, error, traceback)


def _unknown(message: str) -> BadUserInput:
    return BadUserInput(message, reason=Reason.PREVIOUS_RESPONSE_NOT_FOUND, details={"param": "previous_response_id"})


def _changed(body: bytes, name: str, value: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(body, type=dict[str, msgspec.Raw]), name: value})
