"""Creates responses, and finds out which models' providers have no Responses API."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.litellm import ModelAnswer, ResponseLabels, ResponseStream, StoredResponses, previous_not_stored
from resolvers.context import RequestContext
from resolvers.responses.ids import OwnedResponse, ResponseIds
from resolvers.vetting import Vetted

T = TypeVar("T")

_BRIDGE = "use_chat_completions_api"
"""LiteLLM's parameter that sends a request to the provider's chat completions API (LiteLLM contract)."""


class ResponseCall:
    """A call that creates a response. ``key`` is the LiteLLM key that pays.

    If the model's provider has no Responses API, LiteLLM translates the request to a chat completion. Only the
    provider's answer shows whether it has this API (decision 0088).
    """

    __slots__ = ("_context", "_continues", "_key", "_labels", "_model")

    def __init__(self, context: RequestContext, key: str, model: str, previous: str | None) -> None:
        ids = ResponseIds(context.principal.user_id, key)
        self._context = context
        self._key = key
        self._model = model
        self._continues = previous is not None
        self._labels = ResponseLabels(lambda response_id: ids.sealed(response_id, model), previous)

    async def whole(self, body: bytes) -> ModelAnswer:
        """Create a response. Raises GatewayError."""
        scope, litellm = self._context.model_scope(), self._context.resources.litellm
        return await self._bridged(
            body, lambda sent: litellm.respond(scope, self._key, sent, self._model, self._labels)
        )

    def stream(self, body: bytes, *, opens_within: float, joins: bool) -> "ResponseOpening":
        """Return a context manager that creates a streamed response."""

        async def opened(sent: bytes) -> ResponseStream:
            scope, litellm = self._context.model_scope(), self._context.resources.litellm
            stream = litellm.respond_stream(
                scope, self._key, sent, self._labels, opens_within=opens_within, joins=joins
            )
            return await stream.__aenter__()

        return ResponseOpening(lambda: self._bridged(body, opened))

    async def _bridged(self, body: bytes, create: Callable[[bytes], Awaitable[T]]) -> T:
        known = self._context.resources.responses.bridged
        if self._model in known:
            try:
                return await create(_with_bridge(body))
            except NotFound:
                known.discard(self._model)
                raise
        try:
            return await create(body)
        except NotFound as error:
            if self._continues:
                raise previous_not_stored() from error
            refusal = error
        try:
            answer = await create(_with_bridge(body))
        except NotFound:
            raise refusal from None
        known.add(self._model)
        return answer


class ResponseOpening:
    """A context manager that opens a streamed response, and closes the connection."""

    __slots__ = ("_open", "_stream")

    _stream: ResponseStream

    def __init__(self, open_stream: Callable[[], Awaitable[ResponseStream]]) -> None:
        self._open = open_stream

    async def __aenter__(self) -> ResponseStream:
        open_stream = self._open
        del self._open  # frees the request's body, because the answer may take minutes
        self._stream = await open_stream()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stream.__aexit__(kind, error, traceback)


async def prepared(context: RequestContext, key: str, body: Vetted) -> tuple[Vetted, ResponseCall]:
    """Check the previous response of a request to create a response.

    Returns:
        The request with LiteLLM's id of the previous response, and the call.

    Raises:
        BadUserInput: reason ``PREVIOUS_RESPONSE_NOT_FOUND``. The previous response is not the user's response to the
            same model, or the model's provider has not stored it, so that the history would be lost.
    """
    sent, model = body.get("previous_response_id"), body["model"]
    call = ResponseCall(context, key, model, sent)
    if sent is None:
        return body, call
    try:
        previous = ResponseIds(context.principal.user_id, key).opened(sent)
    except NotFound as error:
        message = "`previous_response_id` is not the id of one of your responses. Check the id."
        raise _unknown(message) from error
    if previous.model != model:
        message = (
            f"The previous response is from the model {previous.model!r}. Use this model, or send the whole input."
        )
        raise _unknown(message)
    await _check_stored(context, key, previous)
    return Vetted({**body, "previous_response_id": previous.id}), call


async def _check_stored(context: RequestContext, key: str, previous: OwnedResponse) -> None:
    """Read the previous response, unless the model's provider is known to store responses.

    LiteLLM omits the history if the provider has not stored it (LiteLLM contract).
    """
    support, model = context.resources.responses, previous.model
    if model in support.storing:
        return
    if model in support.bridged:
        raise previous_not_stored()
    stored = StoredResponses(context.resources.litellm, context.scope, key)
    try:
        await stored.get(previous.id, ResponseLabels(str))
    except NotFound as error:
        raise previous_not_stored() from error
    support.storing.add(model)


def _unknown(message: str) -> BadUserInput:
    return BadUserInput(message, reason=Reason.PREVIOUS_RESPONSE_NOT_FOUND, details={"param": "previous_response_id"})


def _with_bridge(body: bytes) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(body, type=dict[str, msgspec.Raw]), _BRIDGE: True})
