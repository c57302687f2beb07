"""Runs: the one a conversation is busy with, its stream, and stopping it."""

from __future__ import annotations

from strawberry import Parent

from clients.letta.records import ConversationRecord, RunRecord
from resolvers.access import DEFAULT_PREFIX
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.streams.stream import Stream


async def active_run(record: Parent[ConversationRecord], info: Info) -> RunRecord | None:
    """The run that the conversation is busy with."""
    runs = await info.context.loaders.active_runs.load(record.agent_id)
    wanted = None if record.id.startswith(DEFAULT_PREFIX) else record.id
    return next((run for run in runs if run.conversation_id == wanted), None)


def stream(record: Parent[RunRecord], info: Info) -> Stream | None:
    """The stream of the principal's that this gateway reads the run by."""
    mine = info.context.resources.streams.of(info.context.principal.user_id)
    return next((stream for stream in reversed(mine) if stream.run_id == record.id), None)


async def cancel(context: RequestContext, run_id: str) -> RunRecord:
    """Stop a run of the principal's; one that is over already stays as it is. Answers the run as it is then."""
    run = await context.access.run(run_id)
    await context.resources.letta.cancel(context.scope, run)
    return await context.renewed().access.run(run_id)
