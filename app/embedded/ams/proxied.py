"""Agents whose model calls go through the gateway's proxy (AMS contract): their endpoints and secrets.

Letta 0.16.8 sends a key other than its own only for a provider that was added to it ("bring your own key"): each user
has a provider with the secret of the user's agents. For embeddings Letta always sends its own key: their endpoint is
set only if the gateway accepts that key.
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
    """Where Letta sends model calls. ``takes_lettas_key`` is whether the proxy accepts Letta's own key."""

    url: str
    master_key: str
    takes_lettas_key: bool = False

    def proxy(self, user_id: str) -> str:
        """Return the base URL for the calls of a user's agents."""
        return f"{self.url}/api/v1/agents/{user_id}/proxy"

    def secret(self, user_id: str) -> str:
        """Return the secret of a user's agents."""
        digest = hmac.new(self.master_key.encode(), f"agent-secret:v1:{user_id}".encode(), hashlib.sha256)
        return f"ag-{user_id}-{digest.hexdigest()}"


def provider_name(user_id: str) -> str:
    """Return the name of the provider with the secret of a user's agents."""
    return f"agentgraph-{user_id}"


class ProxiedModels:
    """Makes the model configuration of agents. ``call`` calls Letta."""

    def __init__(self, call: CallLetta) -> None:
        self._call = call
        self._provided: set[str] = set()
        self.gateway: ProxyTarget | None = None

    async def of(self, user: User, model: str, embedding: str | None = None) -> Json:
        """Return the model fields of an agent's body; handles only without a gateway."""
        plain: Json = {"model": model} | ({"embedding": embedding} if embedding else {})
        gateway = self.gateway
        if gateway is None:
            return plain
        known = await self._call("GET", "/v1/models/", params={"provider_category": "base"})
        found = next((one for one in known if one["handle"] == model), None)
        if found is None:
            return plain  # Letta refuses the model
        await self._provide(gateway, user)
        del plain["model"]
        own = {name: found[name] for name in _MODEL if found.get(name) is not None}
        endpoint = {"model_endpoint": gateway.proxy(user.id), "provider_name": provider_name(user.id)}
        plain["llm_config"] = {**own, **endpoint, "handle": model, "provider_category": "byok"}
        if embedding and gateway.takes_lettas_key:
            plain |= await self._embedding(gateway, user, embedding)
        return plain

    async def _embedding(self, gateway: ProxyTarget, user: User, handle: str) -> Json:
        known = await self._call("GET", "/v1/models/embedding")
        found = next((one for one in known if one["handle"] == handle), None)
        if found is None:
            return {}
        own = {name: found[name] for name in _EMBEDDING}
        return {"embedding": None, "embedding_config": {**own, "embedding_endpoint": gateway.proxy(user.id)}}

    async def _provide(self, gateway: ProxyTarget, user: User) -> None:
        """Ensure that Letta has the user's provider with the current secret."""
        if user.id in self._provided:
            return
        name, secret = provider_name(user.id), gateway.secret(user.id)
        access = {"api_key": secret, "base_url": gateway.proxy(user.id)}
        known = [one for one in await self._call("GET", "/v1/providers/", params={"name": name}) if one["name"] == name]
        if known:
            await self._call("PATCH", f"/v1/providers/{known[0]['id']}", json=access)
        else:
            await self._call("POST", "/v1/providers/", json={"name": name, "provider_type": "openai", **access})
        self._provided.add(user.id)
