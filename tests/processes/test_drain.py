"""SIGTERM and Ctrl-C at a gateway with work in flight, as clients of each endpoint see them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.drain import Stage
from app.embedded import http_client
from app.embedded.faults import Fault
from app.embedded.server import EmbeddedPlatform
from tests.support.doors import refusal
from tests.support.draining import (
    LONG,
    READERS,
    SLACK,
    SUBSCRIPTION,
    OpenAiReader,
    ProxyReader,
    SocketReader,
    announced,
    asked,
    chat,
    client,
    draining,
    ended,
    first_agent,
    reading,
    rest_of,
    signed_in,
    tell,
)
from tests.support.forks import ROOT
from tests.support.process import Gateway, running, serving
from tests.support.rawsocket import raw_socket, text
from tests.support.sse import parsed
from tests.support.stack import embedded_stack, until
from tests.support.websocket import PROTOCOL

COMPLETE = """mutation($t: String!, $k: String!) {
  complete(input: {idempotencyKey: $k, model: "gpt-4o-mini", messages: [{role: USER, content: $t}]}) { text }
}"""


def mutation(text: str) -> dict[str, Any]:
    return {"query": COMPLETE, "variables": {"k": uuid.uuid4().hex, "t": text}}


SSE = {"accept": "text/event-stream"}
FOLLOW = {"query": "subscription($id: ID!) { conversation(id: $id) { __typename } }"}


@asynccontextmanager
async def beside(tmp_path: Path, **settings: str) -> AsyncIterator[tuple[Gateway, EmbeddedPlatform]]:
    """Run a gateway with a platform that runs longer than the gateway."""
    platform = EmbeddedPlatform()
    await platform.start()
    keys = {"SUPABASE_SERVICE_KEY": platform.options.ams_key, "LETTA_API_KEY": platform.options.letta_key}
    urls = {f"{name.upper()}_BASE_URL": url for name, url in platform.urls.items()}
    try:
        async with serving(tmp_path, {**urls, **keys, **settings}) as gateway:
            yield gateway, platform
    finally:
        await platform.stop()


async def inflight(platform: EmbeddedPlatform, calls: int) -> None:
    """Wait until this many model calls are in flight."""
    await until(lambda: platform.state.stats.inflight == calls)


async def test_after_the_grace_readers_are_detached_and_model_calls_cancelled(tmp_path: Path) -> None:
    async with beside(tmp_path, SHUTDOWN_GRACE_SECONDS="1.5") as (gateway, platform):
        readers = [door(gateway, LONG) for door in READERS]
        async with reading(*readers) as tasks:
            gateway.process.send_signal(signal.SIGTERM)
            began, before = time.monotonic(), [len(reader.heard) for reader in readers]
            lasted = [await ended_after(task, began) for task in tasks]
            log = await ended(gateway, signal.SIGTERM)
            assert time.monotonic() - began < 2.5 + SLACK
        await inflight(platform, 0)
        assert platform.state.stats.disconnected == len(READERS)
    for reader, length in zip(readers, before, strict=True):
        reader.check_detached()
        assert len(reader.heard) > length, reader
    assert all(1 < seconds < 1.5 + SLACK for seconds in lasted)
    assert announced(log) == "Stopping: waiting up to 1.5 s for 5 streams. Press Ctrl-C again to stop now."
    assert not [line for line in log if line["level"] == "error" or "exception" in line]


async def ended_after(task: asyncio.Task[str], began: float) -> float:
    await task
    return time.monotonic() - began


async def test_streams_that_end_within_the_grace_are_complete(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "40"}) as gateway:
        readers = [door(gateway, "[[tokens=40 delay=0.05]]") for door in READERS]
        async with reading(*readers) as tasks:
            gateway.process.send_signal(signal.SIGINT)
            heard = await asyncio.gather(*tasks)
            log = await ended(gateway, signal.SIGINT)
    for got, door in zip(heard, READERS, strict=True):
        assert "tok39" in got, door
        assert ("[DONE]" in got) if issubclass(door, OpenAiReader) else ("COMPLETED" in got), door
    assert "5 streams" in announced(log)


async def test_a_second_signal_detaches_readers_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "50"}) as gateway:
        readers = [door(gateway, LONG) for door in READERS]
        async with reading(*readers) as tasks:
            gateway.process.send_signal(signal.SIGINT)
            await draining(gateway)
            gateway.process.send_signal(signal.SIGINT)
            await asyncio.gather(*tasks)
            async with asyncio.timeout(1 + SLACK):
                log = await ended(gateway, signal.SIGINT)
    for reader in readers:
        reader.check_detached()
    assert not [line for line in log if "exception" in line]


async def test_an_idle_process_ends_at_once_and_closes_idle_connections(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "50"}) as gateway, AsyncExitStack() as stack:
        url = gateway.url.replace("http", "ws") + "/graphql"
        http = await stack.enter_async_context(client(gateway))
        assert (await http.get("/ping")).status_code == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))
        writer.write(b"garbage\r\n\r\n")
        assert b" 400 " in await reader.read()
        writer.close()
        idle = await stack.enter_async_context(signed_in(gateway))
        silent = await stack.enter_async_context(connect(url, subprotocols=[PROTOCOL], proxy=None))
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(1 + SLACK):
            log = await ended(gateway, signal.SIGTERM)
        assert [(await rest_of(socket))[1] for socket in (idle, silent)] == [1001, 1001]
        assert announced(log) == "Stopping."
        assert any(line["event"] == "library" and "Invalid HTTP request" in line["message"] for line in log)


async def test_a_draining_gateway_refuses_requests_and_answers_probes(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "50"}) as gateway, AsyncExitStack() as stack:
        http = await stack.enter_async_context(client(gateway))
        socket = await stack.enter_async_context(signed_in(gateway))
        await tell(socket, id="old", type="subscribe", payload=asked("[[tokens=100 delay=0.05]]"))
        assert json.loads(await socket.recv())["type"] == "next"
        gateway.process.send_signal(signal.SIGTERM)
        await draining(gateway)

        at_graphql = await http.post("/graphql", json={"query": "{ viewer { id } }"})
        at_openai = await http.post("/v1/chat/completions", json=chat("hi"))
        for refused in (at_graphql, at_openai):
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["connection"] == "close"
        facts = at_graphql.json()["errors"][0]["extensions"]
        assert (facts["code"], facts["reason"], facts["retryable"]) == ("OVERLOADED", "DRAINING", True)
        assert at_openai.json()["error"]["code"] == "draining"
        with pytest.raises(InvalidStatus) as no_socket:
            await stack.enter_async_context(signed_in(gateway))
        assert no_socket.value.response.status_code == 503
        assert (await http.get("/ping")).status_code == 200
        for probe in ("/health", "/readyz"):
            answer = await http.get(probe)
            assert (answer.status_code, answer.json()) == (503, {"status": "draining"})

        await tell(socket, id="new", type="subscribe", payload={"query": "{ viewer { id } }"})
        messages, code = await rest_of(socket)
        [error] = [one for one in messages if one.get("id") == "new"]
        assert (error["type"], error["payload"][0]["extensions"]["reason"]) == ("error", "DRAINING")
        assert messages[-2:] == [{"id": "old", "type": "complete"}, {"type": "ping", "payload": {"reason": "DRAINING"}}]
        assert messages[-3]["payload"]["data"]["completion"]["outcome"] == "COMPLETED"
        assert code == 1001
        log = await ended(gateway, signal.SIGTERM)
    assert not [line for line in log if line["level"] == "error"]


async def test_requests_in_flight_are_answered_within_the_grace(tmp_path: Path) -> None:
    async with beside(tmp_path, SHUTDOWN_GRACE_SECONDS="50") as (gateway, platform), client(gateway) as http:
        text = "[[tokens=30 delay=0.05]]"
        openai = asyncio.create_task(http.post("/v1/chat/completions", json=chat(text, stream=False)))
        graph = asyncio.create_task(http.post("/graphql", json=mutation(text)))
        await inflight(platform, 2)
        gateway.process.send_signal(signal.SIGTERM)
        assert "tok29" in (await openai).text
        answer = await graph
        assert "tok29" in answer.json()["data"]["complete"]["text"]
        assert answer.headers["connection"] == "close"
        log = await ended(gateway, signal.SIGTERM)
    assert "2 requests" in announced(log)


async def test_requests_in_flight_after_the_grace_are_refused_and_cancelled(tmp_path: Path) -> None:
    async with beside(tmp_path, SHUTDOWN_GRACE_SECONDS="1") as (gateway, platform), client(gateway) as http:
        openai = asyncio.create_task(http.post("/v1/chat/completions", json=chat(LONG, stream=False)))
        graph = asyncio.create_task(http.post("/graphql", json=mutation(LONG)))
        async with signed_in(gateway) as socket:
            await tell(socket, id="1", type="subscribe", payload=mutation(LONG))
            await inflight(platform, 3)
            platform.faults["litellm"] = Fault(hang=True)
            platform.state.calls.clear()
            unopened = asyncio.create_task(http.post("/v1/chat/completions", json=chat(LONG)))
            subscribed = asyncio.create_task(http.post("/graphql", json=asked(LONG), headers=SSE))
            await until(lambda: sum("chat/completions" in call["path"] for call in platform.state.calls) == 2)
            gateway.process.send_signal(signal.SIGTERM)
            [error, _], code = await rest_of(socket)
        cut, at_graphql = await openai, await graph
        assert (await unopened).status_code == 503
        assert (await unopened).json()["error"]["code"] == "draining"
        assert refusal(await subscribed)["errors"][0]["extensions"]["reason"] == "DRAINING"
        await ended(gateway, signal.SIGTERM)
        await inflight(platform, 0)
    assert (cut.status_code, cut.json()["error"]["code"]) == (503, "draining")
    assert (at_graphql.status_code, code) == (503, 1001)
    for errors in (at_graphql.json()["errors"], error["payload"]):
        assert errors[0]["extensions"]["reason"] == "DRAINING"
        assert errors[0]["extensions"]["retryable"] is False


async def test_an_event_stream_that_has_begun_ends_with_an_error_after_the_grace(tmp_path: Path) -> None:
    """The heartbeats have begun the answers, so a status cannot tell the client that the gateway stops."""
    settings = {"SHUTDOWN_GRACE_SECONDS": "0.5", "STREAM_HEARTBEAT_SECONDS": "0.05"}
    async with beside(tmp_path, **settings) as (gateway, platform), client(gateway) as http:
        conversation_id = (await first_agent(gateway))["conversations"]["nodes"][0]["id"]
        for service in ("litellm", "letta"):
            platform.faults[service] = Fault(hang=True)
        variables = json.dumps({"id": conversation_id})
        async with AsyncExitStack() as stack:
            asked_for = (("POST", {"json": mutation("hi")}), ("GET", {"params": {**FOLLOW, "variables": variables}}))
            opened = [http.stream(method, "/graphql", headers=SSE, **given) for method, given in asked_for]
            pieces = [(await stack.enter_async_context(one)).aiter_text() for one in opened]
            heard = [await anext(one) for one in pieces]
            gateway.process.send_signal(signal.SIGTERM)
            for number, rest in enumerate(pieces):
                heard[number] += "".join([piece async for piece in rest])
        log = await ended(gateway, signal.SIGTERM)
    mutated, followed = (parsed(text.replace(":\n", "").replace(": DRAINING\n", "")) for text in heard)
    assert [event.name for event in mutated] == ["next", "complete"]
    assert [event.name for event in followed] == ["next"], "EventSource reconnects"
    for event, retryable in ((mutated[0], False), (followed[0], True)):
        facts = json.loads(event.data)["errors"][0]["extensions"]
        assert (facts["reason"], facts["retryable"]) == ("DRAINING", retryable)
        assert "requestId" in facts
    assert (followed[0].retry or 0) < 10_000
    assert not [line for line in log if line["level"] == "error" or "exception" in line]


async def test_a_mutation_that_waits_for_a_turn_is_answered_before_the_grace_ends(tmp_path: Path) -> None:
    query = """mutation($to: ID!) {
      sendMessage(input: {
        to: {agentId: $to}, content: [{text: "[[tokens=5000 delay=0.05]]"}], waitSeconds: 60, idempotencyKey: "k"
      }) { run { id } stream { status text } }
    }"""
    async with beside(tmp_path, SHUTDOWN_GRACE_SECONDS="2") as (gateway, platform), client(gateway) as http:
        to = (await first_agent(gateway))["id"]
        sent = asyncio.create_task(http.post("/graphql", json={"query": query, "variables": {"to": to}}))
        await inflight(platform, 1)
        gateway.process.send_signal(signal.SIGTERM)
        begun = (await sent).json()["data"]["sendMessage"]
        await ended(gateway, signal.SIGTERM)
    assert begun["run"]["id"]
    assert (begun["stream"]["status"], begun["stream"]["text"][:5]) == ("RUNNING", "tok0 ")


async def test_a_turn_continues_in_letta_after_the_gateway_has_stopped(tmp_path: Path) -> None:
    query = """subscription($to: ID!) {
      message(streamKey: "k", input: {to: {agentId: $to}, content: [{text: "[[tokens=40 delay=0.05]]"}]}) {
        __typename
      }
    }"""
    async with beside(tmp_path, SHUTDOWN_GRACE_SECONDS="0.5") as (gateway, platform):
        to = (await first_agent(gateway))["id"]
        async with signed_in(gateway) as socket:
            await tell(socket, id="1", type="subscribe", payload={"query": query, "variables": {"to": to}})
            while "TextDelta" not in str(await socket.recv()):
                pass
            gateway.process.send_signal(signal.SIGTERM)
            messages, _ = await rest_of(socket)
        assert messages[-3]["payload"]["data"]["message"]["__typename"] == "ReaderDetached"
        await ended(gateway, signal.SIGTERM)
        run = list(platform.state.runs.values())[-1]
        await until(lambda: run.body["status"] == "completed")


async def test_a_draining_gateway_serves_the_proxy_while_a_turn_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "50"}) as gateway:
        reader = SocketReader(gateway, "[[tokens=100 delay=0.05]]")
        async with reading(reader) as [task]:
            gateway.process.send_signal(signal.SIGTERM)
            await draining(gateway)
            returning = await ProxyReader(gateway, "[[tokens=3 delay=0]]").read()
            assert "tok2" in returning
            assert "[DONE]" in returning
            assert not task.done()
            await task
            await ended(gateway, signal.SIGTERM)


@pytest.mark.parametrize("kind", ["sse", "socket", "upload"])
async def test_a_client_that_neither_reads_nor_writes_does_not_delay_the_end(kind: str, tmp_path: Path) -> None:
    settings = {"SHUTDOWN_GRACE_SECONDS": "0.5", "STREAM_COALESCE_MILLISECONDS": "0"}
    async with beside(tmp_path, **settings) as (gateway, _):
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1024)
        await STUCK[kind](gateway, reader, writer)
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        log = await ended(gateway, signal.SIGTERM)
        assert time.monotonic() - began < 1.5 + SLACK
        writer.close()
    assert not [line for line in log if "exception" in line]


async def test_a_client_that_leaves_while_its_socket_is_closed_causes_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with embedded_stack(stream_coalesce_milliseconds=0) as stack:
        address = ("127.0.0.1", httpx.URL(stack.url).port or 0)
        async with raw_socket(address, receive_buffer=4096) as narrow:
            await narrow.sign_in(stack.token())
            narrow.pause_reading()
            await narrow.send(text(id="1", type="subscribe", payload=much()))
            await received_all(stack.client)
            stack.drain.advance(Stage.CUTTING)
        await until(lambda: not stack.drain.connections)
    assert not caplog.records


def head(gateway: Gateway, method: str, *fields: str) -> bytes:
    lines = [f"{method} /graphql HTTP/1.1", "host: x", f"authorization: Bearer {gateway.token}", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def stuck_sse(gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = json.dumps(much()).encode()
    fields = ("content-type: application/json", "accept: text/event-stream", f"content-length: {len(body)}")
    writer.write(head(gateway, "POST", *fields) + body)
    async with client(gateway) as http:
        await received_all(http)


async def stuck_socket(gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    protocol = "sec-websocket-protocol: graphql-transport-ws"
    upgrade = ("connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13", key, protocol)
    writer.write(head(gateway, "GET", *upgrade))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(frame({"type": "connection_init", "payload": {"authorization": f"Bearer {gateway.token}"}}))
    writer.write(frame({"id": "1", "type": "subscribe", "payload": much()}))
    async with client(gateway) as http:
        await received_all(http)


def much() -> dict[str, Any]:
    """Return a subscription whose events exceed all buffers between gateway and client."""
    fields = " ".join(f"text{n}: text" for n in range(100))
    return asked("[[tokens=5000 delay=0]]") | {"query": SUBSCRIPTION.replace("{ text }", f"{{ {fields} }}")}


async def received_all(http: httpx.AsyncClient) -> None:
    """Wait until the gateway has the whole answer, which the client does not read."""

    async def completed() -> bool:
        return 'agentgraph_streams_total{kind="completion",outcome="completed"}' in (await http.get("/metrics")).text

    await until(completed, 30)


async def stuck_upload(gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head(gateway, "POST", "content-type: application/json", "content-length: 900") + b"{")
    await writer.drain()


def frame(message: dict[str, Any]) -> bytes:
    """Return a masked text frame (RFC 6455, section 5.2) whose mask is zero."""
    body = json.dumps(message).encode()
    return bytes([0x81, 0x80 | 126]) + len(body).to_bytes(2, "big") + bytes(4) + body


STUCK = {"sse": stuck_sse, "socket": stuck_socket, "upload": stuck_upload}


@pytest.mark.parametrize(("how", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
async def test_a_signal_during_the_start_ends_the_process(how: signal.Signals, times: int, tmp_path: Path) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "50"}) as gateway:
        for _ in range(times):
            gateway.process.send_signal(how)
        async with asyncio.timeout(10):
            await ended(gateway, how)


async def test_sigterm_ends_the_process_while_it_imports_modules_even_if_the_default_action_does_nothing(
    tmp_path: Path,
) -> None:
    """Linux ignores SIGTERM for the first process of a container, unless the process has a handler."""
    command = f"trap '' TERM; exec {sys.executable} -m app serve --memory"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": "0"}
    process = await asyncio.create_subprocess_shell(
        command, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = asyncio.create_task(process.communicate())
    while not output.done():
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await asyncio.wait([output], timeout=0.02)
    assert (output.result()[0], process.returncode) == (b"", -signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
async def test_the_embedded_command_stops_without_a_traceback(how: signal.Signals, tmp_path: Path) -> None:
    async with running("embedded", "--memory", "--port", "0", folder=tmp_path, environment=os.environ) as process:
        assert process.stdout is not None
        printed = (await process.stdout.readuntil(b"Page for injecting faults")).decode()
        given = dict(re.findall(r"^([A-Z_]+)=(\S+)$", printed, re.MULTILINE))
        headers = {"authorization": f"Bearer {given['LETTA_API_KEY']}"}
        said = {"messages": [{"role": "user", "content": LONG}], "streaming": True, "stream_tokens": True}
        async with http_client.client(base_url=given["LETTA_BASE_URL"], headers=headers) as letta:
            agent = (await letta.get("/v1/agents/")).json()[0]["id"]
            with suppress(httpx.TransportError):  # the stream is cut, or ends because its run is stopped first
                async with letta.stream("POST", f"/v1/agents/{agent}/messages", json=said) as answer:
                    async for piece in answer.aiter_text():
                        if "tok1" in piece:
                            process.send_signal(how)
        out, _ = await process.communicate()
    assert process.returncode in {-how, 128 + how}
    assert "Traceback" not in out.decode()
