"""The source of a streamed response of OpenAI's Responses API."""

from typing import Any

from resolvers.context import RequestContext
from resolvers.responding import ResponseCall, ResponseOpening
from resolvers.responses.requests import messages_of
from resolvers.sources.completions import CompletionSource
from resolvers.tokens import Need


class ResponseSource(CompletionSource):
    """The source of one streamed response. ``call`` creates the response with the request ``body``."""

    __slots__ = ("_response_call",)

    def __init__(
        self, context: RequestContext, key: str, body: bytes, need: Need, call: ResponseCall, *, joins: bool
    ) -> None:
        super().__init__(context, key, body, need, wants_usage=True, joins=joins)
        self._response_call = call

    def _opening(self, within: float) -> ResponseOpening:
        return self._response_call.stream(self._body, opens_within=within, joins=self._joins)

    def _messages(self, request: dict[str, Any]) -> list[Any]:
        return messages_of(request)
