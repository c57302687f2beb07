"""The exchanges with LiteLLM that answer REST requests: chat completions, embeddings and responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import msgspec

from app.rest.ends import ChatEnd, ResponseEnd, StreamEnd
from clients.litellm import ModelAnswer
from resolvers.completing import naming, payable
from resolvers.context import RequestContext
from resolvers.responding import ResponseCall
from resolvers.responses.requests import response_need
from resolvers.sources.completions import CompletionSource
from resolvers.sources.responses import ResponseSource
from resolvers.tokens import Need, embedding_need, need_of
from resolvers.vetting import Vetted


class Exchange(ABC):
    """One call to a model. ``key`` is the LiteLLM key that pays.

    Attributes:
        kind: the name of the call in metrics.
        is_charged: whether LiteLLM may charge for an answer that is lost.
    """

    kind: ClassVar[str] = "completion"
    is_charged: ClassVar[bool] = True

    def __init__(self, context: RequestContext, key: str, model: str) -> None:
        self.context = context
        self.key = key
        self.model = model

    @staticmethod
    @abstractmethod
    def estimate(body: dict[str, Any]) -> Need:
        """Estimate the tokens that a request needs."""

    @abstractmethod
    async def create(self, request: bytes) -> ModelAnswer:
        """Request an answer that is not streamed. Raises GatewayError."""


class StreamedExchange(Exchange):
    """A call to a model whose answer can be streamed."""

    @abstractmethod
    def source(self, body: Vetted, need: Need) -> tuple[CompletionSource, int]:
        """Return the source of a streamed answer, and the size of the encoded request in bytes."""

    @abstractmethod
    def end(self) -> StreamEnd:
        """Return the writer of the last event of a stream that failed."""

    @property
    def joins(self) -> bool:
        """Whether text that arrives together becomes one event."""
        return self.context.resources.streams.limits.coalesce > 0


class ChatExchange(StreamedExchange):
    """A chat completion."""

    @staticmethod
    def estimate(body: dict[str, Any]) -> Need:
        """Estimate the tokens of a completion."""
        return need_of(body)

    async def create(self, request: bytes) -> ModelAnswer:
        """Request a completion that is not streamed."""
        scope = self.context.model_scope()
        return await self.context.resources.litellm.complete(scope, self.key, request, self.model)

    def source(self, body: Vetted, need: Need) -> tuple[CompletionSource, int]:
        """Return the source of a streamed completion."""
        wants_usage = (body.get("stream_options") or {}).get("include_usage") is True
        request = msgspec.json.encode(payable(self.context, body, self.key))
        source = CompletionSource(self.context, self.key, request, need, wants_usage=wants_usage, joins=self.joins)
        return source, len(request)

    def end(self) -> ChatEnd:
        """Return the writer of an error event."""
        return ChatEnd()


class EmbeddingsExchange(Exchange):
    """Embeddings. A repeated call costs little, so a lost answer is requested again."""

    kind = "embedding"
    is_charged = False

    @staticmethod
    def estimate(body: dict[str, Any]) -> Need:
        """Estimate the tokens of embeddings."""
        return embedding_need(body)

    async def create(self, request: bytes) -> ModelAnswer:
        """Request embeddings."""
        scope = self.context.model_scope()
        return await self.context.resources.litellm.embeddings(scope, self.key, request, self.model)


class ResponseExchange(StreamedExchange):
    """A response of the Responses API."""

    def __init__(self, context: RequestContext, key: str, model: str, call: ResponseCall) -> None:
        super().__init__(context, key, model)
        self._call = call

    @staticmethod
    def estimate(body: dict[str, Any]) -> Need:
        """Estimate the tokens of a response."""
        return response_need(body)

    async def create(self, request: bytes) -> ModelAnswer:
        """Request a response that is not streamed."""
        return await self._call.whole(request)

    def source(self, body: Vetted, need: Need) -> tuple[CompletionSource, int]:
        """Return the source of a streamed response."""
        request = msgspec.json.encode({**naming(self.context, body, self.key), "stream": True})
        return ResponseSource(self.context, self.key, request, need, self._call, joins=self.joins), len(request)

    def end(self) -> ResponseEnd:
        """Return the writer of ``response.failed``."""
        return ResponseEnd(self.model)
