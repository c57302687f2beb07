from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.asgi import retry_after
from app.rest.envelope import refuse
from clients.errors import BadUserInput, GatewayError, RateLimited, Unauthenticated, UnsupportedEncoding


async def refusal(error: GatewayError) -> tuple[int, dict[str, str], dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await refuse(send, error)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, orjson.loads(sent[1]["body"])["error"]


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, None), (0, "1"), (0.2, "1"), (58.2, "59"), (59, "59"), (60, "59"), (1e9, "59")]
)
def test_a_retry_after_header_is_whole_seconds_of_less_than_a_minute(seconds: float | None, told: str | None) -> None:
    assert retry_after(seconds).get("retry-after") == told


@pytest.mark.parametrize(("seconds", "again"), [(None, None), (5.5, None), (90, None), (121, "false"), (3600, "false")])
async def test_the_body_has_the_true_wait_and_a_long_one_is_not_worth_a_retry(
    seconds: float | None, again: str | None
) -> None:
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
