"""How Letta is asked: ids that may go into a path, one way to ask, and what its refusals mean.

Nothing here decides who may ask: ``resolvers.access`` does.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeVar

import msgspec

from clients.calls import Answer, Call, CallScope, UpstreamRejected
from clients.decode import acknowledged, decode
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    Conflict,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Service,
    UpstreamError,
    UpstreamTimeout,
)
from clients.retry_after import retry_after_seconds
from clients.upstream import Upstream

MAX_PAGE = 100

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"(?:agent|conv|run|message|block|tool|passage|step)-{_UUID}\Z")

T = TypeVar("T")


def is_letta_id(value: str, kind: str) -> bool:
    """Whether ``value`` has the form of a Letta id of ``kind`` (``agent``, ``conv``, ``run``, …).

    Everything that goes into a Letta path is checked by this first, so that no id can be a path of its own.
    """
    return value.startswith(f"{kind}-") and _ID.match(value) is not None


class Wire:
    """The one way to ask Letta, which the modules of its areas share."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def ask(self, scope: CallScope, call: Call) -> Answer:
        """One call, its whole answer; a refusal as the caller's own error."""
        try:
            return await self.upstream.request(scope, call)
        except UpstreamRejected as rejected:
            raise translate(rejected) from rejected

    async def tell(self, scope: CallScope, call: Call) -> None:
        """One call whose answer is not read."""
        await self.ask(scope, replace(call, check=acknowledged(Service.LETTA)))

    async def read(self, scope: CallScope, decoder: msgspec.json.Decoder[T], call: Call) -> T:
        """One call, its answer decoded."""
        return decode(Service.LETTA, decoder, (await self.ask(scope, call)).body)


class _Refusal(msgspec.Struct):
    run_id: str | None = None


_REFUSAL = msgspec.json.Decoder(_Refusal)


def translate(rejected: UpstreamRejected) -> Exception:
    """What a refusal by Letta means to the caller. Its own text can leak internals and is never passed on."""
    wait = retry_after_seconds(rejected.headers)
    match rejected.status:
        case 404:
            return NotFound("Not found.", service=Service.LETTA)
        case 400 | 422:
            return BadUserInput("Letta refused the request.", service=Service.LETTA)
        case 409:
            run_id = decode(Service.LETTA, _REFUSAL, rejected.body).run_id
            return Conflict(
                "The conversation is busy with another run." if run_id else "Letta refused: the state conflicts.",
                reason="RUN_BUSY" if run_id else None,
                service=Service.LETTA,
                details={"runId": run_id} if run_id else None,
            )
        case 401 | 403:
            return UpstreamError(
                "Letta refused the gateway's credential.", reason="CREDENTIAL", service=Service.LETTA, can_retry=False
            )
        case 402:
            return BudgetExceeded("Letta's credits are spent.", service=Service.LETTA)
        case 408:
            return UpstreamTimeout(
                "Letta did not do it in time.", reason="TOTAL", service=Service.LETTA, retry_after_seconds=wait
            )
        case 413:
            return PayloadTooLarge("Letta refused the request: it is too large.", service=Service.LETTA)
        case 429:
            return RateLimited("Letta's rate limit is reached.", service=Service.LETTA, retry_after_seconds=wait)
        case status:
            return UpstreamError(
                f"Letta answered with status {status}.",
                reason="STATUS",
                service=Service.LETTA,
                can_retry=False,
                retry_after_seconds=wait,
            )
