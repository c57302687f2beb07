"""Reads and cancels runs."""

import asyncio
from enum import StrEnum

import msgspec
from strawberry import Parent

from clients.errors import NotFound, UpstreamUnavailable
from clients.letta.client import is_letta_id
from clients.letta.records import RunRecord, RunStatus, StepRecord
from clients.owned import OwnedAgentId, OwnedRunId, Position
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loaded import loaded
from resolvers.loader_keys import RunWindow
from resolvers.loaders import Loaders
from resolvers.loading import Loader
from resolvers.owned import OwnedAgent, OwnedConversation, OwnedRun, ref_of, runs_of
from resolvers.paging import Edge, Moment, Page, Window, decode_cursor, encode_cursor, moment, not_of_this_list, page
from resolvers.streams.stream import Stream


class AgentStatus(StrEnum):
    """The status of an agent in Letta. AMS's ``agent_status`` does not show whether the agent has an active run."""

    IDLE = "idle"
    RUNNING = "running"
    UNKNOWN = "unknown"


class _RunCursor(msgspec.Struct, array_like=True):
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
        found = await _records(context, RunWindow(agent_id, window.size + 1, active is False, before))
    return page(runs_of(agent_id, found[: window.size]), _cursor, window, more=len(found) > window.size)


async def _records(context: RequestContext, key: RunWindow) -> list[RunRecord]:
    """Read an agent's runs before a position.

    Letta accepts every user's runs as positions. For an unknown run, Letta returns the first page. So the gateway also
    reads the position's run, at the same time.
    """
    load = context.loaders.runs.load
    if key.before is None:
        return await load(key)
    try:
        records, run = await asyncio.gather(load(key), context.access.run(key.before))
    except NotFound as error:
        raise not_of_this_list() from error
    if run.agent_id != key.agent_id:
        raise not_of_this_list()
    return records


def _older(runs: list[RunRecord], cursor: _RunCursor | None) -> list[RunRecord]:
    if cursor is None:
        return runs
    return [run for run in runs if moment(run.created_at) <= cursor.created_at and run.id != cursor.run_id]


def run_edge(run: OwnedRun) -> Edge[OwnedRun]:
    """Return the run's edge in the list of the agent's runs."""
    return Edge(run, _cursor)


def _cursor(run: OwnedRun) -> str:
    return encode_cursor(_RunCursor(moment(run.created_at), run.id))


def _active_runs(loaders: Loaders) -> Loader[OwnedAgentId, list[RunRecord]]:
    return loaders.active_runs


def _agent_id(agent: OwnedAgent) -> OwnedAgentId:
    return agent.agent_id


def _agent_of(conversation: OwnedConversation) -> OwnedAgentId:
    return conversation.agent_id


def _run_id(record: OwnedRun) -> OwnedRunId:
    return record.id


@loaded(_active_runs, key=_agent_id)
def agent_status(active: list[RunRecord]) -> AgentStatus:
    """Return whether the agent has an active run in any conversation."""
    statuses = {run.status for run in active}
    if not statuses:
        return AgentStatus.IDLE
    return AgentStatus.UNKNOWN if statuses == {RunStatus.UNKNOWN} else AgentStatus.RUNNING


@loaded(_active_runs, key=_agent_of)
def active_run(active: list[RunRecord], record: OwnedConversation) -> OwnedRun | None:
    """Return the conversation's active run, if there is one."""
    wanted = ref_of(record).conversation_id
    return next((run for run in runs_of(record.agent_id, active) if run.conversation_id == wanted), None)


@loaded(lambda loaders: loaders.run_usage, key=_run_id)
def usage(used: Usage) -> Usage:
    """Return the number of tokens that the run has used so far."""
    return used


@loaded(lambda loaders: loaders.run_steps, key=_run_id)
def steps(records: list[StepRecord]) -> list[StepRecord]:
    """Return a run's steps, oldest first."""
    return records


async def step_of(context: RequestContext, step_id: str | None) -> StepRecord | None:
    """Return the step that created a message, or ``None`` if Letta has no such step."""
    try:
        return None if step_id is None else await context.access.step(step_id)
    except NotFound:
        return None


async def stream(record: Parent[OwnedRun], info: Info) -> Stream | None:
    """Return the newest stream that reads the run.

    Raises UpstreamUnavailable if the store is unavailable, and this process has no such stream.
    """
    streams, owner = info.context.resources.streams, info.context.owner
    try:
        return _newest(await info.context.loaders.streams.load(owner), record.id)
    except UpstreamUnavailable:
        if (here := _newest(await streams.found(owner), record.id)) is None:
            raise
        return here


def _newest(streams: list[Stream], run_id: str) -> Stream | None:
    return next((stream for stream in reversed(streams) if stream.run_id == run_id), None)


async def cancel(context: RequestContext, run_id: str) -> OwnedRun:
    """Cancel the user's run and return the run. A run that has ended stays unchanged."""
    run = await context.access.run(run_id)
    await context.resources.letta.cancel(context.scope, run.agent_id, run.id)
    context.reset_loaders()
    return await context.access.run(run_id)
