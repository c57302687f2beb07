"""Finds out whether Letta has a message (or a decision) whose request ended without an answer, and in which run.

Letta keeps the ``otid`` of a message, but stores the message only when the turn's first step is over (decision 0002).
So the search continues until the message is stored, or no active run can be its own. Because a request may arrive late,
a search without a result counts only some time after the attempt.
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
from clients.owned import ConversationRef, OwnedRunId, Position
from clients.timestamps import in_utc
from resolvers.context import RequestContext
from resolvers.doubt import SETTLE_SECONDS
from resolvers.owned import run_named_in

LOOK_SECONDS = 0.5
"""The time between two searches while the outcome is unknown."""

CLOCK_SKEW = timedelta(minutes=5)
"""The time by which Letta's clock may be behind the gateway's."""

_PAGE = 100
_PAGES = 10
_RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt to send the same message.

    ``began`` is when the first attempt began. From ``settled_at`` on (``time.monotonic``), a search without a result
    counts.
    """

    key: str
    run_id: OwnedRunId | None
    began: datetime
    settled_at: float


async def run_of_attempt(
    context: RequestContext, conversation: ConversationRef, sent: Sent, attempt: Attempt
) -> FollowedRun | None:
    """Return the run of an earlier attempt, if Letta has it. Raises Conflict (``OUTCOME_UNKNOWN``)."""
    search = _Search(context, conversation, sent, attempt)
    ends = time.monotonic() + max(context.resources.clocks.first_token, 2 * SETTLE_SECONDS)
    try:
        while True:
            settled = time.monotonic() >= attempt.settled_at
            busy = await search.is_busy()  # first: a run that ends between the two reads has stored its message
            run = await search.run()
            if run is not None:
                return FollowedRun(
                    run_id=run_named_in(conversation, run.id), background=run.background is True, otid=sent.otid
                )
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


class _Search:
    """A search for one message."""

    def __init__(self, context: RequestContext, conversation: ConversationRef, sent: Sent, attempt: Attempt) -> None:
        self._context = context
        self._letta = context.resources.letta
        self._conversation = conversation
        self._sent = sent
        self._attempt = attempt
        self._since = attempt.began - CLOCK_SKEW

    async def run(self) -> RunRecord | None:
        """Return the run of the message, if that is known or stored."""
        run_id = self._attempt.run_id
        if run_id is None:
            message = await self._stored()
            if message is None:
                return None
            if message.run_id is None:
                raise outcome_unknown(_NO_RUN)
            run_id = run_named_in(self._conversation, message.run_id)
        try:
            return await self._letta.run(self._context.renewed().scope, run_id)
        except NotFound as error:
            raise outcome_unknown(_NO_RUN) from error

    async def is_busy(self) -> bool:
        """Whether an active run of the conversation may be that of the message: no other key has started it."""
        conversation_id, streams = self._conversation.conversation_id, self._context.resources.streams
        runs = await self._letta.runs(self._context.renewed().scope, [self._conversation.agent_id], limit=_RUNS)
        others = {
            stream.run_id
            for stream in streams.of(self._context.owner)
            if stream.unknown and stream.key != self._attempt.key
        }
        return any(run.is_active and run.conversation_id == conversation_id and run.id not in others for run in runs)

    async def _stored(self) -> MessageRecord | None:
        """Return the message, searched by its ``otid`` back to when it was first sent.

        Raises:
            Conflict: reason ``OUTCOME_UNKNOWN``: there are too many newer messages.
        """
        before: Position | None = None
        for _ in range(_PAGES):
            page = await self._letta.messages(
                self._context.renewed().scope, self._conversation, limit=_PAGE, newest_first=True, before=before
            )
            for message in page:
                if message.otid == self._sent.otid:
                    return message
            dates = [in_utc(message.date) for message in page if message.date is not None]
            if len(page) < _PAGE or (dates and min(dates) < self._since):
                return None
            before = Position(page[0].letta_id)
        raise outcome_unknown(_TOO_MANY)


_NO_RUN = "Letta has the message, but not its run. Read the conversation's messages."
_TOO_MANY = (
    "It is not known whether Letta has the message: the conversation has too many newer messages. Look for it in the "
    "conversation's messages; if it is missing, send it with a new key."
)
