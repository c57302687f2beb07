"""Converts Letta's refusals to the gateway's errors."""

import re
from typing import Any

import msgspec

from clients import refusals
from clients.calls import UpstreamRejected
from clients.codes import Reason
from clients.decode import UNREADABLE
from clients.errors import BadUserInput, BudgetExceeded, Conflict, GatewayError, Service, UpstreamTimeout
from clients.letta.app_server import is_bare
from clients.letta.ids import UUID, is_letta_id
from clients.overflow import is_too_long
from clients.retry_after import retry_after_seconds

APPROVAL_PENDING = "The conversation waits for an approval. Approve or deny the tool call first."
"""The error message for a conversation that waits for a user's approval."""

_REFUSAL = msgspec.json.Decoder(dict[str, Any])
_RUN_ID = re.compile(rf"run_id=(run-{UUID})")


def translate(rejected: UpstreamRejected) -> GatewayError:
    """Return the error for a call that Letta refused."""
    wait = retry_after_seconds(rejected.headers)
    match rejected.status:
        case 400 | 422 if is_too_long(rejected.body.decode(errors="replace")):
            message = "The input is longer than the model's context. Shorten the input."
            return BadUserInput(message, reason=Reason.CONTEXT_LENGTH, service=Service.LETTA)
        case 402:
            return BudgetExceeded(
                "The Letta account has no credits left. Report this error to the operator.", service=Service.LETTA
            )
        case 404 if is_bare(rejected.headers, rejected.body):
            return refusals.unexpected(Service.LETTA, rejected)
        case 408:
            return UpstreamTimeout(
                "Letta did not complete the call in time. Retry the request. If the request has an idempotency key or "
                "stream key, use the same key.",
                reason=Reason.TOTAL,
                service=Service.LETTA,
                retry_after_seconds=wait,
                unconfirmed=False,
            )
        case 409:
            return _conflict(rejected, wait)
        case 423:
            return refusals.locked(Service.LETTA, wait)
        case _:
            return refusals.translate(Service.LETTA, rejected)


def _conflict(rejected: UpstreamRejected, wait: float | None) -> Conflict:
    """Return the error for a 409. Letta 0.16.8 sends text or a ``code``; other versions send an ``error``."""
    try:
        refusal = _REFUSAL.decode(rejected.body)
    except UNREADABLE:
        refusal = {}
    sent = [refusal.get("detail"), refusal.get("error"), refusal]
    objects = [one for one in sent if isinstance(one, dict)]
    texts = [one.get("message") for one in objects] + [one for one in sent if not isinstance(one, dict)]
    text, codes = " ".join(str(one) for one in texts if one), [one.get("code") for one in objects]
    named = _RUN_ID.search(text)
    ids = [*(one.get("run_id") for one in objects), named and named[1]]
    run_id = next((one for one in ids if isinstance(one, str) and is_letta_id(one, "run")), None)
    if "PENDING_APPROVAL" in codes or "waiting for approval" in text:
        return Conflict(APPROVAL_PENDING, reason=Reason.APPROVAL_PENDING, service=Service.LETTA)
    if run_id or "Another request" in text or "CONVERSATION_BUSY" in codes:
        return Conflict(
            "The conversation has another run in progress. Wait for the run to end, or cancel the run.",
            reason=Reason.RUN_BUSY,
            service=Service.LETTA,
            details={"runId": run_id} if run_id else None,
            retry_after_seconds=wait,
        )
    if "locked" in text or wait is not None:
        return refusals.locked(Service.LETTA, wait)
    return Conflict(
        "The request conflicts with the object's current state in Letta. Read the object again, then retry.",
        service=Service.LETTA,
    )
