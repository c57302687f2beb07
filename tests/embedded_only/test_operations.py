from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.capabilities import redis_path
from tests.support.stack import embedded_stack, until


async def test_the_metrics_token_guards_metrics_and_the_details_of_health() -> None:
    async with embedded_stack(metrics_token="m" * 20) as stack:
        insider = {"authorization": f"Bearer {'m' * 20}"}
        for headers, status in (({}, 401), ({"authorization": "Bearer no"}, 401), (insider, 200)):
            assert (await stack.client.get("/metrics", headers=headers)).status_code == status
        assert (await stack.client.get("/health")).json() == {"status": "ok"}
        assert "services" in (await stack.client.get("/health", headers=insider)).json()


async def test_more_requests_than_there_is_room_for() -> None:
    async with embedded_stack(max_concurrent_requests=1) as stack:
        stack.platform.faults["ams"] = stack.platform.faults.get("ams") or _hanging()
        slow = asyncio.create_task(stack.graphql("{ viewer { name } }"))

        async def asked() -> bool:
            return bool(stack.calls("ams"))

        await until(asked)
        refused = await stack.client.post("/graphql", json={"query": "{ viewer { id } }"}, headers=stack.headers())
        assert refused.status_code == 503
        assert refused.json()["errors"][0]["extensions"]["code"] == "OVERLOADED"
        assert (await stack.client.get("/ping")).status_code == 200
        slow.cancel()


def _hanging():
    from app.embedded.faults import Fault

    return Fault(hang=True)


@pytest.mark.needs_redis
async def test_redis_is_part_of_health() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(redis_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with embedded_stack(redis_url=f"redis://127.0.0.1:{port}/0") as stack:

            async def status() -> str:
                return str((await stack.client.get("/health")).json()["services"]["redis"]["status"])

            async def is_up() -> bool:
                return await status() == "ok"

            await until(is_up)
            process.terminate()
            await process.wait()
            assert await status() == "down"
            assert (await stack.client.get("/health")).json()["status"] == "degraded"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
