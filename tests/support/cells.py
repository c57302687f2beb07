"""Requests of clients whose upstream call fails, and the answers that the clients get."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
import orjson

from tests.support.documents import COMPLETION, MESSAGE, SEND_MESSAGE, STREAM_FIELDS
from tests.support.faulting import MARK
from tests.support.stack import Stack
from tests.support.streaming import completion, expected, message_input

ENDED = STREAM_FIELDS.replace("error { code reason", "error { code reason retryable retryAfterSeconds", 1)


class Seen(NamedTuple):
    """The client's side of a row."""

    http: int
    error: dict[str, Any]
    kept: str


@dataclass
class Cell:
    """One request of a client.

    Attributes:
        key: its idempotency key or stream key.
        agent_id: an agent that only this cell uses.
        token: the access token.
    """

    stack: Stack
    request_id: str
    agent_id: str = ""
    token: str = ""
    key: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "x-request-id": self.request_id}

    async def graphql(self, query: str, variables: dict[str, Any]) -> tuple[httpx.Response, dict[str, Any]]:
        asked = {"query": query, "variables": variables}
        response = await self.stack.client.post("/graphql", json=asked, headers=self.headers)
        assert MARK not in response.text, response.text
        return response, response.json()

    async def read(self, query: str, rest: Callable[[dict[str, Any]], bool]) -> Seen:
        """Send a query. ``rest`` tells whether the data of other services and calls is there."""
        response, answer = await self.graphql(query, {"a": self.agent_id})
        errors, data = answer.get("errors", []), answer.get("data")
        if not errors:
            return Seen(response.status_code, {}, "all")
        assert len({error["extensions"]["code"] for error in errors}) == 1, answer
        if data is not None:
            assert all(_at(data, error["path"]) is None for error in errors), answer
        return Seen(response.status_code, errors[0]["extensions"], "other fields" if data and rest(data) else "nothing")

    async def written(self, query: str, given: dict[str, Any]) -> tuple[Seen, dict[str, Any] | None]:
        """Send a mutation. Return the payload, too."""
        response, answer = await self.graphql(query, {"i": given})
        if errors := answer.get("errors", []):
            return Seen(response.status_code, errors[0]["extensions"], "nothing"), None
        [payload] = answer["data"].values()
        assert payload["errors"] == [], answer
        return Seen(response.status_code, {}, "all"), payload

    async def subscribe(self, query: str, given: dict[str, Any]) -> Seen:
        """Send a subscription as GraphQL over SSE, and read it to its end."""
        asked = {"query": query, "variables": {"i": given, "k": self.key}}
        headers = {**self.headers, "accept": "text/event-stream"}
        response = await self.stack.client.post("/graphql", json=asked, headers=headers)
        assert MARK not in response.text, response.text
        if not response.headers["content-type"].startswith("text/event-stream"):
            return Seen(response.status_code, response.json()["errors"][0]["extensions"], "nothing")
        lines = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: {")]
        payloads = [orjson.loads(line) for line in lines]
        if "data" not in payloads[-1]:
            return Seen(response.status_code, payloads[-1]["errors"][0]["extensions"], "nothing")
        events = [next(iter(payload["data"].values())) for payload in payloads]
        kinds = [event["__typename"] for event in events]
        assert kinds[-1] == "StreamEnded", kinds
        if (error := events[-1]["error"]) is None:
            return Seen(response.status_code, {}, "all")
        return Seen(response.status_code, error, "the text so far" if "TextDelta" in kinds else "the stream's id")

    async def v1(self, *, stream: bool) -> Seen:
        """Send a chat completion."""
        message = {"role": "user", "content": "hi [[tokens=8 delay=0]]"}
        body = {"model": self.stack.chat_model, "messages": [message], "stream": stream}
        headers = {**self.headers, "idempotency-key": self.key}
        response = await self.stack.client.post("/v1/chat/completions", json=body, headers=headers)
        assert MARK not in response.text, response.text
        if response.status_code == 200 and not response.headers["content-type"].startswith("text/event-stream"):
            return Seen(200, {}, "all")
        if response.status_code != 200:
            error = response.json()["error"]
            return Seen(response.status_code, _of_openai(error, response), "nothing")
        events = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
        if events[-1] == "[DONE]":
            return Seen(200, {}, "all")
        has_text = any('"content"' in event for event in events[:-1])
        return Seen(
            200, _of_openai(orjson.loads(events[-1])["error"], None), "the text so far" if has_text else "nothing"
        )


def _at(data: Any, path: Iterable[str | int]) -> Any:
    for key in path:
        if data is None:
            return None
        data = data[key]
    return data


def _of_openai(error: dict[str, Any], response: httpx.Response | None) -> dict[str, Any]:
    found = {"code": error["type"], "reason": error["code"]}
    if response is None:
        return found
    status = response.status_code
    repeats = (status in {408, 409, 429} or status >= 500) and response.headers.get("x-should-retry") != "false"
    after = response.headers.get("retry-after")
    return {**found, "retryable": repeats, "retryAfterSeconds": None if after is None else float(after)}


Run = Callable[[Cell], Awaitable[Seen]]


@dataclass(frozen=True)
class Operation:
    """A kind of request, and the upstream call that fails.

    Attributes:
        name: as in the data file.
        method, path: of the failing call; the end of its path.
        call: its name in the log.
        has_key: whether the request has a key.
        text: its description for the page.
    """

    name: str
    method: str
    path: str
    call: str
    run: Run
    text: str
    has_key: bool = True
    needs_agent: bool = False


AGENT = "query($a: ID!) { agent(id: $a) { id version name } }"
OWN = "{ viewer { email agents { nodes { id } } } }"
MODELS = "{ viewer { email } models { name } }"
CREATE = "mutation($i: CreateAgentInput!) { createAgent(input: $i) { agent { id } errors { message } } }"
COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { text errors { message } } }"
WORDS = "tokens=8 delay=0"


def _subscription(query: str) -> str:
    return query.replace(STREAM_FIELDS, ENDED)


async def _create(cell: Cell) -> Seen:
    variables = {"company": "Sea"}
    given = {"templateId": "template:support-bot", "variables": variables, "idempotencyKey": cell.key}
    return (await cell.written(CREATE, given))[0]


async def _send(cell: Cell) -> Seen:
    given = message_input(cell.agent_id, WORDS, idempotencyKey=cell.key, waitSeconds=5)
    seen, payload = await cell.written(SEND_MESSAGE, given)
    if payload is not None and payload["stream"]["text"] != expected(8):
        return seen._replace(kept="the run, and the text so far")
    return seen


async def _complete(cell: Cell) -> Seen:
    return (await cell.written(COMPLETE, completion(cell.stack, WORDS, idempotencyKey=cell.key)))[0]


async def _message(cell: Cell) -> Seen:
    return await cell.subscribe(_subscription(MESSAGE), message_input(cell.agent_id, WORDS))


async def _completion(cell: Cell) -> Seen:
    return await cell.subscribe(_subscription(COMPLETION), completion(cell.stack, WORDS))


async def _v1(cell: Cell) -> Seen:
    return await cell.v1(stream=False)


async def _v1_streamed(cell: Cell) -> Seen:
    return await cell.v1(stream=True)


async def read_own(cell: Cell) -> Seen:
    return await cell.read(OWN, lambda data: data["viewer"]["email"] is not None)


async def _agent(cell: Cell) -> Seen:
    return await cell.read(AGENT, lambda data: data["agent"] is not None and data["agent"]["version"] is not None)


async def _models(cell: Cell) -> Seen:
    return await cell.read(MODELS, lambda data: data["viewer"]["email"] is not None)


CHAT = "/v1/chat/completions"
SEND = "/messages"
JWKS = "jwks.json"

OPERATIONS: dict[str, tuple[Operation, ...]] = {
    "ams": (
        Operation("query", "GET", "/me", "me", read_own, "`viewer { email agents }` reads the profile", has_key=False),
        Operation("mutation", "POST", "/agents/create", "agent.create", _create, "`createAgent` creates the agent"),
        Operation("subscription", "GET", "/me", "me", _completion, "`completion` reads the user's virtual key"),
        Operation("v1", "GET", "/me", "me", _v1, "a chat completion reads the user's virtual key"),
    ),
    "letta": (
        Operation(
            "query",
            "GET",
            "",
            "agents",
            _agent,
            "`agent { id version name }` reads the name",
            has_key=False,
            needs_agent=True,
        ),
        Operation("mutation", "POST", SEND, "send", _send, "`sendMessage` sends the message", needs_agent=True),
        Operation(
            "subscription",
            "POST",
            SEND,
            "send",
            _message,
            "`message` sends the message, and reads the answer",
            needs_agent=True,
        ),
    ),
    "litellm": (
        Operation(
            "query", "GET", "/model_group/info", "models", _models, "`models { name }` reads the list", has_key=False
        ),
        Operation("mutation", "POST", CHAT, "complete", _complete, "`complete` calls the model"),
        Operation("subscription", "POST", CHAT, "complete", _completion, "`completion` calls the model"),
        Operation("v1", "POST", CHAT, "chat", _v1, "a chat completion calls the model"),
        Operation(
            "v1 streamed", "POST", CHAT, "chat", _v1_streamed, "a chat completion with `stream: true` calls the model"
        ),
    ),
    "supabase": (
        Operation("query", "GET", JWKS, "jwks", read_own, "a query with a token whose key is unknown", has_key=False),
        Operation("mutation", "GET", JWKS, "jwks", _complete, "a mutation with such a token"),
        Operation("subscription", "GET", JWKS, "jwks", _completion, "a subscription with such a token"),
        Operation("v1", "GET", JWKS, "jwks", _v1, "a chat completion with such a token"),
    ),
}
