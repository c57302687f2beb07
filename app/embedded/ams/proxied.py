"""Makes model configurations for agents that call models through the gateway's proxy (AMS contract).

Letta 0.16.8 sends its own key, except to a provider that was added ("bring your own key"). Each user therefore has a
provider with the secret of the user's agents. For embeddings, Letta always sends its own key. An agent's embeddings
therefore go through the proxy only if the proxy accepts Letta's own key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.embedded.state import Json, User

CallLetta = Callable[..., Awaitable[Any]]
_MODEL = ("model", "model_endpoint_type", "context_window", "put_inner_thoughts_in_kwargs", "temperature", "max_tokens")
_EMBEDDING = ("embedding_endpoint_type", "embedding_model", "embedding_dim", "embedding_chunk_size", "handle")


@dataclass(frozen=True, kw_only=True)
class ProxyTarget:
    """The gateway's proxy for Letta's model calls.

    ``takes_lettas_key`` says whether the proxy accepts Letta's own key.
    """

    url: str
    master_key: str
    takes_lettas_key: bool = False

    def proxy(self, user_id: str) -> str:
        """Return the proxy's base URL for the model calls of a user's agents."""
        return f"{self.url}/api/v1/agents/{user_id}/proxy"

    def secret(self, user_id: str) -> str:
        """Return the secret with which a user's agents call the proxy."""
        digest = hmac.new(self.master_key.encode(), f"agent-secret:v1:{user_id}".encode(), hashlib.sha256)
        return f"ag-{user_id}-{digest.hexdigest()}"


def provider_name(user_id: str) -> str:
    """Return the name of a user's model provider in Letta."""
    return f"agentgraph-{user_id}"


class ProxiedModels:
    """Makes agents' model configurations. ``call`` sends a request to Letta."""

    def __init__(self, call: CallLetta) -> None:
        self._call = call
        self._provided: set[str] = set()
        self.gateway: ProxyTarget | None = None

    async def of(self, user: User, model: str, embedding: str | None = None) -> Json:
        """Return an agent's model fields for a request to Letta. Without a gateway, these are only model handles."""
        plain: Json = {"model": model} | ({"embedding": embedding} if embedding else {})
        gateway = self.gateway
        if gateway is None:
            return plain
        models = await self._call("GET", "/v1/models/", params={"provider_category": "base"})
        found = next((one for one in models if one["handle"] == model), None)
        if found is None:
            return plain  # Letta refuses an unknown model itself
        await self._provide(gateway, user)
        del plain["model"]
        config = {name: found[name] for name in _MODEL if found.get(name) is not None}
        endpoint = {"model_endpoint": gateway.proxy(user.id), "provider_name": provider_name(user.id)}
        plain["llm_config"] = {**config, **endpoint, "handle": model, "provider_category": "byok"}
        if embedding and gateway.takes_lettas_key:
            plain |= await self._embedding(gateway, user, embedding)
        return plain

    async def _embedding(self, gateway: ProxyTarget, user: User, handle: str) -> Json:
        models = await self._call("GET", "/v1/models/embedding")
        found = next((one for one in models if one["handle"] == handle), None)
        if found is None:
            return {}
        config = {name: found[name] for name in _EMBEDDING}
        return {"embedding": None, "embedding_config": {**config, "embedding_endpoint": gateway.proxy(user.id)}}

    async def _provide(self, gateway: ProxyTarget, user: User) -> None:
        """Ensure that Letta has a model provider for the user, with the current secret."""
        if user.id in self._provided:
            return
        name, secret = provider_name(user.id), gateway.secret(user.id)
        access = {"api_key": secret, "base_url": gateway.proxy(user.id)}
        providers = await self._call("GET", "/v1/providers/", params={"name": name})
        found = next((one for one in providers if one["name"] == name), None)
        if found is not None:
            await self._call("PATCH", f"/v1/providers/{found['id']}", json=access)
        else:
            await self._call("POST", "/v1/providers/", json={"name": name, "provider_type": "openai", **access})
        self._provided.add(user.id)
