"""What gives a turn its words: the model within or, for an agent with an endpoint of its own, the model behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import orjson

from app.embedded import http_client
from app.embedded.letta.images import for_model
from app.embedded.letta.shapes import ENDPOINT
from app.embedded.model import Answer, ModelFailure, speak
from app.embedded.state import Agent, Json, State

_SECONDS = httpx.Timeout(600, connect=5)
_NO_KEY = "DUMMY_API_KEY"
"""What Letta sends where it has no key."""


class Voice:
    """Speaks for agents. ``key`` is Letta's own, which it sends where no provider was added for an agent's model."""

    def __init__(self, state: State, *, key: str | None) -> None:
        self._state = state
        self.key = key
        unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = http_client.client(timeout=_SECONDS, limits=unlimited)

    async def aclose(self) -> None:
        """Close the way out."""
        await self._client.aclose()

    def words(self, agent: Agent, messages: list[Json], answer: Answer, used: Json) -> AsyncIterator[str]:
        """The words of an answer as they come. A model elsewhere tells ``used`` its tokens. Raises ModelFailure."""
        config = agent.body["llm_config"]
        if config["model_endpoint"] == ENDPOINT:
            return speak(answer, self._state.stats)
        return self._asked(config, {"messages": _plain(messages)}, used)

    async def decide(self, agent: Agent, messages: list[Json], tool: str, used: Json) -> None:
        """Have a model elsewhere decide to call a tool, as ``words``. The one within needs nobody's leave to."""
        config = agent.body["llm_config"]
        if config["model_endpoint"] == ENDPOINT:
            return
        tools = [{"type": "function", "function": {"name": tool, "parameters": {"type": "object"}}}]
        async for _ in self._asked(config, {"messages": _plain(messages), "tools": tools}, used):
            pass

    async def embedding_of(self, agent: Agent, text: str) -> None:
        """Have a text's embedding made, where the agent has an endpoint for that. Raises ModelFailure."""
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

    async def _asked(self, config: Json, what: Json, used: Json) -> AsyncIterator[str]:
        body = {"model": config["model"], **what, "stream": True, "stream_options": {"include_usage": True}}
        url, headers = f"{config['model_endpoint']}/chat/completions", _bearer(self._key_for(config))
        try:
            async with self._client.stream("POST", url, json=body, headers=headers) as answer:
                if answer.status_code != 200:
                    raise ModelFailure(str(answer.status_code))
                async for word in _deltas(answer, used):
                    yield word
        except httpx.HTTPError as error:
            raise ModelFailure("500") from error

    def _key_for(self, config: Json) -> str | None:
        if config["provider_category"] != "byok":
            return self.key
        named = (one for one in self._state.providers.values() if one["name"] == config["provider_name"])
        return next((one["api_key_enc"] for one in named), None) or self.key


def _plain(messages: list[Json]) -> list[Json]:
    """A conversation as a model takes it; what tools were asked and said stays within."""
    heard = [message for message in messages if message["role"] in {"system", "user", "assistant"}]
    return [{"role": message["role"], "content": for_model(message["content"])} for message in heard]


def _bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key or _NO_KEY}"}


async def _deltas(answer: httpx.Response, used: Json) -> AsyncIterator[str]:
    """What the chunks say; the last one's counts of tokens go to ``used``.

    Raises ModelFailure where the stream fails or stops before its end.
    """
    async for line in answer.aiter_lines():
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            return
        if data == line:
            continue
        chunk = orjson.loads(data)
        if chunk.get("error"):
            raise ModelFailure("cut")
        if usage := chunk.get("usage"):
            used |= {name: usage[name] for name in ("prompt_tokens", "completion_tokens")}
        for choice in chunk["choices"]:
            if content := choice["delta"].get("content"):
                yield content
    raise ModelFailure("cut")
