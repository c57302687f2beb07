"""Every read of one operation goes through a loader here: batched where the upstream can, and never made twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Protocol, TypeVar

from clients.ams import MAX_IDS_PER_CALL, AgentFacts, Profile, TemplateRecord, TemplateVersionRecord, UpgradePlan
from clients.calls import CallScope
from clients.codes import Reason
from clients.errors import NotFound, UpstreamError
from clients.letta.client import MAX_PAGE
from clients.letta.messages import MessageRecord
from clients.letta.records import AgentState, ConversationRecord, MemoryHit, PassageRecord, RunRecord, StepRecord
from clients.litellm import KeyInfo, ModelDetails, ModelRecord, UsageLine
from clients.usage import Usage
from resolvers.loading import Loader, batched, one_by_one, settled
from resolvers.principal import Principal
from resolvers.resources import Resources

"""The reason of an agent that AMS knows and Letta has lost."""

VersionKey = tuple[str, str, bool]
"""A template's version: slug, number, whether there is such a version for certain."""

AgentSearch = tuple[str | None, str | None]
"""What agents are looked for by: a tag, a part of the name."""

MessageWindow = tuple[str, int, bool, str | None, str | None]
"""A page of messages: scope, limit, newest first, before, after."""
PassageWindow = tuple[str, int, bool, str | None, str | None]
"""A page of passages: agent, limit, newest first, before, after."""
RunWindow = tuple[str, int, bool, str | None]
"""A page of runs: agent, limit, whether only those that are over, before."""
ConversationWindow = tuple[str, int, str | None, str | None]
"""A page of conversations: agent, limit, after, search."""


class Loaders:
    """The loaders of one operation, each made when first asked for."""

    def __init__(self, resources: Resources, principal: Principal, scope: CallScope) -> None:
        self._resources = resources
        self._principal = principal
        self._scope = scope

    async def _profile(self, user_id: str) -> Profile:
        return await self._resources.ams.profile(self._scope, user_id)

    async def _templates(self, slugs: list[str]) -> list[TemplateRecord | Exception | None]:
        found = await self._resources.ams.templates(self._scope, self._principal.user_id, slugs)
        return list(found)

    async def _template_version(self, key: VersionKey) -> TemplateVersionRecord | None:
        slug, number, exists = key
        ams, user_id = self._resources.ams, self._principal.user_id
        return await ams.template_version(self._scope, user_id, slug, number, exists=exists)

    async def _upgrade_plan(self, key: tuple[str, str | None]) -> UpgradePlan:
        agent_id, number = key
        return await self._resources.ams.upgrade_plan(self._scope, self._principal.user_id, agent_id, number)

    async def _agent_facts(self, agent_ids: list[str]) -> list[AgentFacts | Exception | None]:
        found = await self._resources.ams.agent_facts(self._scope, self._principal.user_id, agent_ids)
        return list(found)

    async def _models(self, key: str) -> dict[str, ModelRecord]:
        records = await self._resources.litellm.models(self._scope, key)
        return {record.name: record for record in records}

    async def _model_details(self, key: str) -> dict[str, ModelDetails]:
        return await self._resources.litellm.model_details(self._scope, key)

    async def _conversation(self, conversation_id: str) -> ConversationRecord:
        return await self._resources.letta.conversation(self._scope, conversation_id)

    async def _conversations(self, key: ConversationWindow) -> list[ConversationRecord]:
        agent_id, limit, after, search = key
        letta = self._resources.letta
        found = await letta.conversations(self._scope, agent_id, limit=limit, after=after, search=search)
        return kept(self.conversation, found)

    async def _messages(self, key: MessageWindow) -> list[MessageRecord]:
        conversation, limit, newest_first, before, after = key
        return await self._resources.letta.messages(
            self._scope, conversation, limit=limit, newest_first=newest_first, before=before, after=after
        )

    async def _run(self, run_id: str) -> RunRecord:
        return await self._resources.letta.run(self._scope, run_id)

    async def _run_messages(self, key: tuple[str, str]) -> list[MessageRecord]:
        run_id, conversation = key
        return await self._resources.letta.run_messages(self._scope, run_id, conversation)

    async def _active_runs(self, agent_ids: list[str]) -> list[list[RunRecord] | Exception]:
        found = kept(self.run, await self._resources.letta.active_runs(self._scope, agent_ids))
        runs = [run for run in found if run.is_active]
        return [[run for run in runs if run.agent_id == agent_id] for agent_id in agent_ids]

    async def _runs(self, key: RunWindow) -> list[RunRecord]:
        agent_id, limit, over, before = key
        letta = self._resources.letta
        return kept(self.run, await letta.agent_runs(self._scope, agent_id, limit=limit, over=over, before=before))

    async def _run_usage(self, run_id: str) -> Usage:
        return await self._resources.letta.run_usage(self._scope, run_id)

    async def _run_steps(self, run_id: str) -> list[StepRecord]:
        return kept(self.step, await self._resources.letta.run_steps(self._scope, run_id))

    async def _step(self, step_id: str) -> StepRecord:
        return await self._resources.letta.step(self._scope, step_id)

    async def _block_agents(self, block_id: str) -> set[str]:
        return await self._resources.letta.block_agents(self._scope, block_id)

    async def _passages(self, key: PassageWindow) -> list[PassageRecord]:
        agent_id, limit, newest_first, before, after = key
        return await self._resources.letta.passages(
            self._scope, agent_id, limit=limit, newest_first=newest_first, before=before, after=after
        )

    async def _memory_search(self, key: tuple[str, str, int]) -> list[MemoryHit]:
        return await self._resources.letta.search_passages(self._scope, *key)

    async def _key_info(self, key: str) -> KeyInfo:
        return await self._resources.litellm.key_info(self._scope, key)

    async def _usage(self, asked: tuple[str, date, date]) -> list[UsageLine]:
        key, first, last = asked
        return await self._resources.litellm.usage(self._scope, key, first, last)

    async def _agent_states(self, agent_ids: list[str]) -> list[AgentState | Exception]:
        """Several agents by the tag AMS gives a user's agents, a page at a time; strays one by one.

        Ids that were not asked for are dropped: a tag proves nothing.
        """
        found: dict[str, AgentState] = await self._tagged(set(agent_ids)) if len(agent_ids) > 1 else {}
        strays = [agent_id for agent_id in agent_ids if agent_id not in found]
        letta, scope = self._resources.letta, self._scope
        singles = await settled(letta.agent(scope, agent_id) for agent_id in strays)
        answers: dict[str, AgentState | Exception] = {**found, **dict(zip(strays, singles, strict=True))}
        return [_existing(answers[agent_id]) for agent_id in agent_ids]

    async def _tagged(self, wanted: set[str]) -> dict[str, AgentState]:
        letta, scope = self._resources.letta, self._scope

        async def read(after: str | None) -> list[AgentState]:
            return await letta.agents_by_tag(scope, self._tag, limit=MAX_PAGE, after=after)

        seen = await _all_pages(read, wanted)
        return {agent_id: state for agent_id, state in seen.items() if agent_id in wanted}

    async def _agents_found(self, key: AgentSearch) -> dict[str, AgentState]:
        """The agents that carry the principal's tag and another, and whose names have a text in them, by id."""
        tag, search = key
        tags = [self._tag] if tag is None else [self._tag, tag]
        letta, scope = self._resources.letta, self._scope

        async def read(after: str | None) -> list[AgentState]:
            return await letta.search_agents(scope, tags, search=search, limit=MAX_PAGE, after=after)

        found = await _all_pages(read)
        part = (search or "").casefold()
        return {agent_id: state for agent_id, state in found.items() if part in (state.name or "").casefold()}

    @property
    def _tag(self) -> str:
        """The tag that AMS gives the principal's agents."""
        return f"user:{self._principal.user_id}"

    profile = one_by_one(_profile)
    agent_state = batched(_agent_states)
    agents_found = one_by_one(_agents_found)
    agent_facts = batched(_agent_facts, max_batch=MAX_IDS_PER_CALL)
    upgrade_plan = one_by_one(_upgrade_plan)
    template = batched(_templates, max_batch=MAX_IDS_PER_CALL)
    template_version = one_by_one(_template_version)
    models = one_by_one(_models)
    model_details = one_by_one(_model_details)
    conversation = one_by_one(_conversation)
    conversations = one_by_one(_conversations)
    messages = one_by_one(_messages)
    run = one_by_one(_run)
    run_messages = one_by_one(_run_messages)
    active_runs = batched(_active_runs)
    runs = one_by_one(_runs)
    run_usage = one_by_one(_run_usage)
    run_steps = one_by_one(_run_steps)
    step = one_by_one(_step)
    block_agents = one_by_one(_block_agents)
    passages = one_by_one(_passages)
    memory_search = one_by_one(_memory_search)
    key_info = one_by_one(_key_info)
    usage = one_by_one(_usage)


class _Known(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Known)


def kept(one_by_one: Loader[str, Any], records: list[R]) -> list[R]:
    """Records of a list, none of which is then read again by its id."""
    for record in records:
        one_by_one.prime(record.id, record)
    return records


async def _all_pages(
    read: Callable[[str | None], Awaitable[list[AgentState]]], wanted: set[str] | None = None
) -> dict[str, AgentState]:
    """A list of agents by pages, to its end or until all ``wanted`` have been seen."""
    seen: dict[str, AgentState] = {}
    after: str | None = None
    while True:
        states = await read(after)
        known = len(seen)
        seen |= {state.id: state for state in states}
        # Letta begins anew after an agent that it does not know: nothing new is the end as well
        if len(states) < MAX_PAGE or len(seen) == known or (wanted is not None and wanted <= seen.keys()):
            return seen
        after = states[-1].id


def _existing(answer: AgentState | Exception) -> AgentState | Exception:
    """AMS says the agent exists; a Letta that has no such agent has lost it, and the caller did nothing wrong."""
    return state_missing(answer) if isinstance(answer, NotFound) else answer


def state_missing(error: NotFound) -> UpstreamError:
    """Letta knows nothing of an agent that is the principal's."""
    return UpstreamError("Letta has no state for this agent.", reason=Reason.STATE_MISSING, service=error.service)
