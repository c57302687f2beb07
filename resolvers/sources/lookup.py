"""Searches Letta for the run of an earlier attempt whose outcome is unknown.

Letta stores a message with its ``otid`` only after the turn's first step (decision 0002). The search continues until
the message is stored, or no active run can belong to the message. A request may arrive late, so a search is repeated
for some time after the attempt.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from clients.errors import GatewayError, NotFound
from clients.letta.messages import MessageRecord
from clients.letta.records import RunRecord
from clients.letta.sending import FollowedRun
from clients.outcome import outcome_unknown
from clients.owned import ConversationRef, OwnedRunId, Position
from clients.timestamps import in_utc
from resolvers.context import RequestContext
from resolvers.outcome_unknown import SETTLE_SECONDS
from resolvers.owned import run_named_in
from resolvers.sources.patience import patiently

SEARCH_SECONDS = 0.5
"""The time between two searches for an earlier attempt, in seconds."""

CLOCK_SKEW = timedelta(minutes=5)
"""The time by which Letta's clock may be behind the gateway's clock."""

_PAGE = 100
_PAGES = 10
_RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt to send a message. The message may reach Letta until ``settled_at`` (``time.monotonic``)."""

    key: str
    run_id: OwnedRunId | None
    began: datetime
    settled_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LostTurn:
    """A turn that another process has begun to send and read, until the process stopped.

    ``run_id`` is ``None`` if the process may not have sent the message. ``began`` is the time before the process sent
    the message.
    """

    otid: str
    run_id: OwnedRunId | None
    began: datetime


async def run_of_lost_turn(context: RequestContext, conversation: ConversationRef, turn: LostTurn) -> FollowedRun:
    """Return the run of a lost turn. The message is never sent again. Raises Conflict (``OUTCOME_UNKNOWN``)."""
    run_id, letta = turn.run_id, context.resources.letta
    if run_id is not None:
        run = await patiently(lambda: letta.run(context.renewed().scope, run_id))
        return _followed(conversation, run, turn.otid)
    settled_at = time.monotonic() + SETTLE_SECONDS
    attempt = Attempt(key="", run_id=None, began=turn.began, settled_at=settled_at)
    found = await run_of_attempt(context, conversation, turn.otid, attempt)
    if found is None:
        raise outcome_unknown(_NOT_FOUND)
    return found


def _followed(conversation: ConversationRef, run: RunRecord, otid: str) -> FollowedRun:
    run_id = run_named_in(conversation, run.id)
    return FollowedRun(run_id=run_id, background=run.background is True, is_over=run.over, otid=otid)


async def run_of_attempt(
    context: RequestContext, conversation: ConversationRef, otid: str, attempt: Attempt
) -> FollowedRun | None:
    """Return the run that an earlier attempt started, if Letta has the run. Raises Conflict (``OUTCOME_UNKNOWN``)."""
    search = _Search(context, conversation, otid, attempt)
    ends = time.monotonic() + max(context.resources.timeouts.first_token, 2 * SETTLE_SECONDS)
    try:
        while True:
            settled = time.monotonic() >= attempt.settled_at
            busy = await search.is_busy()  # checked first: Letta stores a run's message before the run ends
            run = await search.run()
            if run is not None:
                return _followed(conversation, run, otid)
            if settled and not busy:
                return None
            if time.monotonic() >= ends:
                raise outcome_unknown(BUSY)
            await asyncio.sleep(SEARCH_SECONDS)
    except GatewayError as error:
        raise outcome_unknown(_AWAY, error) from error


BUSY = (
    "The gateway does not know yet whether Letta has stored the message. Wait until the conversation's run has ended, "
    "then retry with the same key."
)
_NOT_FOUND = (
    "The gateway process that sent the message has stopped, and Letta has not stored the message. Retry with the same "
    "key: the gateway sends the message only if Letta does not have the message."
)
_AWAY = (
    "The gateway does not know whether Letta has stored the message. Retry with the same key: the gateway first "
    "searches for the message."
)


class _Search:
    def __init__(self, context: RequestContext, conversation: ConversationRef, otid: str, attempt: Attempt) -> None:
        self._context = context
        self._letta = context.resources.letta
        self._conversation = conversation
        self._otid = otid
        self._attempt = attempt
        self._since = attempt.began - CLOCK_SKEW

    async def run(self) -> RunRecord | None:
        """Return the message's run, or ``None`` if Letta has not stored the message."""
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
        """Return whether an active run may be the message's run.

        The runs of other messages are excluded, as far as their streams are known.
        """
        conversation_id, streams = self._conversation.conversation_id, self._context.resources.streams
        runs = await self._letta.runs(self._context.renewed().scope, [self._conversation.agent_id], limit=_RUNS)
        others = {
            stream.run_id
            for stream in await streams.found(self._context.owner)
            if stream.unknown and stream.key != self._attempt.key
        }
        return any(run.is_active and run.conversation_id == conversation_id and run.id not in others for run in runs)

    async def _stored(self) -> MessageRecord | None:
        """Search for the message by its ``otid`` among the messages since the first attempt. Raises Conflict."""
        before: Position | None = None
        for _ in range(_PAGES):
            page = await self._letta.messages(
                self._context.renewed().scope, self._conversation, limit=_PAGE, newest_first=True, before=before
            )
            for message in page:
                if message.otid == self._otid:
                    return message
            dates = [in_utc(message.created_at) for message in page if message.created_at is not None]
            if len(page) < _PAGE or (dates and min(dates) < self._since):
                return None
            before = Position(page[0].letta_id)
        raise outcome_unknown(_TOO_MANY)


_NO_RUN = "Letta has stored the message, but the message's run is missing. Read the conversation's messages."
_TOO_MANY = (
    "The gateway did not find the message among the newest messages of the conversation. Search the conversation's "
    "older messages. If the message is missing, send the message with a new key."
)
