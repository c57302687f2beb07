"""A gateway process in which every secret is a canary, and clients that send canaries to each of its endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
import typing
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp
from websockets.asyncio.client import connect

from app.embedded import http_client
from app.embedded.litellm.keys import make_key
from app.embedded.people import ADA, GRACE
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform, LoopbackServer
from app.rest.secrets import agent_secret
from app.settings import Settings
from tests.support import documents
from tests.support.canaries import Canaries
from tests.support.doors import ACCEPTS
from tests.support.forks import ROOT
from tests.support.process import Process, running
from tests.support.supabase import Issuer, key_pair, signed, with_secret
from tests.support.tcp import listening
from tests.support.watched import Watched
from tests.support.websocket import PROTOCOL

REQUESTED = {"x-api-key", "cookie", "x-litellm-api-key", "referer", "user-agent"}
AGENT = (
    "query($a: ID!) { agent(id: $a) { name memoryBlocks { id value } messages(last: 20) { nodes { __typename } } } }"
)
VIEWER = "{ viewer { email agents(first: 1) { nodes { id memoryBlocks { id } } } } }"
PUBLISH = "mutation($s: String!) { publishTemplate(input: {source: $s}) { errors { __typename message } } }"
CREATE = """mutation($i: CreateAgentInput!) { createAgent(input: $i) { agent { id } errors { message } } }"""
COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { text errors { message } } }"
EMBED = "mutation($i: EmbedInput!) { embed(input: $i) { usage { totalTokens } errors { message } } }"
REVOKE = "mutation($s: String!) { revokeSession(input: {sessionId: $s}) { sessionId } }"


def secret_settings() -> list[str]:
    """Return the names of the settings that are secrets."""
    return [
        name
        for name, one in Settings.model_fields.items()
        if SecretStr in (one.annotation, *typing.get_args(one.annotation))
    ]


@dataclass
class Person:
    """A user with tokens and texts of their own.

    Attributes:
        name: the name in the canaries' names.
    """

    name: str
    id: str
    token: str
    agent_id: str = ""
    block_id: str = ""


class Leaky:
    """The process, its services and its clients.

    Attributes:
        people: the users: ``ada`` signs in with ES256, ``grace`` with the legacy secret.
    """

    def __init__(self, canaries: Canaries) -> None:
        self.canaries = canaries
        self.issuer = Issuer([key_pair("ES256").jwk])
        self.issuer.may_answer.set()
        self.secrets = {name: canaries.plant(f"setting:{name}") * 2 for name in secret_settings()}
        self.services: dict[str, Watched] = {}
        self.people: dict[str, Person] = {}
        self.url = ""
        self.process: Process | None = None
        self._few = asyncio.Semaphore(10)
        self.client: httpx.AsyncClient

    def text(self, who: str, what: str) -> str:
        """Return a canary in a content: a text that only ``who`` may read."""
        return self.canaries.plant(f"text:{who}:{what}")

    def token(self, name: str, user_id: str, **claims: Any) -> str:
        """Return a token. Its canaries are its signature and its email address.

        A ``legacy`` token is signed with the secret of the project.
        """
        legacy = claims.pop("legacy", False)
        claims = self.issuer.claims(sub=user_id, email=f"{self.canaries.plant(f'email:{name}')}@example.com", **claims)
        if legacy:
            token = signed({"alg": "HS256", "typ": "JWT"}, claims, with_secret(self.secrets["supabase_jwt_secret"]))
        else:
            token = key_pair("ES256").token(claims)
        return self._planted(name, token)

    def _planted(self, name: str, token: str) -> str:
        self.canaries.plant(f"token:{name}", token.rpartition(".")[2][:40])
        return token

    async def ask(self, who: str, method: str, path: str, **asked: Any) -> httpx.Response:
        """Send a request, and record it and its answer. ``who`` may read the answer."""
        request = self.client.build_request(method, path, **asked)
        self.canaries.leak("sent", str(request.url), *(value for _, value in request.headers.raw), request.read())
        try:
            async with self._few:
                answer = await self.client.send(request)
        except httpx.HTTPError as error:
            self.canaries.leak(f"reply to {who}", str(error))
            return httpx.Response(599)
        head = [b"%b: %b" % pair for pair in answer.headers.raw]
        self.canaries.leak(f"reply to {who}", *head, answer.content)
        return answer

    async def graphql(self, who: str, query: str, variables: dict[str, Any], **headers: str) -> Any:
        """Send an operation as a user, and return its data."""
        body = {"query": query, "variables": variables}
        answer = await self.ask(who, "POST", "/graphql", json=body, headers=self.bearer(who, **headers))
        with contextlib.suppress(ValueError):
            return answer.json().get("data")

    def bearer(self, who: str, **more: str) -> dict[str, str]:
        """Return a user's headers, with secrets in headers that the gateway does not read."""
        extra = {name: self.canaries.plant(f"header:{who}:{name}") for name in sorted(REQUESTED)}
        return {"authorization": f"Bearer {self.people[who].token}", **extra, **more}

    async def introduce(self, who: str) -> None:
        """Read the ids of a user's first agent and its first block."""
        [agent] = (await self.graphql(who, VIEWER, {}))["viewer"]["agents"]["nodes"]
        self.people[who].agent_id, self.people[who].block_id = agent["id"], agent["memoryBlocks"][0]["id"]

    async def use(self, who: str, attempt: str) -> None:
        """Use each endpoint as a user. Each text that the user sends is a canary."""
        person = self.people[who]
        graph = [self.graphql(who, query, variables) for query, variables in self._operations(person, attempt)]
        streams = [
            self.graphql(who, query, {"i": given, "k": self._key(who, f"{attempt}{door}{number}")}, accept=accept)
            for door, accept in ACCEPTS.items()
            for number, (query, given) in enumerate(self._starts(person))
        ]
        await asyncio.gather(*graph, *streams, *self._rest(person, attempt), self._socket(person, attempt))

    def _key(self, who: str, attempt: str) -> str:
        return f"{self.canaries.plant(f'key:{who}')}-{attempt}"

    def _operations(self, person: Person, attempt: str) -> Iterator[tuple[str, dict[str, Any]]]:
        def text(what: str) -> str:
            return self.text(person.name, what)

        agent, key = person.agent_id, self._key(person.name, attempt)
        conversation = {"a": agent, "s": text("summary"), "k": f"{key}c"}
        message = {"to": {"agentId": agent}, "content": [{"text": text("message")}], "waitSeconds": 1}
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": text("prompt")}]}
        embedding = {"model": "text-embedding-3-small", "inputs": [text("embedded")], "idempotencyKey": f"{key}e"}
        template = {"templateId": "template:support-bot", "name": text("name"), "variables": {"v": text("variable")}}
        answer = {"requestId": f"message-{uuid.uuid4()}", "decision": "DENY", "reason": text("reason")}
        named = {"agentId": agent, "name": text("name"), "description": text("description"), "tags": [text("tag")]}
        yield AGENT, {"a": agent}
        yield documents.CREATE_CONVERSATION, conversation
        yield documents.INSERT_PASSAGE, {"a": agent, "t": text("passage"), "g": [text("tag")], "k": f"{key}p"}
        yield documents.UPDATE_MEMORY_BLOCK, {"b": person.block_id, "v": text("block")}
        yield documents.SEARCH_MEMORY, {"a": agent, "q": text("search")}
        yield documents.SEND_MESSAGE, {"i": message | {"idempotencyKey": f"{key}m"}}
        yield documents.UPDATE_AGENT, {"i": named}
        yield documents.RESPOND, {"i": answer}
        yield CREATE, {"i": template | {"idempotencyKey": f"{key}a"}}
        yield PUBLISH, {"s": text("template")}
        yield REVOKE, {"s": text("session")}
        yield COMPLETE, {"i": asked | {"idempotencyKey": f"{key}d"}}
        yield EMBED, {"i": embedding}
        yield f"query {text('operation')} {{ viewer {{ {text('field')} }} }} # {text('comment')}", {}
        yield "query($a: ID!) { agent(id: $a) { id } }", {"a": text("id")}
        yield "query($a: Int!) { viewer { agents(first: $a) { totalCount } } }", {"a": text("number"), text("more"): 1}
        yield "{ viewer { agents(after: " + json.dumps(text("cursor")) + ") { totalCount } } }", {}
        yield f"{{ {text('syntax')} ", {}

    def _starts(self, person: Person) -> Iterator[tuple[str, dict[str, Any]]]:
        said = self.text(person.name, "prompt")
        yield documents.MESSAGE, {"to": {"agentId": person.agent_id}, "content": [{"text": f"{said} [[tokens=3]]"}]}
        yield documents.COMPLETION, {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": said}]}

    def _rest(self, person: Person, attempt: str) -> Iterator[Any]:
        who, said = person.name, self.text(person.name, "prompt")
        tool = {"name": "roll", "arguments": json.dumps({"x": self.text(who, "argument")})}
        called = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": tool}]}
        result = {"role": "tool", "tool_call_id": "call_1", "content": self.text(who, "result")}
        chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": said}, called, result]}
        embeddings = {"model": "text-embedding-3-small", "input": self.text(who, "embedded")}
        keyed = self.bearer(who, **{"idempotency-key": self._key(who, f"{attempt}v")})
        secret = {"authorization": f"Bearer {self.agent_secret(who)}"}
        proxy = f"/api/v1/agents/{person.id}/proxy"
        for body in (chat, chat | {"stream": True}):
            yield self.ask(who, "POST", "/v1/chat/completions", json=body, headers=self.bearer(who))
            yield self.ask(who, "POST", f"{proxy}/chat/completions", json=body, headers=secret)
        yield self.ask(who, "POST", "/v1/chat/completions", json=chat, headers=keyed)
        yield self.ask(who, "POST", "/v1/embeddings", json=embeddings, headers=self.bearer(who))
        yield self.ask(who, "POST", f"{proxy}/embeddings", json=embeddings, headers=secret)
        yield self.ask(who, "GET", "/v1/models", headers=self.bearer(who))
        yield self.ask(who, "GET", f"/v1/models/{self.text(who, 'model')}", headers=self.bearer(who))
        bad = {"model": self.text(who, "model"), "messages": [{"role": self.text(who, "role")}], "x": said}
        yield self.ask(who, "POST", "/v1/chat/completions", json=bad, headers=self.bearer(who))
        yield self.ask(
            who, "POST", "/v1/chat/completions", json={**chat, "model": bad["model"]}, headers=self.bearer(who)
        )
        yield self.ask(who, "POST", "/v1/embeddings", content=f'{{"{said}', headers=self.bearer(who))
        big = {"query": "{ viewer { id } }", "variables": {"x": said * 5000}}
        yield self.ask(who, "POST", "/graphql", json=big, headers=self.bearer(who))
        yield self.ask(who, "POST", "/graphql", content=f"query={said}", headers=self.bearer(who))
        question = {"query": "{ viewer { id } }", "variables": json.dumps({"x": self.text(who, "address")})}
        yield self.ask(who, "GET", "/graphql", params=question, headers=self.bearer(who))
        yield self.ask(who, "DELETE", f"/{self.text(who, 'path')}", headers=self.bearer(who))

    async def call_models(self, who: str, attempt: str) -> None:
        """Make each kind of model call once. Each has a model of its own, whose breaker is closed."""
        secret = {"authorization": f"Bearer {self.agent_secret(who)}"}
        proxy, calls = f"/api/v1/agents/{self.people[who].id}/proxy", []
        messages = [{"role": "user", "content": self.text(who, "prompt")}]
        for number, (base, headers) in enumerate((("/v1", self.bearer(who)), (proxy, secret))):
            model = f"{attempt}-{number}"
            for stream in (True, False):
                body = {"model": f"{model}-{stream}", "messages": messages, "stream": stream}
                calls.append(self.ask(who, "POST", f"{base}/chat/completions", json=body, headers=headers))
            given = {"model": f"{model}-embedding", "input": self.text(who, "embedded")}
            calls.append(self.ask(who, "POST", f"{base}/embeddings", json=given, headers=headers))
        asked = {"model": f"{attempt}-graph", "messages": [{"role": "USER", "content": self.text(who, "prompt")}]}
        calls.append(self.graphql(who, COMPLETE, {"i": asked | {"idempotencyKey": self._key(who, attempt)}}))
        calls.append(self.ask(who, "GET", "/v1/models", headers=self.bearer(who)))
        await asyncio.gather(*calls)

    async def _socket(self, person: Person, attempt: str) -> None:
        messages: list[dict[str, Any]] = [
            {"type": "connection_init", "payload": {"authorization": f"Bearer {person.token}"}},
            {"type": "ping", "payload": {"x": self.text(person.name, "ping")}},
        ]
        started = [
            (query, {"i": given, "k": self._key(person.name, f"{attempt}w{number}")})
            for number, (query, given) in enumerate(self._starts(person))
        ]
        operations = [*self._operations(person, f"{attempt}w"), *started]
        for number, (query, variables) in enumerate(operations):
            payload = {"query": query, "variables": variables}
            messages.append({"type": "subscribe", "id": f"{number}", "payload": payload})
        messages.append({"type": self.text(person.name, "type")})  # closes the socket
        await self.talk(person.name, messages, len(operations))

    async def talk(self, who: str, messages: list[dict[str, Any]], operations: int = 0) -> None:
        """Send messages over a WebSocket; before the last one, wait until the operations have ended."""
        url = self.url.replace("http", "ws") + "/graphql"
        with contextlib.suppress(OSError):
            async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
                assert socket.response is not None
                self.canaries.leak(f"reply to {who}", str(socket.response.headers))
                *first, last = [json.dumps(message) for message in messages]
                self.canaries.leak("sent", *first, last)
                for message in first:
                    await socket.send(message)
                ended = 0
                while ended < operations:
                    heard = str(await socket.recv())
                    self.canaries.leak(f"reply to {who}", heard)
                    ended += json.loads(heard)["type"] in {"complete", "error"}
                await socket.send(last)
                await socket.wait_closed()
                self.canaries.leak(f"reply to {who}", str(socket.close_reason))

    def children(self) -> list[int]:
        """Return the processes that the process has started."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]

    def agent_secret(self, who: str) -> str:
        """Return the secret of a user's agents."""
        secret = agent_secret(self.secrets["agent_secret_master_key"], self.people[who].id)
        self.canaries.plant(f"agent secret:{who}", secret[-40:])
        return secret

    async def administer(self) -> None:
        """Publish a template, and revoke a session whose token is then used."""
        session = str(uuid.uuid4())
        self.people["revoked"] = Person("revoked", GRACE, self.token("revoked", GRACE, session_id=session))
        await self.graphql("admin", PUBLISH, {"s": f"af_version: {self.text('admin', 'template')}"})
        await self.graphql("admin", REVOKE, {"s": session})

    async def break_in(self) -> None:
        """Use each endpoint with tokens and secrets that are refused. Nobody may read the texts."""
        said = self.text("nobody", "prompt")
        body = {"query": f"mutation {{ {said} }}", "model": said, "messages": [{"role": "user", "content": said}]}
        key, stranger = key_pair("ES256"), key_pair("ES256", "stranger")
        refused = {
            "expired": self.token("expired", ADA, exp=int(time.time()) - 600),
            "forged": self._planted("forged", signed(key.header(), self.issuer.claims(), stranger.sign)),
            "anonymous": self.token("anonymous", ADA, is_anonymous=True),
            "service": self.token("service", ADA, role="service_role"),
            "revoked": self.people["revoked"].token,
            "API key": f"sb_secret_{self.canaries.plant('token:API key')}",
            "virtual key": f"sk-{self.canaries.texts['virtual key:ada']}",
            "agent secret": self.agent_secret("ada"),
            "cookie": self.canaries.plant("token:cookie"),
        }
        for token in refused.values():
            headers = {"authorization": f"Bearer {token}", "cookie": f"sb-access-token={token}"}
            paths = ("/graphql", "/v1/chat/completions", f"/api/v1/agents/{GRACE}/proxy/chat/completions")
            for path in paths:
                await self.ask("nobody", "POST", path, json=body, headers=headers)
            await self.ask("nobody", "GET", f"/graphql?query={said}&access_token={token}", headers=headers)
            await self.ask("nobody", "GET", "/metrics", headers=headers)
            await self.ask("nobody", "GET", "/health", headers=headers)
            await self.talk("nobody", [{"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}])

    async def operate(self) -> dict[str, int]:
        """Use the secrets that other programs than users have, and return the statuses."""
        headers = {"authorization": f"Bearer {self.secrets['letta_proxy_key']}"}
        path, body = f"/api/v1/agents/{ADA}/proxy/embeddings", {"model": "text-embedding-3-small", "input": "parcel"}
        letta = await self.ask("letta", "POST", path, json=body, headers=headers)
        headers = {"authorization": f"Bearer {self.secrets['metrics_token']}"}
        metrics = await self.ask("operator", "GET", "/metrics", headers=headers)
        health = await self.ask("operator", "GET", "/health", headers=headers)
        return {"letta": letta.status_code, "metrics": metrics.status_code, "health": health.status_code}

    async def answer(self, who: str) -> None:
        """Stream an answer whose text, reasoning and tool call are canaries."""
        call = {
            "index": 0,
            "id": self.text(who, "call"),
            "function": {"name": "f", "arguments": self.text(who, "call")},
        }
        deltas = (
            {"content": self.text(who, "answer")},
            {"reasoning": self.text(who, "reasoning")},
            {"tool_calls": [call]},
        )
        chunks = [
            {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": one}]} for one in deltas
        ]
        self.services["litellm"].say([*(json.dumps(one) for one in chunks), "[DONE]"])
        messages = [{"role": "user", "content": "hi"}]
        chat = {"model": "gpt-4o-mini", "stream": True, "messages": messages}
        await self.ask(who, "POST", "/v1/chat/completions", json=chat, headers=self.bearer(who))
        await self.graphql(who, COMPLETE, self._asked(who))
        self.services["litellm"].recover()

    def _asked(self, who: str) -> dict[str, Any]:
        messages = [{"role": "USER", "content": "hi"}]
        return {"i": {"model": "gpt-4o-mini", "messages": messages, "idempotencyKey": self._key(who, "answer")}}

    async def stop(self) -> None:
        """Stop the process with a signal while a turn and a completion stream, and wait for its end."""
        assert self.process is not None
        said = self.text("grace", "unfinished")
        content = f"{said} [[tokens=2000 delay=0.05]]"
        chat = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": content}]}
        streaming = self.ask("grace", "POST", "/v1/chat/completions", json=chat, headers=self.bearer("grace"))
        task = asyncio.create_task(streaming)
        while said.encode() not in self.canaries.sinks["to litellm"]:
            await asyncio.sleep(0.01)
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()
        await task


@asynccontextmanager
async def leaky_gateway(folder: Path, **settings: str) -> AsyncIterator[Leaky]:
    """Run the gateway with canaries until the context ends. Its output is recorded to the end."""
    leaky = Leaky(Canaries())
    async with AsyncExitStack() as stack:
        addresses = await _services(leaky, stack)
        given = {name.upper(): value for name, value in leaky.secrets.items()}
        path = {name: os.environ[name] for name in ("PATH",)}
        own = {
            "PYTHONPATH": str(ROOT),
            "PORT": "0",
            "HOST": "127.0.0.1",
            "XDG_DATA_HOME": str(folder),
            "TMPDIR": str(folder),
        }
        environment = {**path, **own, **given, **addresses, **settings}
        leaky.canaries.leak("given", *given.values(), *addresses.values())
        leaky.client = await stack.enter_async_context(http_client.client(timeout=30))
        process = await stack.enter_async_context(running("serve", folder=folder, environment=environment))
        leaky.process = process
        assert process.stdout is not None
        line = b""
        while b'"starting"' not in line:
            line = await process.stdout.readline()
            assert line, leaky.canaries.sinks["output"].decode()
            leaky.canaries.leak("output", line)
        port = re.search(rb'"port":(\d+)', line)
        assert port
        leaky.url = f"http://127.0.0.1:{port[1].decode()}"
        leaky.client.base_url = httpx.URL(leaky.url)
        reading = asyncio.create_task(_read(leaky, process.stdout))
        try:
            yield leaky
            await leaky.stop()
            await reading
        finally:
            reading.cancel()


async def _read(leaky: Leaky, output: asyncio.StreamReader) -> None:
    while piece := await output.read(65536):
        leaky.canaries.sinks["output"] += piece


async def _services(leaky: Leaky, stack: AsyncExitStack) -> dict[str, str]:
    """Start the services with the canaries as their keys, and return the settings with their addresses."""
    secrets, canaries = leaky.secrets, leaky.canaries
    options = EmbeddedOptions(
        words_per_second=5000, ams_key=secrets["supabase_service_key"], letta_key=secrets["letta_api_key"]
    )
    platform = EmbeddedPlatform(options)
    stack.push_async_callback(platform.stop_runs)
    jwks = Starlette(routes=[Route("/auth/v1/.well-known/jwks.json", leaky.issuer.jwks)])
    apps: dict[str, ASGIApp] = {
        "supabase": jwks,
        **{name: platform.service(name) for name in ("ams", "letta", "litellm")},
    }
    servers = {}
    for name, app in apps.items():
        leaky.services[name] = Watched(name, app, canaries)
        servers[name] = LoopbackServer(leaky.services[name])
        await servers[name].start()
        stack.push_async_callback(servers[name].stop)
    direct = LoopbackServer(platform.service("letta"))  # AMS's calls have no faults
    await direct.start()
    stack.push_async_callback(direct.stop)
    platform.reach_letta(direct.url, options.letta_key)
    leaky.issuer.url = servers["supabase"].url
    make_key(platform.state, secrets["litellm_api_key"], None)
    for name, user_id in (("ada", ADA), ("grace", GRACE)):
        key = f"sk-{canaries.plant(f'virtual key:{name}')}"
        make_key(platform.state, key, user_id, max_budget=5.0)
        platform.state.users[user_id].litellm_key = key
        canaries.leak("given", key)
        leaky.people[name] = Person(name, user_id, leaky.token(name, user_id, legacy=name == "grace"))
    admin = leaky.token("admin", ADA, app_metadata={"role": "admin"})
    leaky.people["admin"] = Person("admin", ADA, admin)
    redis_port = await stack.enter_async_context(listening(_redis(canaries)))
    password = canaries.plant("setting:redis_url")
    return {
        "ENVIRONMENT": "production",
        "SUPABASE_URL": servers["supabase"].url,
        "AMS_BASE_URL": servers["ams"].url,
        "LETTA_BASE_URL": servers["letta"].url,
        "LITELLM_BASE_URL": servers["litellm"].url,
        "REDIS_URL": f"redis://:{password}@127.0.0.1:{redis_port}/0",
    }


def _redis(canaries: Canaries) -> Any:
    """Return a Redis that refuses each password, and repeats it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(4096):
                canaries.leak("to redis", piece)
                writer.write(b"-WRONGPASS " + piece.hex().encode() + piece.replace(b"\r\n", b" ") + b"\r\n")
                await writer.drain()

    return serve
