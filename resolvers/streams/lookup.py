"""Whether Letta has taken a message (or a decision) whose sending ended without an answer, and by which run.

Letta keeps the ``otid`` of what it is sent, but stores a message only when the turn's first step is over (decision
0002). So a message that is not in the list may still be the one that a run is busy with: the look goes on until the
message is there, or no run is left that could be its own. What is on its way to Letta may also arrive late: a look
that finds nothing counts only some time after the attempt was given up.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from clients.errors import GatewayError, NotFound
from clients.letta.messages import MessageRecord
from clients.letta.records import RunRecord
from clients.letta.sending import FollowedRun, Sent
from clients.outcome import outcome_unknown
from clients.timestamps import in_utc
from resolvers.context import RequestContext
from resolvers.doubt import SETTLE_SECONDS

LOOK_SECONDS = 0.5
"""How often is looked while it cannot be told."""

CLOCK_SKEW = timedelta(minutes=5)
"""By how much Letta's clock may be behind the gateway's."""

_PAGE = 100
_PAGES = 10
_RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt to send the same.

    Attributes:
        key: the stream's key.
        run_id: the run it has begun, where that is known.
        began: when the first attempt began.
        settled_at: when a look that finds nothing counts, on the clock of ``time.monotonic``.
    """

    key: str
    run_id: str | None
    began: datetime
    settled_at: float


async def taken(context: RequestContext, scope: str, sent: Sent, attempt: Attempt) -> FollowedRun | None:
    """The run of what was sent before; ``None`` where Letta has not taken it.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, where that cannot be told.
    """
    look = _Look(context, scope, sent, attempt)
    ends = time.monotonic() + max(context.resources.clocks.first_token, 2 * SETTLE_SECONDS)
    try:
        while True:
            settled = time.monotonic() >= attempt.settled_at
            busy = await look.is_busy()  # asked first: a run that ends in between has stored its message by then
            run = await look.run()
            if run is not None:
                return FollowedRun(run_id=run.id, background=run.background is True, otid=sent.otid)
            if settled and not busy:
                return None
            if time.monotonic() >= ends:
                raise outcome_unknown(BUSY)
            await asyncio.sleep(LOOK_SECONDS)
    except GatewayError as error:
        raise outcome_unknown(_AWAY, error) from error


BUSY = (
    "It is not known yet whether Letta has the message: the conversation is busy with a run that may be the message's. "
    "Retry with the same key when the run has ended."
)
_AWAY = (
    "It is not known whether Letta has the message. Retry with the same key: the gateway looks for the message first."
)


class _Look:
    """Looks for one message."""

    def __init__(self, context: RequestContext, scope: str, sent: Sent, attempt: Attempt) -> None:
        self._context = context
        self._letta = context.resources.letta
        self._scope = scope
        self._sent = sent
        self._attempt = attempt
        self._since = attempt.began - CLOCK_SKEW

    async def run(self) -> RunRecord | None:
        """The run of the message, once that is stored, or known already."""
        run_id = self._attempt.run_id
        if run_id is None:
            message = await self._stored()
            if message is None:
                return None
            if message.run_id is None:
                raise outcome_unknown(_NO_RUN)
            run_id = message.run_id
        try:
            return await self._letta.run(self._context.renewed().scope, run_id)
        except NotFound as error:
            raise outcome_unknown(_NO_RUN) from error

    async def is_busy(self) -> bool:
        """Whether a run is active in the conversation that may be the message's."""
        wanted = None if self._scope.startswith("agent-") else self._scope
        agent_id = self._scope if wanted is None else (await self._agent_of(self._scope))
        runs = await self._letta.runs(self._context.renewed().scope, [agent_id], limit=_RUNS)
        others = self._of_others()
        return any(run.is_active and run.conversation_id == wanted and run.id not in others for run in runs)

    async def _agent_of(self, conversation_id: str) -> str:
        return (await self._context.renewed().access.conversation(conversation_id)).agent_id

    def _of_others(self) -> set[str]:
        """The runs that are known to be of other messages: those that other keys have begun."""
        mine = self._context.resources.streams.of(self._context.principal.user_id)
        return {
            stream.run_id for stream in mine if stream.run_id and stream.unknown and stream.key != self._attempt.key
        }

    async def _stored(self) -> MessageRecord | None:
        """The message, looked for by its ``otid`` from the newest back to when it was first sent.

        Raises:
            Conflict: reason ``OUTCOME_UNKNOWN``, where more has been said since than is looked through.
        """
        before: str | None = None
        for _ in range(_PAGES):
            page = await self._letta.messages(
                self._context.renewed().scope, self._scope, limit=_PAGE, newest_first=True, before=before
            )
            for message in page:
                if message.otid == self._sent.otid:
                    return message
            dates = [in_utc(message.date) for message in page if message.date is not None]
            if len(page) < _PAGE or (dates and min(dates) < self._since):
                return None
            before = page[0].letta_id
        raise outcome_unknown(_TOO_MANY)


_NO_RUN = "Letta has the message, but not its run. Read the conversation's messages."
_TOO_MANY = (
    "It is not known whether Letta has the message: the conversation has too many newer messages. Look for it in the "
    "conversation's messages; if it is missing, send it with a new key."
)
