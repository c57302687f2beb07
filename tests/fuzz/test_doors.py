"""Whatever bytes a client sends, the gateway answers by its rules, logs no error and keeps its memory.

``FUZZ_SECONDS`` says for how long in all, with other inputs each time; without it, the same ones for thirty seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from clients.codes import ErrorCode
from tests.fuzz import frames, requests, wire
from tests.support.attack import Target, attacked

SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
SHARE = SECONDS / 3
"""What each of the three gets."""
BATCH = 100
START = 0 if "FUZZ_SECONDS" not in os.environ else time.time_ns()
GROWTH_BYTES = 48 * 1024 * 1024
"""What the caches, which are bounded, may still take after the warm-up."""
DECLARED = {code.value for code in ErrorCode} - {"INTERNAL_ERROR"}
ANSWER_SECONDS, INCOMPLETE_SECONDS = 20.0, 0.05
NO_LIMITS = {"RATE_LIMIT_GENERAL": "0", "RATE_LIMIT_LLM": "0", "SIGN_IN_FAILURES_PER_MINUTE": "0"}

in_one_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = [in_one_loop, pytest.mark.timeout(SECONDS * 3 + 60)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with attacked(tmp_path_factory.mktemp("fuzz"), **NO_LIMITS) as running:
        yield running


async def fuzzed(target: Target, check: Callable[..., None], **given_by: st.SearchStrategy[Any]) -> None:
    """Check examples for a time. After a quarter of it, which is the warm-up, memory and log are checked too."""
    seeds, logged = itertools.count(START), len(target.log)

    def until(end: float) -> None:
        while time.monotonic() < end:
            chosen = settings(max_examples=BATCH, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            seed(next(seeds))(chosen(given(**given_by)(check)))()

    await asyncio.to_thread(until, time.monotonic() + SHARE / 4)
    async with target.measured() as cost:
        await asyncio.to_thread(until, time.monotonic() + SHARE * 3 / 4)
    assert cost.rss_bytes < GROWTH_BYTES
    assert errors_in(target.log[logged:]) == []
    async with target.client(None) as client:
        assert (await client.get("/ping")).status_code == 200


def errors_in(log: bytearray) -> list[str]:
    """Return the lines of a log that report a fault of the gateway."""
    lines = log.decode(errors="replace").splitlines()
    return [line for line in lines if '"level":"error"' in line or '"level":"critical"' in line or "Traceback" in line]


def check_status(status: int, body: bytes) -> None:
    """Assert that a 5xx status is documented, with its code."""
    if status >= 500:
        assert code_of(body).upper() in DECLARED, (status, body)


def code_of(body: bytes) -> str:
    """Return the code of an error, at either door."""
    answer: Any = json.loads(body)
    if "error" in answer:
        return str(answer["error"]["code"])
    return str(answer["errors"][0]["extensions"]["code"])


async def test_requests_of_any_bytes_get_a_valid_answer(target: Target) -> None:
    token = target.token()

    def one(sent: requests.Sent) -> None:
        answer = wire.ask(target.address, sent.pieces, ANSWER_SECONDS if sent.whole else INCOMPLETE_SECONDS)
        assert answer.status or not sent.whole, "no answer"
        check_status(answer.status, answer.body)

    await fuzzed(target, one, sent=requests.requests(token))


async def test_frames_of_any_bytes_cause_no_internal_error(target: Target) -> None:
    sign_in = frames.init(target.token())
    ping = frames.frame(b"fuzz", wire.PING)

    def one(*, sent: list[bytes], signed_in: bool) -> None:
        first = [sign_in] if signed_in else []
        code = wire.close_code(target.address, frames.HANDSHAKE, [*first, *sent, ping], ANSWER_SECONDS)
        assert code != 1011, "the gateway failed"

    await fuzzed(target, one, sent=frames.frames, signed_in=st.booleans())


async def test_generated_requests_to_v1_get_a_valid_answer(target: Target) -> None:
    async with target.client(None) as client:
        document = (await client.get("/openapi.json")).json()
    described = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in described.get_all_operations() if isinstance(found, Ok)]
    assert {"/v1/chat/completions", "/v1/embeddings", "/v1/models"} <= {one.path for one in operations}

    def one(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations))
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        answer = case.call(base_url=target.url, headers=target.headers(), timeout=ANSWER_SECONDS)
        check_status(answer.status_code, answer.content)

    await fuzzed(target, one, data=st.data())
