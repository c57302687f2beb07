"""Runs: pages of them, their usage and steps, and how they are cancelled."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from strawberry import Parent

from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import RunRecord, RunStatus, StepRecord
from clients.owned import OwnedAgentId, Position
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loader_keys import RunWindow
from resolvers.owned import OwnedAgent, OwnedConversation, OwnedRun, ref_of, runs_of
from resolvers.paging import Edge, Moment, Page, Window, decode_cursor, encode_cursor, moment, not_of_this_list, page
from resolvers.streams.stream import Stream


class AgentStatus(StrEnum):
    """Whether an agent has an active run in Letta. The ``agent_status`` of AMS says only that it is registered."""

    IDLE = "idle"
    RUNNING = "running"
    UNKNOWN = "unknown"


class _RunCursor(msgspec.Struct, array_like=True):
    """A position in a list of runs."""

    created_at: Moment
    run_id: str


async def run_page(
    context: RequestContext, agent_id: OwnedAgentId, window: Window, active: bool | None
) -> Page[OwnedRun]:
    """Read a page of an agent's runs, newest first."""
    cursor = None if window.cursor is None else decode_cursor(window.cursor, _RunCursor)
    if cursor is not None and not is_letta_id(cursor.run_id, "run"):
        raise not_of_this_list()
    if active:
        found = _older(await context.loaders.active_runs.load(agent_id), cursor)
    else:
        before = None if cursor is None else Position(cursor.run_id)
        found = await context.loaders.runs.load(RunWindow(agent_id, window.size + 1, active is False, before))
        if len(_older(found, cursor)) < len(found):  # for an unknown run, Letta returns the first page
            raise not_of_this_list()
    edges = [run_edge(run) for run in runs_of(agent_id, found[: window.size])]
    return page(edges, window, more=len(found) > window.size)


def _older(runs: list[RunRecord], cursor: _RunCursor | None) -> list[RunRecord]:
    if cursor is None:
        return runs
    return [run for run in runs if moment(run.created_at) <= cursor.created_at and run.id != cursor.run_id]


def run_edge(run: OwnedRun) -> Edge[OwnedRun]:
    """Return the run's edge in its agent's list."""
    return Edge(run, encode_cursor(_RunCursor(moment(run.created_at), run.id)))


async def agent_status(agent: Parent[OwnedAgent], info: Info) -> AgentStatus:
    """Return whether the agent has an active run, in any of its conversations."""
    statuses = {run.status for run in await info.context.loaders.active_runs.load(agent.agent_id)}
    if not statuses:
        return AgentStatus.IDLE
    return AgentStatus.UNKNOWN if statuses == {RunStatus.UNKNOWN} else AgentStatus.RUNNING


async def active_run(record: Parent[OwnedConversation], info: Info) -> OwnedRun | None:
    """Return the conversation's active run."""
    wanted = ref_of(record).conversation_id
    runs = runs_of(record.agent_id, await info.context.loaders.active_runs.load(record.agent_id))
    return next((run for run in runs if run.conversation_id == wanted), None)


async def usage(record: Parent[OwnedRun], info: Info) -> Usage:
    """Return the tokens of all of a run's steps so far."""
    return await info.context.loaders.run_usage.load(record.id)


async def steps(record: Parent[OwnedRun], info: Info) -> list[StepRecord]:
    """Return a run's steps, oldest first."""
    return await info.context.loaders.run_steps.load(record.id)


async def step_of(context: RequestContext, step_id: str | None) -> StepRecord | None:
    """Return the step that made a message of the user's; ``None`` if Letta has none."""
    try:
        return None if step_id is None else await context.access.step(step_id)
    except NotFound:
        return None


def stream(record: Parent[OwnedRun], info: Info) -> Stream | None:
    """Return the user's stream through which this gateway reads the run."""
    streams = info.context.resources.streams.of(info.context.owner)
    return next((stream for stream in reversed(streams) if stream.run_id == record.id), None)


async def cancel(context: RequestContext, run_id: str) -> OwnedRun:
    """Cancel a run of the user's, and return it. A run that has ended does not change."""
    run = await context.access.run(run_id)
    await context.resources.letta.cancel(context.scope, run.agent_id, run.id)
    context.forget()
    return await context.access.run(run_id)
