from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from app.rest.ends import ChatEnd
from app.rest.envelope import envelope, failure_of, refuse
from app.rest.requests import Chat, Embeddings, check
from clients.calls import Answer, UpstreamRejected
from clients.codes import ErrorCode, Reason
from clients.errors import (
    HTTP_STATUS,
    BadUserInput,
    GatewayError,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    UnsupportedEncoding,
    error_of,
)
from clients.litellm.refusals import failure_in_stream, translate, wire_error
from resolvers.streams.events import Ended, StreamFailure, StreamOutcome


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


HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def errors() -> Iterator[GatewayError]:
    """Yield an error for each code and reason."""
    pairs: list[tuple[ErrorCode, Reason | None]] = [(code, reason) for reason in Reason for code in reason.meanings]
    pairs += [(code, None) for code in HTTP_STATUS]
    for code, reason in pairs:
        more: dict[str, Any] = {"details": {"param": "top_k"}, "retry_after_seconds": 7.0}
        yield error_of(code, "The message.", retryable=False, reason=reason, **more)
        yield error_of(code, "The message.", retryable=True, reason=reason)


def ending(error: GatewayError) -> Any:
    """Return the data of the event that ends a stream."""
    failure = failure_of(Ended(outcome=StreamOutcome.FAILED, error=StreamFailure.of(error)))
    assert failure is not None
    event = ChatEnd().failure(failure)
    return orjson.loads(event.removeprefix(b"data: "))["error"]


async def test_each_reason_has_one_name_before_and_within_a_stream() -> None:
    kinds: dict[str, set[str]] = {}
    for error in errors():
        _, _, body = await refusal(error)
        assert ending(error) == body
        kinds.setdefault(error.code, set()).add(body["type"])
        assert body["code"] == body["code"].lower()
    assert {code for code, names in kinds.items() if len(names) != 1} == set()


def checked(shape: type[Chat | Embeddings], **body: Any) -> GatewayError:
    """Return the gateway's refusal of a request."""
    with pytest.raises(BadUserInput) as refused:
        check({**HI, **body} if shape is Chat else body, shape)
    return refused.value


SAME: list[tuple[GatewayError, int, dict[str, Any]]] = [
    (checked(Chat, top_k="x"), 400, {"message": "Invalid type for 'top_k': expected a number.", "param": "top_k"}),
    (checked(Chat, top_k="x"), 422, {"message": "x does not support parameters: ['top_k']"}),
    (checked(Chat, beam=1), 400, {"message": "Unknown parameter: 'beam'."}),
    (checked(Chat, beam=1), 400, {"message": "Unrecognized request argument supplied: beam"}),
    (checked(Embeddings, model="m", input=1), 400, {"message": "Invalid value for 'input'.", "param": "input"}),
    (PayloadTooLarge("Too large."), 413, {"message": "Request Entity Too Large"}),
    (NotFound("x", reason=Reason.MODEL_NOT_FOUND), 404, {"message": "The model does not exist."}),
    (NotFound("x", reason=Reason.MODEL_NOT_FOUND), 400, {"message": "/x: Invalid model name passed in model=m."}),
    *[
        (RateLimited("x", reason=reason), 429, {"message": "Rate limit reached", "type": "throttling_error"})
        for reason in Reason
        if reason.startswith("RATE_LIMIT_") or reason is Reason.MODEL_RATE_LIMIT
    ],
]


@pytest.mark.parametrize(("own", "status", "wire"), SAME)
def test_a_refusal_of_the_gateway_has_the_name_of_litellms(
    own: GatewayError, status: int, wire: dict[str, Any]
) -> None:
    error = {"type": None, "param": None, "code": str(status), **wire}
    by_status = translate(UpstreamRejected(Answer(status, {}, orjson.dumps({"error": error}))))
    in_stream = failure_in_stream(wire_error(error))
    names = [{**envelope(one)["error"], "message": ""} for one in (own, by_status, in_stream)]
    assert names[0] == names[1] == names[2]
