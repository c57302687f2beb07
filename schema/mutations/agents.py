"""Mutations of agents: create, update, upgrade, delete."""

from enum import StrEnum

import strawberry
from strawberry import ID, Parent
from strawberry.scalars import JSON

from resolvers import agentchanges, agents
from resolvers.info import Info
from resolvers.owned import OwnedAgent
from resolvers.paging import Edge
from schema import named, outcomes
from schema.access import SIGNED_IN
from schema.agent import Agent, AgentEdge
from schema.base import answered_by, described, enum, optional
from schema.costs import SHARED
from schema.inputs import ASCII_KEY, FIRST_RESULT, required_key
from schema.node import template_slug
from schema.outcomes import Payload, PayloadRecord, done_by, payload


class UpgradeOutcome(StrEnum):
    APPLIED = "applied"
    QUEUED = "queued"


enum(
    UpgradeOutcome,
    "Whether an upgrade is complete or queued.",
    APPLIED="The upgrade is complete.",
    QUEUED="AMS has queued the upgrade. The agent's `version` changes when the upgrade is complete.",
)


@strawberry.input(description="The agent to create.")
class CreateAgentInput:
    template_id: ID = described("The id of the template from which the agent is created.")
    version: str | None = optional("The template version (SemVer). Default: the template's latest version.")
    variables: JSON | None = optional(
        "An object with values for the template's variables, at most 100,000 bytes of JSON."
    )
    name: str | None = optional(
        "The agent's name, at most 200 characters. Only letters, digits, spaces, hyphens, underscores and apostrophes "
        "are allowed. Default: the "
        "template's name."
    )
    idempotency_key: str | None = optional(
        "A required key of 1 to 200 printable ASCII characters. A repeated request with the same key creates no "
        "second agent."
    )


@strawberry.input(description="Changes to an agent. Fields that are null or omitted stay unchanged.")
class UpdateAgentInput:
    agent_id: ID = described("The agent's id.")
    name: str | None = optional(
        "The new name, at most 200 characters. Only letters, digits, spaces, hyphens, underscores and apostrophes are "
        "allowed."
    )
    description: str | None = optional(
        "The new description, at most 10,000 characters. An empty string removes the description."
    )
    tags: list[str] | None = optional(
        "The new tags: at most 50 tags of at most 100 characters each. The new tags replace all existing tags."
    )
    model: str | None = optional(
        "The name of a chat model, as listed by `models`. A later upgrade can set the template's model again."
    )


@strawberry.input(description="The agent to upgrade.")
class UpgradeAgentInput:
    agent_id: ID = described("The agent's id.")
    to: str | None = optional("The target version (SemVer). Default: the template's latest version.")
    queue: bool | None = optional(
        "If true, AMS queues the upgrade, and the mutation returns at once. The agent's `version` changes when the "
        "upgrade is complete.",
        default=False,
    )
    idempotency_key: str | None = optional(f"{ASCII_KEY} {FIRST_RESULT}")


@strawberry.input(description="The agent to delete.")
class DeleteAgentInput:
    agent_id: ID = described("The agent's id.")
    idempotency_key: str | None = optional(
        f"{ASCII_KEY} A second deletion fails with NOT_FOUND, even with the same key."
    )


class _Payload(PayloadRecord, kw_only=True):
    agent_id: str | None = None
    outcome: UpgradeOutcome | None = None
    deleted_agent_id: str | None = None


async def _agent(record: Parent[_Payload], info: Info) -> OwnedAgent | None:
    return None if record.agent_id is None else await info.context.access.agent(record.agent_id)


async def _edge(record: Parent[_Payload], info: Info) -> Edge[OwnedAgent] | None:
    return None if record.agent_id is None else await agents.agent_edge(info.context, record.agent_id)


@payload(_Payload)
class CreateAgentPayload(Payload):
    agent_edge: AgentEdge | None = answered_by(
        _edge,
        "The new agent as an edge, which clients can add at the start of `agents`.",
        optional=True,
        costs=[SHARED],
    )
    agent: Agent | None = answered_by(_agent, "The new agent.", optional=True, costs=[SHARED], held=named.AGENT)


@payload(_Payload)
class UpdateAgentPayload(Payload):
    agent: Agent | None = answered_by(_agent, "The updated agent.", optional=True, costs=[SHARED], held=named.AGENT)


@payload(_Payload)
class UpgradeAgentPayload(Payload):
    outcome: UpgradeOutcome | None = described(
        "Whether the upgrade is complete or queued. Null if `errors` is not empty."
    )
    agent: Agent | None = answered_by(
        _agent,
        "The agent after the mutation. If the upgrade is queued, the agent still has the old version.",
        optional=True,
        costs=[SHARED],
        held=named.AGENT,
    )


@payload(_Payload)
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
        _Payload,
        _create_agent,
        "Creates an agent from a template.",
        outcomes.VariablesInvalid,
        access=SIGNED_IN,
        calls=3,
    )
    upgrade_agent: UpgradeAgentPayload = done_by(
        _Payload,
        _upgrade_agent,
        "Upgrades an agent to another version of its template. `Agent.upgradePlan` previews the changes.",
        outcomes.NoMigrationPath,
        access=SIGNED_IN,
        calls=5,
    )
    update_agent: UpdateAgentPayload = done_by(
        _Payload, _update_agent, "Updates an agent's name, description, tags or model.", access=SIGNED_IN, calls=5
    )
    delete_agent: DeleteAgentPayload = done_by(
        _Payload, _delete_agent, "Deletes an agent, its memory and its conversations.", access=SIGNED_IN, calls=3
    )
