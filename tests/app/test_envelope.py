from __future__ import annotations

import json

import pytest

from app.rest.envelope import envelope, failure_event
from clients.codes import Reason
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    GatewayError,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
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
    told = failure_event(ended)
    assert told.startswith(b"data: ")
    assert told.endswith(b"\n\n")
    assert json.loads(told.removeprefix(b"data: ")) == envelope(error)


def test_a_cancelled_stream_ends_in_an_error_and_a_completed_one_in_none() -> None:
    told = json.loads(failure_event(Ended(outcome=StreamOutcome.CANCELLED)).removeprefix(b"data: "))["error"]
    assert (told["type"], told["code"], told["param"]) == ("api_error", "cancelled", None)
    assert failure_event(Ended(outcome=StreamOutcome.COMPLETED)) == b""
