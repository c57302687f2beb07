from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from app.rest.ends import ChatEnd
from app.rest.envelope import envelope, failure_of, refuse
from clients.codes import Reason
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    GatewayError,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    UnsupportedEncoding,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from resolvers.streams.events import Ended, StreamFailure, StreamOutcome

ERRORS: list[GatewayError] = [
    BadUserInput("m", reason=Reason.CONTEXT_LENGTH, details={"param": "messages"}),
    BadUserInput("m", reason=Reason.CONTENT_FILTER),
    BadUserInput("m", details={"param": "max_tokens"}),
    NotFound("m", reason=Reason.MODEL_NOT_FOUND),
    RateLimited("m", retry_after_seconds=3),
    RateLimited("m", reason=Reason.RATE_LIMIT_LLM),
    BudgetExceeded("m"),
    PayloadTooLarge("m"),
    UpstreamTimeout("m", reason=Reason.FIRST_TOKEN),
    UpstreamUnavailable("m", reason=Reason.BREAKER_OPEN),
    UpstreamError("m", reason=Reason.MODEL),
    Overloaded("m", reason=Reason.STREAMS),
    GatewayError("m"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error.code}-{error.reason}")
def test_an_error_has_the_same_body_as_an_answer_and_at_the_end_of_a_stream(error: GatewayError) -> None:
    ended = Ended(outcome=StreamOutcome.FAILED, error=StreamFailure.of(error))
    failure = failure_of(ended)
    assert failure is not None
    told = ChatEnd().failure(failure)
    assert told.startswith(b"data: ")
    assert told.endswith(b"\n\n")
    assert json.loads(told.removeprefix(b"data: ")) == envelope(error)


def test_a_cancelled_stream_ends_in_an_error_and_a_completed_one_in_none() -> None:
    cancelled = failure_of(Ended(outcome=StreamOutcome.CANCELLED))
    assert cancelled is not None
    told = envelope(cancelled)["error"]
    assert (told["type"], told["code"], told["param"]) == ("api_error", "cancelled", None)
    assert failure_of(Ended(outcome=StreamOutcome.COMPLETED)) is None


async def refusal(error: GatewayError) -> tuple[int, dict[str, str], dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await refuse(send, error)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, orjson.loads(sent[1]["body"])["error"]


@pytest.mark.parametrize(("seconds", "again"), [(None, None), (5.5, None), (90, None), (121, "false"), (3600, "false")])
async def test_a_long_wait_tells_sdks_not_to_retry(seconds: float | None, again: str | None) -> None:
    status, headers, body = await refusal(RateLimited("Slow down.", retry_after_seconds=seconds))
    assert status == 429
    assert body.get("retry_after_seconds") == seconds
    assert headers.get("x-should-retry") == again


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (Unauthenticated("Sign in."), 401, ("www-authenticate", "Bearer")),
        (UnsupportedEncoding("No."), 415, ("accept-encoding", "gzip, deflate")),
        (BadUserInput("No."), 400, None),
    ],
)
async def test_a_refusal_has_the_headers_of_its_status(
    error: GatewayError, status: int, header: tuple[str, str] | None
) -> None:
    seen, headers, _ = await refusal(error)
    assert seen == status
    named = {"www-authenticate", "accept-encoding"} & headers.keys()
    assert [(name, headers[name]) for name in named] == ([header] if header else [])
