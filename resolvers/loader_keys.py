"""Loader keys that consist of several values."""

from datetime import date
from typing import NamedTuple

from clients.owned import ConversationRef, OwnedAgentId, OwnedRunId, Position


class VersionKey(NamedTuple):
    """A loader key for a template's version. ``exists`` is True if AMS is known to have the version."""

    slug: str
    number: str
    exists: bool


class UpgradeKey(NamedTuple):
    """A loader key for an agent's upgrade to a template version. ``version`` is ``None`` for the latest version."""

    agent_id: OwnedAgentId
    version: str | None


class AgentSearch(NamedTuple):
    """A loader key for a search for agents by tag and name."""

    tag: str | None
    search: str | None


class MessageWindow(NamedTuple):
    """A loader key for a page of messages between two positions, newest or oldest first.

    If a client has named an item whose owner is not known yet, ``sought`` is the item's id. Loaders do not combine
    reads for different ids, so that the number of upstream calls does not show whether another user's item exists.
    """

    conversation: ConversationRef
    limit: int
    newest_first: bool = True
    before: Position | None = None
    after: Position | None = None
    sought: Position | None = None


class PassageWindow(NamedTuple):
    """A loader key for a page of an agent's passages, like ``MessageWindow``."""

    agent_id: OwnedAgentId
    limit: int
    newest_first: bool = True
    before: Position | None = None
    after: Position | None = None
    sought: Position | None = None


class RunWindow(NamedTuple):
    """A loader key for a page of an agent's runs, newest first. If ``over`` is True, active runs are omitted."""

    agent_id: OwnedAgentId
    limit: int
    over: bool
    before: Position | None


class ConversationWindow(NamedTuple):
    """A loader key for a page of an agent's conversations, newest first."""

    agent_id: OwnedAgentId
    limit: int
    after: Position | None
    search: str | None


class RunStart(NamedTuple):
    """A loader key for the first messages of a conversation's run."""

    run_id: OwnedRunId
    conversation: ConversationRef


class MemoryQuery(NamedTuple):
    """A loader key for a search in an agent's passages."""

    agent_id: OwnedAgentId
    query: str
    limit: int


class UsageKey(NamedTuple):
    """A loader key for a LiteLLM key's usage in a range of days."""

    key: str
    first: date
    last: date
