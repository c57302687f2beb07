"""Reads and cancels runs in Letta."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from clients.calls import Call, CallScope, UpstreamRejected, query_params
from clients.decode import Page
from clients.letta.messages import MessageRecord, decode_page
from clients.letta.records import MAX_PAGE, RunRecord, Spent, StepRecord
from clients.letta.refusals import translate
from clients.owned import ClaimedRunId, ClaimedStepId, ConversationRef, OwnedAgentId, OwnedRunId, Position
from clients.service import ServiceClient
from clients.timestamps import in_utc
from clients.usage import Usage

RUN_START = 5
"""The number of messages that the gateway reads to find a run's user message.

Letta may add other messages before the user message.
"""

MAX_ACTIVE = 1000
"""The maximum number of active runs that one call reads. Letta has the same maximum."""


class _RunSpent(Spent, kw_only=True, frozen=True):
    """A run's token counts. Letta always reports a total for a run."""

    total_tokens: int | None


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_RUN = msgspec.json.Decoder(RunRecord)
_RUNS = msgspec.json.Decoder(Page[RunRecord])
_SPENT = msgspec.json.Decoder(_RunSpent)
_STEP = msgspec.json.Decoder(StepRecord)
_STEPS = msgspec.json.Decoder(Page[StepRecord])
_ACTIVE = [("active", "true")]
_RUNNING = [("statuses", "running")]
_BEGINNING = [("statuses", "created"), ("background", "true")]
_OVER = [("statuses", status) for status in ("completed", "failed", "cancelled")]


class RunCalls(ServiceClient):
    """Reads and cancels runs in Letta. The methods raise NotFound for an unknown run or step."""

    async def run(self, scope: CallScope, run_id: OwnedRunId | ClaimedRunId) -> RunRecord:
        """Read a run."""
        return await self.read(scope, _RUN, Call("run", f"/v1/runs/{run_id}", subject=run_id))

    async def run_messages(
        self, scope: CallScope, run_id: OwnedRunId, conversation: ConversationRef
    ) -> list[MessageRecord]:
        """Read the first ``RUN_START`` messages of a run, oldest first."""
        params = query_params(limit=RUN_START, order="asc")
        call = Call("run.messages", f"/v1/runs/{run_id}/messages", params=params, subject=run_id)
        return await self.parsed(scope, call, lambda body: decode_page(body, conversation, newest_first=False))

    async def active_runs(self, scope: CallScope, agent_ids: list[OwnedAgentId]) -> list[RunRecord]:
        """Read the active runs of several agents, newest first.

        Letta also lists ended runs whose status is ``created`` (see ``RunRecord.is_active``). If such runs fill a page,
        the client requests only runs with the statuses that an active run can have.
        """
        page = await self._of_agents(scope, agent_ids, _ACTIVE, MAX_PAGE)
        if len(page) < MAX_PAGE:
            return page
        active = await asyncio.gather(
            *(self._of_agents(scope, agent_ids, which, MAX_ACTIVE) for which in (_RUNNING, _BEGINNING))
        )
        return sorted((run for runs in active for run in runs), key=_age, reverse=True)

    async def runs(self, scope: CallScope, agent_ids: list[OwnedAgentId], *, limit: int) -> list[RunRecord]:
        """Read the most recent runs of several agents, newest first."""
        return await self._of_agents(scope, agent_ids, [], limit)

    async def agent_runs(
        self, scope: CallScope, agent_id: OwnedAgentId, *, limit: int, over: bool, before: Position | None = None
    ) -> list[RunRecord]:
        """Read a page of an agent's runs, newest first. If ``over`` is true, read only runs that have ended."""
        which = [*(_OVER if over else []), *query_params(before=before)]
        return await self._of_agents(scope, [agent_id], which, limit)

    async def _of_agents(
        self, scope: CallScope, agent_ids: list[OwnedAgentId], which: list[tuple[str, str]], limit: int
    ) -> list[RunRecord]:
        params = [*(("agent_ids", agent_id) for agent_id in agent_ids), *which]
        params += query_params(limit=limit, order="desc")
        subject = agent_ids[0] if len(agent_ids) == 1 else ""
        return await self.read(scope, _RUNS, Call("runs", "/v1/runs/", params=params, subject=subject))

    async def run_usage(self, scope: CallScope, run_id: OwnedRunId) -> Usage:
        """Read the number of tokens that a run has used so far."""
        call = Call("run.usage", f"/v1/runs/{run_id}/usage", subject=run_id)
        return (await self.read(scope, _SPENT, call)).usage

    async def run_steps(self, scope: CallScope, run_id: OwnedRunId) -> list[StepRecord]:
        """Read a run's first 100 steps, oldest first."""
        params = query_params(order="asc", limit=MAX_PAGE)
        call = Call("run.steps", f"/v1/runs/{run_id}/steps", params=params, subject=run_id)
        return await self.read(scope, _STEPS, call)

    async def step(self, scope: CallScope, step_id: ClaimedStepId) -> StepRecord:
        """Read a step."""
        return await self.read(scope, _STEP, Call("step", f"/v1/steps/{step_id}", subject=step_id))

    async def cancel(self, scope: CallScope, agent_id: OwnedAgentId, run_id: OwnedRunId) -> None:
        """Cancel a run, unless the run has ended."""
        call = Call(
            "run.cancel",
            f"/v1/agents/{agent_id}/messages/cancel",
            "POST",
            json={"run_ids": [run_id]},
            subject=run_id,
            refused=_refused_cancel,
        )
        with suppress(_HasEnded):
            await self.upstream.request(scope, call)


class _HasEnded(Exception):
    """Letta cannot cancel a run that has ended."""


def _refused_cancel(rejected: UpstreamRejected) -> Exception:
    return _HasEnded() if rejected.status == 409 else translate(rejected)


def _age(run: RunRecord) -> tuple[datetime, str]:
    return _LONG_AGO if run.created_at is None else in_utc(run.created_at), run.id
