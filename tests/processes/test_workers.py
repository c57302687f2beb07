"""Several workers of one gateway: real processes, one port, one Redis server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app.embedded import http_client
from tests.support.documents import COMPLETION, STREAM
from tests.support.serving import free_port
from tests.support.sse import server_sent
from tests.support.streaming import expected
from tests.support.workers import Workers, until, workers

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(120)]

PING = "/ping"
READ = "query($id: ID!) { stream(id: $id) { status text } }"
INPUT = {"model": "gpt-4o-mini", "onDisconnect": "CONTINUE"}


def asked(directive: str) -> dict[str, object]:
    return {**INPUT, "messages": [{"role": "USER", "content": f"hi [[{directive}]]"}]}


async def until_both_serve(gateway: Workers, path: str = PING) -> int:
    """Send requests over new connections until both workers have answered one. Return the number of requests."""
    sent = 0
    async with asyncio.timeout(60):
        while len(gateway.served(path)) < 2:
            answers = await asyncio.gather(*(gateway.get(path) for _ in range(8)))
            assert {answer.status_code for answer in answers} == {200}
            sent += 8
    return sent


async def test_metrics_are_the_sums_of_all_workers_and_survive_a_killed_worker(tmp_path: Path, redis_url: str) -> None:
    async with workers(tmp_path, redis_url) as gateway:
        sent = await until_both_serve(gateway)
        pings = 'agentgraph_requests_total{method="GET",route="/ping",status="200"}'
        before = await gateway.counters()
        assert before[pings] == sent == sum(gateway.served(PING).values())
        assert before["agentgraph_worker_restarts_total"] == 0
        killed = gateway.pids()[1]
        os.kill(killed, signal.SIGKILL)
        while (after := await gateway.counters())["agentgraph_worker_restarts_total"] == 0:
            assert {name for name, value in before.items() if after.get(name, 0) < value} == set()
        while len(list(gateway.lines("worker ready"))) < 3:
            assert (await gateway.get("/readyz")).status_code == 200
        assert gateway.pids()[1] != killed
        after = await gateway.counters()
        assert {name for name, value in before.items() if after.get(name, 0) < value} == set()
        assert after[pings] == sent
        ended = next(gateway.lines("worker ended"))
        assert (ended["worker"], ended["status"], ended["delay"]) == (1, -signal.SIGKILL, 0)


async def test_a_rate_limit_counts_the_requests_of_all_workers(tmp_path: Path, redis_url: str) -> None:
    async with workers(tmp_path, redis_url, RATE_LIMIT_GENERAL="30") as gateway:
        answers: list[httpx.Response] = []
        while len(gateway.served("/graphql")) < 2 or len(answers) < 40:
            answers += await asyncio.gather(*(gateway.ask("{ __typename }") for _ in range(8)))
        bodies = [answer.json() for answer in answers]
        assert [one for one in bodies if "errors" not in one] == [{"data": {"__typename": "Query"}}] * 30


async def test_a_stream_of_one_worker_is_read_at_every_worker(tmp_path: Path, redis_url: str) -> None:
    async with workers(tmp_path, redis_url) as gateway:
        headers = {"authorization": f"Bearer {gateway.token}", "accept": "text/event-stream"}
        body = {"query": COMPLETION, "variables": {"i": asked("tokens=40 delay=0.02"), "k": "once"}}
        async with (
            http_client.client(base_url=gateway.url, timeout=20) as client,
            client.stream("POST", "/graphql", json=body, headers=headers) as answer,
        ):
            first = await anext(payloads(answer))
            stream_id = first["data"]["completion"]["stream"]["id"]
            readers = [asyncio.create_task(read_to_end(gateway, stream_id)) for _ in range(6)]
            texts = await asyncio.gather(*readers)
        assert texts == [expected(40)] * 6
        while len(gateway.served("/graphql")) < 2:
            answered = (await gateway.ask(READ, id=stream_id)).json()
            assert answered["data"]["stream"] == {"status": "COMPLETED", "text": expected(40)}


async def payloads(answer: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the JSON objects of an event stream."""
    async for event in server_sent(answer.aiter_bytes()):
        if event.data not in {"", "[DONE]"}:
            yield orjson.loads(event.data)


async def read_to_end(gateway: Workers, stream_id: str) -> str:
    """Return the text of a stream that is read over a new connection."""
    headers = {"authorization": f"Bearer {gateway.token}", "accept": "text/event-stream"}
    body = {"query": STREAM, "variables": {"id": stream_id}}
    async with (
        http_client.client(base_url=gateway.url, timeout=20) as client,
        client.stream("POST", "/graphql", json=body, headers=headers) as answer,
    ):
        found = [event["data"]["stream"] async for event in payloads(answer)]
    return "".join(event["text"] for event in found if event["__typename"] == "TextDelta")


@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
async def test_a_signal_drains_all_workers(tmp_path: Path, redis_url: str, how: signal.Signals, status: int) -> None:
    async with workers(tmp_path, redis_url, SHUTDOWN_GRACE_SECONDS="20") as gateway:
        streams = [asyncio.create_task(complete(gateway, "tokens=60 delay=0.02")) for _ in range(8)]
        begun = 'agentgraph_slots_in_use{kind="streams"} 8.0'
        while begun not in (await gateway.get("/metrics")).text:
            await asyncio.sleep(0.02)
        gateway.process.send_signal(how)
        assert await asyncio.gather(*streams) == [expected(60)] * 8
        assert await gateway.process.wait() == status
        assert {line["worker"] for line in gateway.lines("stopped") if "worker" in line} == {1, 2}
        assert not any(gateway.lines("worker killed"))


async def complete(gateway: Workers, directive: str) -> str:
    """Return the text of a streamed completion at ``/v1``."""
    headers = {"authorization": f"Bearer {gateway.token}"}
    messages = [{"role": "user", "content": f"hi [[{directive}]]"}]
    body = {"model": "gpt-4o-mini", "stream": True, "messages": messages}
    text = ""
    async with (
        http_client.client(base_url=gateway.url, timeout=20) as client,
        client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        async for event in payloads(answer):
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return text


async def test_a_second_signal_ends_the_drain_of_all_workers(tmp_path: Path, redis_url: str) -> None:
    async with workers(tmp_path, redis_url, SHUTDOWN_GRACE_SECONDS="600") as gateway:
        streams = [asyncio.create_task(complete(gateway, "tokens=100000 delay=0.02")) for _ in range(8)]
        while 'agentgraph_slots_in_use{kind="streams"} 8.0' not in (await gateway.get("/metrics")).text:
            await asyncio.sleep(0.02)
        gateway.process.send_signal(signal.SIGTERM)
        await until(lambda: len(list(gateway.lines("stopping"))) == 2)
        gateway.process.send_signal(signal.SIGTERM)
        assert await gateway.process.wait() == -signal.SIGTERM
        await asyncio.gather(*streams, return_exceptions=True)


async def test_a_signal_to_all_processes_does_not_cut_the_drain_short(tmp_path: Path, redis_url: str) -> None:
    """systemd sends SIGTERM to each process of a service, and the supervisor forwards it: workers receive it twice."""
    async with workers(tmp_path, redis_url, SHUTDOWN_GRACE_SECONDS="20") as gateway:
        streams = [asyncio.create_task(complete(gateway, "tokens=60 delay=0.02")) for _ in range(4)]
        while 'agentgraph_slots_in_use{kind="streams"} 4.0' not in (await gateway.get("/metrics")).text:
            await asyncio.sleep(0.02)
        for pid in gateway.pids().values():
            os.kill(pid, signal.SIGTERM)
        await until(lambda: len(list(gateway.lines("stopping"))) == 2)
        gateway.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*streams) == [expected(60)] * 4
        assert await gateway.process.wait() == -signal.SIGTERM


async def test_the_workers_end_when_the_supervisor_is_killed(tmp_path: Path, redis_url: str) -> None:
    async with workers(tmp_path, redis_url) as gateway:
        gateway.process.kill()
        await until(lambda: len(list(gateway.lines("stopped"))) == 2)
        with pytest.raises(httpx.ConnectError):
            await gateway.get(PING)


async def test_a_hanging_worker_is_killed_after_the_grace_period(tmp_path: Path, redis_url: str) -> None:
    async with workers(tmp_path, redis_url, SHUTDOWN_GRACE_SECONDS="0.5") as gateway:
        os.kill(gateway.pids()[2], signal.SIGSTOP)
        gateway.process.send_signal(signal.SIGTERM)
        assert await gateway.process.wait() == -signal.SIGTERM
        assert [line["pid"] for line in gateway.lines("worker killed")] == [gateway.pids()[2]]


async def test_all_workers_share_the_sign_in_sessions_and_one_operations_port(tmp_path: Path, redis_url: str) -> None:
    port = free_port()
    async with workers(tmp_path, redis_url, OPERATIONS_PORT=str(port)) as gateway:
        password = (await printed("password")).strip()
        async with http_client.client(base_url=gateway.url, timeout=20) as client:
            given = {"email": "ada@example.com", "password": password}
            path = "/auth/v1/token?grant_type="
            session = (await client.post(f"{path}password", json=given)).json()
        while len(gateway.served("other")) < 2:
            async with http_client.client(base_url=gateway.url, timeout=20) as client:
                given = {"refresh_token": session["refresh_token"]}
                session = (await client.post(f"{path}refresh_token", json=given)).json()
                headers = {"authorization": f"Bearer {session['access_token']}"}
                assert (await client.get("/auth/v1/user", headers=headers)).json()["email"] == "ada@example.com"
        assert (await gateway.get("/metrics")).status_code == 404
        base = f"http://127.0.0.1:{port}"
        others = 'agentgraph_requests_total{method="GET",route="other",status="200"}'
        assert (await gateway.counters(base))[others] == sum(
            line["method"] == "GET" and line["status"] == 200
            for line in gateway.lines("request")
            if line["route"] == "other"
        )
        while len({line["worker"] for line in gateway.lines("request") if line["route"] == "/health"}) < 2:
            services = (await gateway.get("/health", base)).json()["services"]
            assert {name: one["embedded"] for name, one in services.items()} == {
                "ams": True,
                "letta": True,
                "litellm": True,
                "supabase": True,
                "redis": False,
            }


async def printed(*arguments: str, status: int = 0, **settings: str) -> str:
    """Run ``agentgraph``, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        env={**os.environ, **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == status, out
    return out.decode()


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "problem"),
    [
        (["--workers", "2"], {}, 1, "REDIS_URL: required, because WORKERS is more than 1"),
        (["--workers", "0"], {}, 2, "'0' is not a number of workers"),
        (["--workers", "x"], {}, 2, "'x' is not a number of workers"),
        ([], {"WORKERS": "0"}, 1, "WORKERS: Input should be greater than or equal to 1"),
        ([], {"WORKERS": "3"}, 1, "REDIS_URL: required, because WORKERS is more than 1"),
        (["--worker", "0"], {}, 1, "--worker is an internal option"),
        (["--worker", "99"], {}, 1, "--worker is an internal option"),
        (["--workers", "2"], {"AUDIT_LOG": "/nowhere/audit.log"}, 1, "AUDIT_LOG: /nowhere/audit.log cannot be opened"),
    ],
)
async def test_wrong_settings_stop_the_start(
    redis_url: str, arguments: list[str], settings: dict[str, str], status: int, problem: str
) -> None:
    redis = {"REDIS_URL": redis_url} if "AUDIT_LOG" in settings else {}
    out = await printed("serve", "--memory", *arguments, status=status, **settings, **redis, PORT="0")
    assert problem in re.sub(r"\s+", " ", out)
