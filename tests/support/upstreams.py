"""Letta and LiteLLM without a gateway, embedded or real, called as the gateway calls them."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from app.embedded import http_client
from app.embedded.litellm.keys import make_key
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from tests.support.embedded import events_of
from tests.support.seeded import SeededStore
from tests.support.stack import version_of

Json = dict[str, Any]

EMBEDDING = "text-embedding-3-small"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@dataclass
class Upstreams:
    """Clients of both services, and objects of the test, which are deleted at its end.

    ``chat_model`` is LiteLLM's name of a model; Letta's handle has a prefix. ``version`` is LiteLLM's version. If the
    environment names only a real LiteLLM, there is no Letta.
    """

    letta: httpx.AsyncClient
    litellm: httpx.AsyncClient
    chat_model: str
    version: tuple[int, ...]
    platform: EmbeddedPlatform | None
    master: str = ""
    tag: str = field(default_factory=lambda: f"contract:{uuid.uuid4()}")
    made: list[tuple[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def real(self) -> bool:
        return self.platform is None

    @property
    def handle(self) -> str:
        return f"openai-proxy/{self.chat_model}"

    async def agent(self, **more: Any) -> Json:
        """Create an agent with two memory blocks and no tools."""
        blocks = [{"label": "human", "value": "Name: Ada", "limit": 2000}, {"label": "persona", "value": "Brief."}]
        own = {"name": "contract", "model": self.handle, "embedding": f"openai/{EMBEDDING}", "tags": [self.tag]}
        body = {**own, "memory_blocks": blocks, "include_base_tools": False, **more}
        made = await self.letta.post("/v1/agents/", json=body)
        assert made.status_code == 200, made.text
        agent: Json = made.json()
        self.made.append(("agents", agent["id"]))
        return agent

    async def conversation(self, agent_id: str, **more: Any) -> str:
        made = await self.letta.post("/v1/conversations/", params={"agent_id": agent_id}, json={"summary": "s", **more})
        assert made.status_code == 200, made.text
        return str(made.json()["id"])

    async def block(self, **more: Any) -> Json:
        made = await self.letta.post("/v1/blocks/", json={"label": "shared", "value": "v", **more})
        assert made.status_code == 200, made.text
        block: Json = made.json()
        self.made.append(("blocks", block["id"]))
        return block

    async def key(self, **facts: Any) -> dict[str, str]:
        """Return the header of a new virtual key, of a new user unless ``facts``, fields of ``/key/info``, name one."""
        facts = {"user_id": f"contract-{uuid.uuid4()}", "key_alias": f"contract-{uuid.uuid4()}", **facts}
        key = f"sk-{uuid.uuid4().hex}"
        if self.platform is not None:
            make_key(self.platform.state, key, facts.pop("user_id"), **facts)
        else:
            made = await self.admin("/key/generate", {"key": key, **facts})
            assert made.status_code == 200, made.text
            self.keys.append(key)
        return {"authorization": f"Bearer {key}"}

    async def admin(self, path: str, body: Json) -> httpx.Response:
        """Call the real LiteLLM as its administrator."""
        return await self.litellm.post(path, json=body, headers={"authorization": f"Bearer {self.master}"})

    async def tell(self, path: str, text: str, **more: Any) -> Json:
        """Send a message to Letta and return the whole answer."""
        answer = await self.letta.post(path, json={**message(text), "streaming": False, **more})
        assert answer.status_code == 200, answer.text
        whole: Json = answer.json()
        return whole

    async def events(self, path: str, body: Json) -> list[Any]:
        """Return the events of a Letta stream to its end; ``[DONE]`` is text."""
        answer = await self.letta.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        return events_of(answer.text)

    async def get(self, path: str) -> Any:
        """Return Letta's answer, which must be a success."""
        answer = await self.letta.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def clear(self) -> None:
        for kind, made in reversed(self.made):
            with suppress(httpx.HTTPError):
                await self.letta.delete(f"/v1/{kind}/{made}")
        if self.keys:
            await self.admin("/key/delete", {"keys": self.keys})


def message(text: str, **more: Any) -> Json:
    """Return the request body of a message."""
    return {"messages": [{"role": "user", "content": text, **more}]}


def kinds(messages: list[Any]) -> list[str]:
    """Return the types of the messages or frames."""
    return [one if one == "[DONE]" else one["message_type"] for one in messages]


async def events_so_far(lines: AsyncIterator[str]) -> AsyncIterator[Any]:
    """Yield the events of an open stream."""
    async for line in lines:
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else orjson.loads(data)


def error_of(answer: httpx.Response) -> tuple[int, str | None]:
    """Return status and type of an error, and check its form."""
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["code"] == str(answer.status_code)
    return answer.status_code, error["type"]


async def charged(up: Upstreams, own: dict[str, str]) -> Json | None:
    """Return the totals of a key's calls if there are any."""
    day = datetime.now(UTC).date()
    days = {"start_date": str(day - timedelta(days=1)), "end_date": str(day + timedelta(days=1))}
    totals: Json = (await up.litellm.get("/user/daily/activity", params=days, headers=own)).json()["metadata"]
    return totals if totals["total_api_requests"] else None


@asynccontextmanager
async def upstreams(*, real: bool) -> AsyncIterator[Upstreams]:
    async with AsyncExitStack() as stack:
        platform = None if real else EmbeddedPlatform(EmbeddedOptions(words_per_second=2000), SeededStore())
        if platform is None:
            letta, litellm = os.environ.get("LETTA_BASE_URL", ""), os.environ["LITELLM_BASE_URL"]
            letta_key, key = os.environ.get("LETTA_API_KEY", ""), os.environ["LITELLM_API_KEY"]
        else:
            await platform.start()
            stack.push_async_callback(platform.stop)
            letta, litellm = platform.urls["letta"], platform.urls["litellm"]
            letta_key, key = platform.options.letta_key, platform.options.user_key

        async def client(url: str, bearer: str) -> httpx.AsyncClient:
            headers = {"authorization": f"Bearer {bearer}"}
            return await stack.enter_async_context(http_client.client(base_url=url, headers=headers, timeout=50))

        to_litellm = await client(litellm, key)
        running = Upstreams(
            letta=await client(letta, letta_key),
            litellm=to_litellm,
            version=await version_of(to_litellm, key),
            chat_model="fake-chat" if real else "gpt-4o-mini",
            platform=platform,
            master=key,
        )
        stack.push_async_callback(running.clear)
        yield running
