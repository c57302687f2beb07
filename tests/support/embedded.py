"""The embedded platform without a gateway, with clients of its services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from app.embedded import http_client
from app.embedded.people import ADA, GRACE
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.embedded.store import Store
from tests.support.seeded import SeededStore


@dataclass
class Embedded:
    """A running platform and a client for each service; AMS and LiteLLM have one for Ada and one for Grace."""

    platform: EmbeddedPlatform
    ams: httpx.AsyncClient
    ams_as_grace: httpx.AsyncClient
    letta: httpx.AsyncClient
    litellm: httpx.AsyncClient
    page: httpx.AsyncClient

    def agent_ids(self, user_id: str = ADA) -> list[str]:
        return [row["agent_id"] for row in self.platform.state.users[user_id].rows]

    async def tell(self, path: str, text: str, **more: Any) -> dict[str, Any]:
        """Send a message to Letta and return the whole answer."""
        body = {"messages": [{"role": "user", "content": text}], "streaming": False, **more}
        answer = await self.letta.post(path, json=body)
        assert answer.status_code == 200, answer.text
        whole: dict[str, Any] = answer.json()
        return whole

    async def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """Return the events of a stream to its end; ``[DONE]`` is text."""
        answer = await self.letta.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return events_of(answer.text)


def events_of(text: str) -> list[Any]:
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else orjson.loads(one) for one in data]


@asynccontextmanager
async def embedded(store: Store | None = None, **options: Any) -> AsyncIterator[Embedded]:
    platform = EmbeddedPlatform(EmbeddedOptions(words_per_second=2000, **options), store or SeededStore())
    await platform.start()
    keys, urls, state = platform.options, platform.urls, platform.state
    async with AsyncExitStack() as stack:
        stack.push_async_callback(platform.stop)

        async def client(url: str, **headers: str) -> httpx.AsyncClient:
            made = http_client.client(base_url=url, headers=headers, timeout=20)
            return await stack.enter_async_context(made)

        service = {"authorization": f"Bearer {keys.ams_key}"}
        yield Embedded(
            platform,
            ams=await client(urls["ams"], **service, **{"x-user-id": ADA}),
            ams_as_grace=await client(urls["ams"], **service, **{"x-user-id": GRACE}),
            letta=await client(urls["letta"], authorization=f"Bearer {keys.letta_key}"),
            litellm=await client(urls["litellm"], authorization=f"Bearer {state.users[ADA].litellm_key}"),
            page=await client(platform.page_url),
        )
