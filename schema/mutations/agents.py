"""Agents: made from templates, changed, upgraded, deleted."""

from __future__ import annotations

from enum import StrEnum

import strawberry
from strawberry import ID, Parent
from strawberry.scalars import JSON

from resolvers import agentchanges, agents
from resolvers.info import Info
from resolvers.owned import OwnedAgent
from resolvers.paging import Edge
from schema import outcomes
from schema.agent import Agent, AgentEdge
from schema.base import answered_by, described, enum, reads
from schema.costs import SHARED
from schema.inputs import required_key
from schema.node import template_slug
from schema.outcomes import Payload, PayloadRecord, done_by


class UpgradeOutcome(StrEnum):
    """What became of ``upgradeAgent``."""

    APPLIED = "applied"
    QUEUED = "queued"


enum(
    UpgradeOutcome,
    "How far an upgrade is.",
    APPLIED="It is done.",
    QUEUED="It waits its turn: the agent's `version` tells when it is done.",
)


@strawberry.input(description="An agent to make.")
class CreateAgentInput:
    """What makes an agent."""

    template_id: ID = strawberry.field(description="The template to make it from.")
    version: str | None = strawberry.field(default=None, description="Its version (SemVer); the latest without one.")
    variables: JSON | None = strawberry.field(
        default=None, description="An object that fills in the template's variables, at most 100,000 bytes of JSON."
    )
    name: str | None = strawberry.field(
        default=None,
        description="What to call it, in at most 200 letters, digits, spaces, hyphens, underscores and apostrophes; "
        "as the template is called, without one.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Required: asked again with the same key, one agent is made. Printable ASCII."
    )


@strawberry.input(description="What is to be changed of an agent. What is left out, or null, stays as it is.")
class UpdateAgentInput:
    """What changes an agent."""

    agent_id: ID = strawberry.field(description="The agent.")
    name: str | None = strawberry.field(default=None, description="What to call it; the same characters as at first.")
    description: str | None = strawberry.field(
        default=None, description="What it is for, in at most 10,000 characters; an empty text takes it away."
    )
    tags: list[str] | None = strawberry.field(
        default=None, description="All its tags, at most 50 of at most 100 characters each."
    )
    model: str | None = strawberry.field(
        default=None, description="The name of a chat model in `models`. An upgrade may set the template's again."
    )


@strawberry.input(description="An agent to upgrade.")
class UpgradeAgentInput:
    """What upgrades an agent."""

    agent_id: ID = strawberry.field(description="The agent.")
    to: str | None = strawberry.field(default=None, description="The version (SemVer); the latest without one.")
    queue: bool | None = strawberry.field(
        default=False, description="Do not wait for it: the agent's `version` tells when it is done."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="With the same key, the same answer. Printable ASCII."
    )


@strawberry.input(description="An agent to delete.")
class DeleteAgentInput:
    """What deletes an agent."""

    agent_id: ID = strawberry.field(description="The agent.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Passed on to AMS. A second deletion is NOT_FOUND in any case. Printable ASCII."
    )


class _Payload(PayloadRecord, kw_only=True):
    agent_id: str | None = None
    outcome: UpgradeOutcome | None = None
    deleted_agent_id: str | None = None


async def _agent(record: Parent[_Payload], info: Info) -> OwnedAgent | None:
    return None if record.agent_id is None else await info.context.access.agent(record.agent_id)


async def _edge(record: Parent[_Payload], info: Info) -> Edge[OwnedAgent] | None:
    return None if record.agent_id is None else await agents.agent_edge(info.context, record.agent_id)


@strawberry.type(description="An agent was made.")
@reads(_Payload)
class CreateAgentPayload(Payload):
    """Payload of ``createAgent``."""

    agent_edge: AgentEdge | None = answered_by(
        _edge, "The agent, for the front of `agents`.", optional=True, costs=[SHARED]
    )
    agent: Agent | None = answered_by(_agent, "The agent.", optional=True, costs=[SHARED])


@strawberry.type(description="An agent was changed.")
@reads(_Payload)
class UpdateAgentPayload(Payload):
    """Payload of ``updateAgent``."""

    agent: Agent | None = answered_by(_agent, "The agent as it is now.", optional=True, costs=[SHARED])


@strawberry.type(description="An agent was upgraded, or will be.")
@reads(_Payload)
class UpgradeAgentPayload(Payload):
    """Payload of ``upgradeAgent``."""

    outcome: UpgradeOutcome | None = described("Whether it is done, or waits its turn; null where it cannot be.")
    agent: Agent | None = answered_by(_agent, "The agent as it is now.", optional=True, costs=[SHARED])


@strawberry.type(description="An agent was deleted.")
@reads(_Payload)
class DeleteAgentPayload(Payload):
    """Payload of ``deleteAgent``."""

    deleted_agent_id: ID | None = described("The id of the agent that is no more.")


async def _create_agent(info: Info, input: CreateAgentInput) -> _Payload:  # noqa: A002 - the name in the graph
    agent_id = await agentchanges.create(
        info.context,
        template_slug=template_slug(input.template_id),
        version=input.version,
        variables=input.variables,
        name=input.name,
        key=required_key(input.idempotency_key),
    )
    return _Payload(agent_id=agent_id)


async def _update_agent(info: Info, input: UpdateAgentInput) -> _Payload:  # noqa: A002 - as above
    await agentchanges.update(
        info.context,
        input.agent_id,
        name=input.name,
        description=input.description,
        tags=input.tags,
        model=input.model,
    )
    return _Payload(agent_id=input.agent_id)


async def _upgrade_agent(info: Info, input: UpgradeAgentInput) -> _Payload:  # noqa: A002 - as above
    applied = await agentchanges.upgrade(
        info.context, input.agent_id, to=input.to, queue=bool(input.queue), key=input.idempotency_key
    )
    outcome = UpgradeOutcome.APPLIED if applied else UpgradeOutcome.QUEUED
    return _Payload(agent_id=input.agent_id, outcome=outcome)


async def _delete_agent(info: Info, input: DeleteAgentInput) -> _Payload:  # noqa: A002 - as above
    deleted = await agentchanges.delete(info.context, input.agent_id, input.idempotency_key)
    return _Payload(deleted_agent_id=deleted)


@strawberry.type
class AgentMutations:
    """Part of the root of mutations."""

    create_agent: CreateAgentPayload = done_by(
        _Payload, _create_agent, "Make an agent from a template.", outcomes.VariablesInvalid, calls=3
    )
    upgrade_agent: UpgradeAgentPayload = done_by(
        _Payload,
        _upgrade_agent,
        "Upgrade an agent to a version of its template; `upgradePlan` shows it before.",
        outcomes.NoMigrationPath,
        calls=5,
    )
    update_agent: UpdateAgentPayload = done_by(
        _Payload, _update_agent, "Change an agent's name, description, tags or model.", calls=5
    )
    delete_agent: DeleteAgentPayload = done_by(
        _Payload, _delete_agent, "Delete an agent, with its memory and all that was said to it.", calls=3
    )
