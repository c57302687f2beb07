"""The gateway under test with an embedded LiteLLM, and a real Letta if there is one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from app.embedded.server import EmbeddedOptions, EmbeddedPlatform, LoopbackServer
from tests.support.stack import (
    EMBEDDED_MODEL,
    ONE_ADDRESS,
    REAL_MODEL,
    Stack,
    embedded_stack,
    run_gateway,
    stop_all,
)


@asynccontextmanager
async def real_letta_stack(**settings: Any) -> AsyncIterator[Stack]:
    """Use the real Letta that the environment names, with an embedded AMS and LiteLLM."""
    url, key = os.environ["LETTA_BASE_URL"], os.environ["LETTA_API_KEY"]
    platform = EmbeddedPlatform(EmbeddedOptions(letta_url=url, letta_api_key=key, words_per_second=2000))
    platform.state.models[REAL_MODEL] = platform.state.models[EMBEDDED_MODEL]
    servers = {name: LoopbackServer(platform.service(name)) for name in ("ams", "litellm")}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_all, servers)
        for server in servers.values():
            await server.start()
        platform.reach_letta(url, key)
        stack.push_async_callback(platform.stop_runs)
        given = {
            "ams_base_url": servers["ams"].url,
            "supabase_service_key": platform.options.ams_key,
            "letta_base_url": url,
            "letta_api_key": key,
            "litellm_base_url": servers["litellm"].url,
            **ONE_ADDRESS,
            **settings,
        }
        running = await run_gateway(stack, given, platform, chat_model=REAL_MODEL, real=False)
        running.servers = servers
        yield running


def letta_stack(**settings: Any) -> AbstractAsyncContextManager[Stack]:
    """Run a stack whose LiteLLM is embedded, and whose Letta is real if the environment names one."""
    real = os.environ.get("AGENTGRAPH_TEST_REAL") == "1" and "LETTA_BASE_URL" in os.environ
    return real_letta_stack(**settings) if real else embedded_stack(**settings)
