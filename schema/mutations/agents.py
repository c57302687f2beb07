"""Mutations of agents: create, update, upgrade, delete."""

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
from schema.base import answered_by, described, enum, optional, reads
from schema.costs import SHARED
from schema.inputs import required_key
from schema.node import template_slug
from schema.outcomes import Payload, PayloadRecord, done_by


class UpgradeOutcome(StrEnum):
    APPLIED = "applied"
    QUEUED = "queued"


enum(
    UpgradeOutcome,
    "The state of an upgrade.",
    APPLIED="The upgrade is complete.",
    QUEUED="The upgrade is queued. The agent's `version` changes when it completes.",
)


@strawberry.input(description="The agent to create.")
class CreateAgentInput:
    template_id: ID = described("The template's id.")
    version: str | None = optional("The template version (SemVer). Default: the latest.")
    variables: JSON | None = optional(
        "An object with values for the template's variables, at most 100,000 bytes of JSON."
    )
    name: str | None = optional(
        "The agent's name: at most 200 letters, digits, spaces, hyphens, underscores and apostrophes. Default: the "
        "template's name."
    )
    idempotency_key: str | None = optional(
        "Required; 1 to 200 characters of printable ASCII. A request repeated with the same key creates no second "
        "agent."
    )


@strawberry.input(description="Changes to an agent. Fields that are null or omitted stay unchanged.")
class UpdateAgentInput:
    agent_id: ID = described("The agent's id.")
    name: str | None = optional("The new name, with the same characters as in `createAgent`.")
    description: str | None = optional("The new description, at most 10,000 characters. An empty string removes it.")
    tags: list[str] | None = optional(
        "The new tags, at most 50 of at most 100 characters each. They replace all existing tags."
    )
    model: str | None = optional(
        "The name of a chat model, as listed by `models`. A later upgrade can reset it to the template's model."
    )


@strawberry.input(description="The agent to upgrade.")
class UpgradeAgentInput:
    agent_id: ID = described("The agent's id.")
    to: str | None = optional("The target version (SemVer). Default: the template's latest version.")
    queue: bool | None = optional(
        "If true, the mutation returns before the upgrade completes. The agent's `version` shows when it has.",
        default=False,
    )
    idempotency_key: str | None = optional(
        "Optional; 1 to 200 characters of printable ASCII. A request repeated with its key returns the first result."
    )


@strawberry.input(description="The agent to delete.")
class DeleteAgentInput:
    agent_id: ID = described("The agent's id.")
    idempotency_key: str | None = optional(
        "Optional; 1 to 200 characters of printable ASCII. A repeated deletion is NOT_FOUND even with the same key."
    )


class _Payload(PayloadRecord, kw_only=True):
    agent_id: str | None = None
    outcome: UpgradeOutcome | None = None
    deleted_agent_id: str | None = None


async def _agent(record: Parent[_Payload], info: Info) -> OwnedAgent | None:
    return None if record.agent_id is None else await info.context.access.agent(record.agent_id)


async def _edge(record: Parent[_Payload], info: Info) -> Edge[OwnedAgent] | None:
    return None if record.agent_id is None else await agents.agent_edge(info.context, record.agent_id)


@strawberry.type(description="The result of `createAgent`.")
@reads(_Payload)
class CreateAgentPayload(Payload):
    agent_edge: AgentEdge | None = answered_by(
        _edge, "The new agent as an edge, for prepending to `agents`.", optional=True, costs=[SHARED]
    )
    agent: Agent | None = answered_by(_agent, "The new agent.", optional=True, costs=[SHARED])


@strawberry.type(description="The result of `updateAgent`.")
@reads(_Payload)
class UpdateAgentPayload(Payload):
    agent: Agent | None = answered_by(_agent, "The updated agent.", optional=True, costs=[SHARED])


@strawberry.type(description="The result of `upgradeAgent`.")
@reads(_Payload)
class UpgradeAgentPayload(Payload):
    outcome: UpgradeOutcome | None = described(
        "Whether the upgrade is complete or queued. Null if `errors` is not empty."
    )
    agent: Agent | None = answered_by(
        _agent,
        "The agent after the mutation. If the upgrade is queued, it still has the old version.",
        optional=True,
        costs=[SHARED],
    )


@strawberry.type(description="The result of `deleteAgent`.")
@reads(_Payload)
class DeleteAgentPayload(Payload):
    deleted_agent_id: ID | None = described("The id of the deleted agent.")


async def _create_agent(info: Info, input: CreateAgentInput) -> _Payload:
    agent_id = await agentchanges.create(
        info.context,
        template_slug=template_slug(input.template_id),
        version=input.version,
        variables=input.variables,
        name=input.name,
        key=required_key(input.idempotency_key),
    )
    return _Payload(agent_id=agent_id)


async def _update_agent(info: Info, input: UpdateAgentInput) -> _Payload:
    await agentchanges.update(
        info.context, input.agent_id, name=input.name, description=input.description, tags=input.tags, model=input.model
    )
    return _Payload(agent_id=input.agent_id)


async def _upgrade_agent(info: Info, input: UpgradeAgentInput) -> _Payload:
    applied = await agentchanges.upgrade(
        info.context, input.agent_id, to=input.to, queue=bool(input.queue), key=input.idempotency_key
    )
    outcome = UpgradeOutcome.APPLIED if applied else UpgradeOutcome.QUEUED
    return _Payload(agent_id=input.agent_id, outcome=outcome)


async def _delete_agent(info: Info, input: DeleteAgentInput) -> _Payload:
    deleted = await agentchanges.delete(info.context, input.agent_id, input.idempotency_key)
    return _Payload(deleted_agent_id=deleted)


@strawberry.type
class AgentMutations:
    create_agent: CreateAgentPayload = done_by(
        _Payload, _create_agent, "Creates an agent from a template.", outcomes.VariablesInvalid, calls=3
    )
    upgrade_agent: UpgradeAgentPayload = done_by(
        _Payload,
        _upgrade_agent,
        "Upgrades an agent to another version of its template. `Agent.upgradePlan` previews the changes.",
        outcomes.NoMigrationPath,
        calls=5,
    )
    update_agent: UpdateAgentPayload = done_by(
        _Payload, _update_agent, "Updates an agent's name, description, tags or model.", calls=5
    )
    delete_agent: DeleteAgentPayload = done_by(
        _Payload, _delete_agent, "Deletes an agent with its memory and conversations.", calls=3
    )
