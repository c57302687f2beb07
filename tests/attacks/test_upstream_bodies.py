"""Upstream answers that are too large, have too many values, or do not end."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.embedded.people import ADA, GRACE
from clients.http.connection import MAX_HEADER_BYTES, MAX_HEADERS
from tests.support.attack import Target, attacked
from tests.support.oddserver import Scripted, odd_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

MIB = 2**20
LARGEST_LIST = 16 * MIB
AGENT = "agent-00000000-0000-4000-8000-00000000000a"
PROFILE = json.dumps({"id": ADA, "profile_exists": True, "agents": [{"agent_id": AGENT}]}).encode()
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
STREAM = Scripted(headers={"content-type": "text/event-stream"}, pieces=[CHUNK, 0.02] * 5000)


class Upstreams:
    """AMS, Letta and LiteLLM with scripted answers by path, and small default answers."""

    def __init__(self) -> None:
        self.odd: dict[str, Scripted] = {}

    def __call__(self, method: str, path: str, body: bytes) -> Scripted:
        path = path.partition("?")[0]
        if path in self.odd:
            return self.odd[path]
        if path == "/ams/me":
            return Scripted(pieces=[PROFILE])
        if path == "/litellm/v1/chat/completions":
            return STREAM
        return Scripted(pieces=[b"[]"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Target, Upstreams]]:
    upstreams = Upstreams()
    async with odd_server(upstreams) as url:
        settings = {
            "BREAKER_FAILURES": "1000",  # each test makes several unreadable answers
            "BREAKER_CALLS": "1000",
            "AMS_BASE_URL": f"{url}/ams",
            "SUPABASE_SERVICE_KEY": "k",
            "LETTA_BASE_URL": f"{url}/letta",
            "LETTA_API_KEY": "k",
            "LITELLM_BASE_URL": f"{url}/litellm",
            "LITELLM_API_KEY": "sk-" + "0" * 20,
        }
        async with attacked(tmp_path_factory.mktemp("gateway"), **settings) as target:
            yield target, upstreams


TEMPLATES = "{ templates { nodes { id name } } }"
AGENT_NAME = f'{{ agent(id: "{AGENT}") {{ name }} }}'
MESSAGES = f'{{ agent(id: "{AGENT}") {{ messages {{ nodes {{ id }} }} }} }}'
MODELS = "{ models { name } }"
LETTAS_MESSAGES = "/letta/v1/conversations/default/messages"


def filled(start: bytes, piece: bytes, end: bytes, size: int) -> bytes:
    """Return JSON of about this size."""
    return start + piece * ((size - len(start) - len(end)) // len(piece)) + end


async def reason(target: Target, query: str) -> Any:
    """Return the reason of the error of a query or of a REST path."""
    async with target.client() as client:
        if query.startswith("/"):
            return (await client.get(query)).json()["error"]["code"].upper()
        return (await client.post("/graphql", json={"query": query})).json()["errors"][0]["extensions"]["reason"]


HUGE: list[tuple[str, str, bytes, bytes, int]] = [
    ("/ams/templates", TEMPLATES, b'{"templates":[', b'{"id":"a","tags":["b"]},', 60),
    (f"/letta/v1/agents/{AGENT}", AGENT_NAME, b'{"id":"agent-1","tags":[', b'"tag",', 100),
    (LETTAS_MESSAGES, MESSAGES, b"[", b'{"id":"message-1","message_type":"user_message","content":"a"},', 60),
    ("/litellm/model_group/info", MODELS, b'{"data":[', b'{"model_group":"a","providers":["b"]},', 60),
    ("/litellm/v1/models", "/v1/models", b'{"data":[', b'{"id":"a"},', 60),
]


@pytest.mark.parametrize(("path", "query", "start", "record", "mib"), HUGE, ids=[path for path, *_ in HUGE])
async def test_a_huge_answer_takes_no_more_memory_than_its_bound(
    served: tuple[Target, Upstreams], path: str, query: str, start: bytes, record: bytes, mib: int
) -> None:
    target, upstreams = served
    end = record[:-1] + (b"]" if start == b"[" else b"]}")
    pieces: list[bytes | float] = [start, *[record * (MIB // len(record))] * mib, end]
    upstreams.odd = {path: Scripted(pieces=pieces, close=True)}
    async with target.bystander(GRACE), target.measured() as cost:
        assert await reason(target, query) == "TOO_LARGE"
    assert cost.peak_rss_bytes < 3 * LARGEST_LIST


async def test_a_compressed_answer_is_bounded_by_its_decoded_size(served: tuple[Target, Upstreams]) -> None:
    target, upstreams = served
    packed = gzip.compress(b" " * 100 * MIB, compresslevel=1)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    upstreams.odd = {f"/letta/v1/agents/{AGENT}": Scripted(headers=headers, pieces=[packed])}
    async with target.bystander(GRACE), target.measured() as cost:
        assert await reason(target, AGENT_NAME) == "TOO_LARGE"
    assert cost.peak_rss_bytes < 3 * LARGEST_LIST


async def test_an_error_of_100_mb_is_an_error_of_its_status(served: tuple[Target, Upstreams]) -> None:
    target, upstreams = served
    upstreams.odd = {f"/letta/v1/agents/{AGENT}": Scripted(status=503, pieces=[b"x" * MIB] * 100, close=True)}
    async with target.bystander(GRACE), target.measured() as cost:
        assert await reason(target, AGENT_NAME) == "STATUS"
    assert cost.peak_rss_bytes < LARGEST_LIST


TEMPLATE, MESSAGE = b'{"id":"template"},', b'{"id":"message-1","message_type":"user_message","content":"a"},'
CROWDED: list[tuple[str, str, bytes, str]] = [
    ("/ams/templates", TEMPLATES, filled(b'{"templates":[', b"{},", b"{}]}", 4 * MIB - 9), "TOO_LARGE"),
    ("/ams/templates", TEMPLATES, filled(b'{"templates":[', TEMPLATE, TEMPLATE[:-1] + b"]}", 50_000 * 17), "DECODE"),
    (LETTAS_MESSAGES, MESSAGES, filled(b"[", b"1,", b"1]", 15 * MIB), "TOO_LARGE"),
    (LETTAS_MESSAGES, MESSAGES, filled(b"[", MESSAGE, MESSAGE[:-1] + b"]", 12 * 10**6), "DECODE"),
    ("/litellm/v1/models", "/v1/models", filled(b'{"data":[', b"{},", b"{}]}", 15 * MIB), "TOO_LARGE"),
]


@pytest.mark.parametrize(
    ("path", "query", "body", "why"), CROWDED, ids=lambda value: "" if isinstance(value, bytes) else value
)
async def test_an_answer_of_many_values_does_not_hold_the_loop(
    served: tuple[Target, Upstreams], path: str, query: str, body: bytes, why: str
) -> None:
    target, upstreams = served
    upstreams.odd = {path: Scripted(pieces=[body])}
    async with target.bystander(GRACE), target.measured() as cost:
        assert await reason(target, query) == why
    assert cost.cpu_seconds < 2


def headed(count: int, length: int = 1) -> Scripted:
    lines = b"".join(b"x-%d: %b\r\n" % (index, b"a" * length) for index in range(count))
    return Scripted(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + lines + b"\r\n[]")


@pytest.mark.bound("upstream-headers")
async def test_an_answer_has_as_many_headers_as_the_bound_and_no_more(served: tuple[Target, Upstreams]) -> None:
    target, upstreams = served
    for answer, why in [
        (headed(MAX_HEADERS - 1), "DECODE"),  # ``[]`` is no agent
        (headed(MAX_HEADERS), "CUT"),
        (headed(1, MAX_HEADER_BYTES - len("x-0")), "DECODE"),
        (headed(1, MAX_HEADER_BYTES + 1), "CUT"),
        (headed(20_000, 1000), "CUT"),
    ]:
        upstreams.odd = {f"/letta/v1/agents/{AGENT}": answer}
        async with target.bystander(GRACE), target.measured() as cost:
            assert await reason(target, AGENT_NAME) == why
        assert cost.peak_rss_bytes < LARGEST_LIST
