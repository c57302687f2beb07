"""Model calls for agents, to the embedded model or to the endpoint in the agent's configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from app.embedded import http_client
from app.embedded.letta.apis import api_of
from app.embedded.letta.images import for_model
from app.embedded.letta.shapes import ENDPOINT
from app.embedded.model import Answer, ModelFailure, generate
from app.embedded.state import Agent, Json, State

_SECONDS = httpx.Timeout(600, connect=5)
_NO_KEY = "DUMMY_API_KEY"
"""The key that Letta sends if no key is set."""


class ModelCalls:
    """Calls models for agents. ``key`` is Letta's own key, for providers that no user has added."""

    def __init__(self, state: State, *, key: str | None) -> None:
        self._state = state
        self.key = key
        unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = http_client.client(timeout=_SECONDS, limits=unlimited)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def words(self, agent: Agent, messages: list[Json], answer: Answer, used: Json) -> AsyncIterator[str]:
        """Yield an answer's words. Raises ModelFailure.

        If a model endpoint is called, the endpoint's token counts are added to ``used``.
        """
        config = agent.body["llm_config"]
        if config["model_endpoint"] == ENDPOINT:
            return generate(answer, self._state.stats)
        return self._call(config, messages, None, used)

    async def decide(self, agent: Agent, messages: list[Json], tool: str, used: Json) -> None:
        """Call an agent's model endpoint, and offer the model a tool.

        For the embedded model, there is no call, because ``Answer`` has the decision.
        """
        config = agent.body["llm_config"]
        if config["model_endpoint"] == ENDPOINT:
            return
        async for _ in self._call(config, messages, tool, used):
            pass

    async def embedding_of(self, agent: Agent, text: str) -> None:
        """Call the agent's embedding endpoint, if the agent has one. Raises ModelFailure."""
        config = agent.body["embedding_config"]
        if config is None or config["embedding_endpoint"] == ENDPOINT:
            return
        body = {"model": config["embedding_model"], "input": [text], "encoding_format": "float"}
        try:
            answer = await self._client.post(
                f"{config['embedding_endpoint']}/embeddings", json=body, headers=_bearer(self.key)
            )
        except httpx.HTTPError as error:
            raise ModelFailure("500") from error
        if answer.status_code != 200:
            raise ModelFailure(str(answer.status_code))

    async def _call(self, config: Json, messages: list[Json], tool: str | None, used: Json) -> AsyncIterator[str]:
        api = api_of(config["model"])
        url, headers = f"{config['model_endpoint']}/{api.path}", _bearer(self._key_for(config))
        body = api.body(config, _plain(messages), tool)
        try:
            async with self._client.stream("POST", url, json=body, headers=headers) as answer:
                if answer.status_code != 200:
                    raise _failure(answer.status_code, await answer.aread())
                async for word in api.words(answer, used):
                    yield word
        except httpx.HTTPError as error:
            raise ModelFailure("500") from error

    def _key_for(self, config: Json) -> str | None:
        if config["provider_category"] != "byok":
            return self.key
        named = (one for one in self._state.providers.values() if one["name"] == config["provider_name"])
        return next((one["api_key_enc"] for one in named), None) or self.key


def _plain(messages: list[Json]) -> list[Json]:
    """Convert a conversation to a model's input. Omit tool messages."""
    texts = [message for message in messages if message["role"] in {"system", "user", "assistant"}]
    return [{"role": message["role"], "content": for_model(message["content"])} for message in texts]


def _failure(status: int, body: bytes) -> ModelFailure:
    """Return the failure for an error response. As Letta, find an exceeded context window by its code."""
    return ModelFailure("ctx" if status == 400 and b"context_length_exceeded" in body else str(status))


def _bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key or _NO_KEY}"}
