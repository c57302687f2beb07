"""Runs: an agent's, the one a conversation is busy with, what they used and did, and stopping one."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from strawberry import Parent

from clients.ams import AgentRow
from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord, RunRecord, RunStatus, StepRecord
from clients.usage import Usage
from resolvers.access import DEFAULT_PREFIX
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.paging import Edge, Moment, Page, Window, decode_cursor, encode_cursor, moment, not_of_this_list, page
from resolvers.streams.stream import Stream


class AgentStatus(StrEnum):
    """Whether an agent is at work.

    Letta's runs tell it. AMS has an ``agent_status`` too, but in the profile, for the user's first agent alone, and it
    says that the agent is registered: whoever has an agent in the graph knows that.
    """

    IDLE = "idle"
    RUNNING = "running"
    UNKNOWN = "unknown"


class _Place(msgspec.Struct, array_like=True):
    """A place in a list of runs."""

    created_at: Moment
    run_id: str


async def run_page(context: RequestContext, agent_id: str, asked: Window, active: bool | None) -> Page[RunRecord]:
    """An agent's runs, newest first. The caller has proved that the agent is the principal's."""
    place = None if asked.cursor is None else decode_cursor(asked.cursor, _Place)
    if place is not None and not is_letta_id(place.run_id, "run"):
        raise not_of_this_list()
    if active:
        found = _older(await context.loaders.active_runs.load(agent_id), place)
    else:
        before = None if place is None else place.run_id
        found = await context.loaders.runs.load((agent_id, asked.size + 1, active is False, before))
        if len(_older(found, place)) < len(found):  # Letta begins anew before a run that it does not know
            raise not_of_this_list()
    edges = [run_edge(run) for run in found[: asked.size] if run.agent_id == agent_id]
    return page(edges, asked, more=len(found) > asked.size)


def _older(runs: list[RunRecord], place: _Place | None) -> list[RunRecord]:
    if place is None:
        return runs
    return [r for r in runs if moment(r.created_at) <= place.created_at and r.id != place.run_id]


def run_edge(run: RunRecord) -> Edge[RunRecord]:
    """The edge of a run in its agent's list."""
    return Edge(run, encode_cursor(_Place(moment(run.created_at), run.id)))


async def agent_status(row: Parent[AgentRow], info: Info) -> AgentStatus:
    """Whether the agent is at work, in any of its conversations."""
    statuses = {run.status for run in await info.context.loaders.active_runs.load(row.agent_id)}
    if not statuses:
        return AgentStatus.IDLE
    return AgentStatus.UNKNOWN if statuses == {RunStatus.UNKNOWN} else AgentStatus.RUNNING


async def active_run(record: Parent[ConversationRecord], info: Info) -> RunRecord | None:
    """The run that the conversation is busy with."""
    runs = await info.context.loaders.active_runs.load(record.agent_id)
    wanted = None if record.id.startswith(DEFAULT_PREFIX) else record.id
    return next((run for run in runs if run.conversation_id == wanted), None)


async def usage(record: Parent[RunRecord], info: Info) -> Usage:
    """The tokens of all of a run's steps so far."""
    return await info.context.loaders.run_usage.load(record.id)


async def steps(record: Parent[RunRecord], info: Info) -> list[StepRecord]:
    """A run's steps, oldest first. The run has been proved to be the principal's, and they are its own."""
    return await info.context.loaders.run_steps.load(record.id)


async def step_of(context: RequestContext, step_id: str | None) -> StepRecord | None:
    """The step that made a message of the principal's; ``None`` where Letta keeps none."""
    try:
        return None if step_id is None else await context.access.step(step_id)
    except NotFound:
        return None


def stream(record: Parent[RunRecord], info: Info) -> Stream | None:
    """The stream of the principal's that this gateway reads the run by."""
    mine = info.context.resources.streams.of(info.context.owner)
    return next((stream for stream in reversed(mine) if stream.run_id == record.id), None)


async def cancel(context: RequestContext, run_id: str) -> RunRecord:
    """Stop a run of the principal's; one that is over already stays as it is. Answers the run as it is then."""
    run = await context.access.run(run_id)
    await context.resources.letta.cancel(context.scope, run)
    context.forget()
    return await context.access.run(run_id)
