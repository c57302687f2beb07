"""Agents whose model calls come back to the gateway (AMS contract): their endpoints, and the secret Letta sends there.

Letta 0.16.8 sends another key than its own only for a provider that was added to it ("bring your own key"), so each
user has one that keeps the secret of their agents. With embeddings it sends its own server-wide key whatever is set, so
their endpoint is set only where the gateway takes that one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.embedded.state import Json, User

Ask = Callable[..., Awaitable[Any]]
_MODEL = ("model", "model_endpoint_type", "context_window", "put_inner_thoughts_in_kwargs", "temperature", "max_tokens")
_EMBEDDING = ("embedding_endpoint_type", "embedding_model", "embedding_dim", "embedding_chunk_size", "handle")


@dataclass(frozen=True, kw_only=True)
class ProxyTarget:
    """Where Letta sends model calls. ``takes_lettas_key`` says whether the proxy accepts Letta's own key."""

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
    """The name in Letta of the provider that keeps the secret of a user's agents."""
    return f"agentgraph-{user_id}"


class ProxiedModels:
    """What an agent's models are, as Letta is told. ``ask`` asks Letta."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._provided: set[str] = set()
        self.gateway: ProxyTarget | None = None

    async def of(self, user: User, model: str, embedding: str | None = None) -> Json:
        """The fields of an agent's body that say which models it has; plain handles without a gateway."""
        plain: Json = {"model": model} | ({"embedding": embedding} if embedding else {})
        gateway = self.gateway
        if gateway is None:
            return plain
        known = await self._ask("GET", "/v1/models/", params={"provider_category": "base"})
        found = next((one for one in known if one["handle"] == model), None)
        if found is None:
            return plain  # Letta says what is wrong with it
        await self._provide(gateway, user)
        del plain["model"]
        own = {name: found[name] for name in _MODEL if found.get(name) is not None}
        endpoint = {"model_endpoint": gateway.proxy(user.id), "provider_name": provider_name(user.id)}
        plain["llm_config"] = {**own, **endpoint, "handle": model, "provider_category": "byok"}
        if embedding and gateway.takes_lettas_key:
            plain |= await self._embedding(gateway, user, embedding)
        return plain

    async def _embedding(self, gateway: ProxyTarget, user: User, handle: str) -> Json:
        known = await self._ask("GET", "/v1/models/embedding")
        found = next((one for one in known if one["handle"] == handle), None)
        if found is None:
            return {}
        own = {name: found[name] for name in _EMBEDDING}
        return {"embedding": None, "embedding_config": {**own, "embedding_endpoint": gateway.proxy(user.id)}}

    async def _provide(self, gateway: ProxyTarget, user: User) -> None:
        """See to it that Letta has the user's provider, with the secret of now."""
        if user.id in self._provided:
            return
        name, secret = provider_name(user.id), gateway.secret(user.id)
        given = {"api_key": secret, "base_url": gateway.proxy(user.id)}
        known = [one for one in await self._ask("GET", "/v1/providers/", params={"name": name}) if one["name"] == name]
        if known:
            await self._ask("PATCH", f"/v1/providers/{known[0]['id']}", json=given)
        else:
            await self._ask("POST", "/v1/providers/", json={"name": name, "provider_type": "openai", **given})
        self._provided.add(user.id)
