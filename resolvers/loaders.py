"""Loaders read upstream data. A loader batches reads, and deduplicates equal reads in one operation."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from clients.ams import (
    MAX_IDS_PER_CALL,
    Account,
    AgentFacts,
    Profile,
    TemplateRecord,
    TemplateVersionRecord,
    UpgradePlan,
)
from clients.calls import CallScope
from clients.codes import Reason
from clients.errors import NotFound, UpstreamError
from clients.letta.client import MAX_PAGE
from clients.letta.messages import MessageRecord
from clients.letta.records import AgentState, ConversationRecord, MemoryHit, PassageRecord, RunRecord, StepRecord
from clients.litellm import KeyInfo, ModelDetails, ModelRecord, UsageLine
from clients.origin import Owner
from clients.owned import (
    ClaimedBlockId,
    ClaimedConversationId,
    ClaimedRunId,
    ClaimedStepId,
    OwnedAgentId,
    OwnedRunId,
    Position,
)
from clients.state.cache import Tag
from clients.usage import Usage
from resolvers import loader_keys as keys
from resolvers.loading import Lazy, Loader, one_by_one, settled
from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.stream import Stream


class Loaders:
    """The loaders of one operation."""

    def __init__(self, resources: Resources, principal: Principal, scope: CallScope) -> None:
        self._resources = resources
        self._principal = principal
        self._scope = scope

    @property
    def deadline(self) -> float:
        """The deadline of the operation's upstream calls (``time.monotonic``)."""
        return self._scope.deadline

    @property
    def uncached(self) -> "Loaders | None":
        """Loaders that do not read from the cache, if one of these loaders has read from the cache."""
        return None

    async def report_outdated(self, *tags: Tag) -> None:
        """Drop cached records, because a service has newer data."""

    async def _account(self, user_id: str) -> Account:
        return await self._resources.ams.account(self._scope, user_id)

    async def _profile(self, user_id: str) -> Profile:
        return (await self.account.load(user_id)).profile

    async def _templates(self, slugs: list[str]) -> list[TemplateRecord | Exception | None]:
        return list(await self._resources.ams.templates(self._scope, self._principal.user_id, slugs))

    async def _template_version(self, key: keys.VersionKey) -> TemplateVersionRecord | None:
        ams, user_id = self._resources.ams, self._principal.user_id
        return await ams.template_version(self._scope, user_id, key.slug, key.number, exists=key.exists)

    async def _upgrade_plan(self, key: keys.UpgradeKey) -> UpgradePlan:
        return await self._resources.ams.upgrade_plan(self._scope, self._principal.user_id, key.agent_id, key.version)

    async def _agent_facts(self, agent_ids: list[OwnedAgentId]) -> list[AgentFacts | Exception | None]:
        return list(await self._resources.ams.agent_facts(self._scope, self._principal.user_id, agent_ids))

    async def _models(self, key: str) -> dict[str, ModelRecord]:
        records = await self._resources.litellm.models(self._scope, key)
        return {record.name: record for record in records}

    async def _model_details(self, key: str) -> dict[str, ModelDetails]:
        return await self._resources.litellm.model_details(self._scope, key)

    async def _conversation(self, conversation_id: ClaimedConversationId) -> ConversationRecord:
        return await self._resources.letta.conversation(self._scope, conversation_id)

    async def _conversations(self, key: keys.ConversationWindow) -> list[ConversationRecord]:
        found = await self._resources.letta.conversations(
            self._scope, key.agent_id, limit=key.limit, after=key.after, search=key.search
        )
        return prime_all(self.conversation, found)

    async def _messages(self, key: keys.MessageWindow) -> list[MessageRecord]:
        conversation, limit, newest_first, before, after, _ = key
        return await self._resources.letta.messages(
            self._scope, conversation, limit=limit, newest_first=newest_first, before=before, after=after
        )

    async def _run(self, run_id: ClaimedRunId) -> RunRecord:
        return await self._resources.letta.run(self._scope, run_id)

    async def _run_messages(self, key: keys.RunStart) -> list[MessageRecord]:
        return await self._resources.letta.run_messages(self._scope, key.run_id, key.conversation)

    async def _active_runs(self, agent_ids: list[OwnedAgentId]) -> list[list[RunRecord] | Exception]:
        found = prime_all(self.run, await self._resources.letta.active_runs(self._scope, agent_ids))
        runs = [run for run in found if run.is_active]
        return [[run for run in runs if run.agent_id == agent_id] for agent_id in agent_ids]

    async def _runs(self, key: keys.RunWindow) -> list[RunRecord]:
        found = await self._resources.letta.agent_runs(
            self._scope, key.agent_id, limit=key.limit, over=key.over, before=key.before
        )
        return prime_all(self.run, found)

    async def _run_usage(self, run_id: OwnedRunId) -> Usage:
        return await self._resources.letta.run_usage(self._scope, run_id)

    async def _run_steps(self, run_id: OwnedRunId) -> list[StepRecord]:
        return prime_all(self.step, await self._resources.letta.run_steps(self._scope, run_id))

    async def _step(self, step_id: ClaimedStepId) -> StepRecord:
        return await self._resources.letta.step(self._scope, step_id)

    async def _block_agents(self, block_id: ClaimedBlockId) -> set[str]:
        return await self._resources.letta.block_agents(self._scope, block_id)

    async def _passages(self, key: keys.PassageWindow) -> list[PassageRecord]:
        agent_id, limit, newest_first, before, after, _ = key
        return await self._resources.letta.passages(
            self._scope, agent_id, limit=limit, newest_first=newest_first, before=before, after=after
        )

    async def _memory_search(self, key: keys.MemoryQuery) -> list[MemoryHit]:
        return await self._resources.letta.search_passages(self._scope, *key)

    async def _key_info(self, key: str) -> KeyInfo:
        return await self._resources.litellm.key_info(self._scope, key)

    async def _usage(self, key: keys.UsageKey) -> list[UsageLine]:
        return await self._resources.litellm.usage(self._scope, *key)

    async def _streams(self, owner: Owner) -> list[Stream]:
        return await self._resources.streams.of(owner)

    async def _agent_states(self, agent_ids: list[OwnedAgentId]) -> list[AgentState | Exception]:
        """Read the agents with the user's tag in pages, and the agents without the tag one by one."""
        found: dict[str, AgentState] = await self._tagged(set(agent_ids)) if len(agent_ids) > 1 else {}
        missing = [agent_id for agent_id in agent_ids if agent_id not in found]
        letta, scope = self._resources.letta, self._scope
        singles = await settled(letta.agent(scope, agent_id) for agent_id in missing)
        answers: dict[str, AgentState | Exception] = {**found, **dict(zip(missing, singles, strict=True))}
        return [state_missing(one) if isinstance(one, NotFound) else one for one in map(answers.__getitem__, agent_ids)]

    async def _tagged(self, wanted: set[OwnedAgentId]) -> dict[str, AgentState]:
        letta, scope = self._resources.letta, self._scope

        async def read(after: Position | None) -> list[AgentState]:
            return await letta.agents_by_tag(scope, self._tag, limit=MAX_PAGE, after=after)

        seen = await _all_pages(read, wanted)
        return {
            agent_id: state for agent_id, state in seen.items() if agent_id in wanted
        }  # a tag does not prove ownership

    async def _agents_found(self, key: keys.AgentSearch) -> dict[str, AgentState]:
        tags = [self._tag] if key.tag is None else [self._tag, key.tag]
        letta, scope = self._resources.letta, self._scope

        async def read(after: Position | None) -> list[AgentState]:
            return await letta.search_agents(scope, tags, search=key.search, limit=MAX_PAGE, after=after)

        found = await _all_pages(read)
        part = (key.search or "").casefold()
        return {agent_id: state for agent_id, state in found.items() if part in (state.name or "").casefold()}

    @property
    def _tag(self) -> str:
        """The tag that AMS gives the user's agents."""
        return f"user:{self._principal.user_id}"

    account = one_by_one(_account)
    profile = one_by_one(_profile)
    agent_state = Lazy(_agent_states)
    agents_found = one_by_one(_agents_found)
    agent_facts = Lazy(_agent_facts, max_batch=MAX_IDS_PER_CALL)
    upgrade_plan = one_by_one(_upgrade_plan)
    template = Lazy(_templates, max_batch=MAX_IDS_PER_CALL)
    template_version = one_by_one(_template_version)
    models = one_by_one(_models)
    model_details = one_by_one(_model_details)
    conversation = one_by_one(_conversation)
    conversations = one_by_one(_conversations)
    messages = one_by_one(_messages)
    run = one_by_one(_run)
    run_messages = one_by_one(_run_messages)
    active_runs = Lazy(_active_runs)
    runs = one_by_one(_runs)
    run_usage = one_by_one(_run_usage)
    run_steps = one_by_one(_run_steps)
    step = one_by_one(_step)
    block_agents = one_by_one(_block_agents)
    passages = one_by_one(_passages)
    memory_search = one_by_one(_memory_search)
    key_info = one_by_one(_key_info)
    usage = one_by_one(_usage)
    streams = one_by_one(_streams)


class _Known(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Known)


def prime_all(loader: Loader[Any, Any], records: list[R]) -> list[R]:
    """Cache records in a loader that reads single records by id. Return the records."""
    for record in records:
        loader.prime(record.id, record)
    return records


async def _all_pages(
    read: Callable[[Position | None], Awaitable[list[AgentState]]], wanted: set[OwnedAgentId] | None = None
) -> dict[str, AgentState]:
    seen: dict[str, AgentState] = {}
    after: Position | None = None
    while True:
        states = await read(after)
        known = len(seen)
        seen |= {state.id: state for state in states}
        # Letta returns the first page for an unknown position, so a page without new agents is the end
        if len(states) < MAX_PAGE or len(seen) == known or (wanted is not None and wanted <= seen.keys()):
            return seen
        after = Position(states[-1].id)


def state_missing(error: NotFound) -> UpstreamError:
    """Return the error for an agent that exists in AMS but not in Letta."""
    message = "Letta has no state for this agent. Report the agent's id to the operator."
    return UpstreamError(message, reason=Reason.STATE_MISSING, service=error.service)
