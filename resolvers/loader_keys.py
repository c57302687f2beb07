"""The keys of loaders whose reads take several values."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from clients.owned import ConversationRef, OwnedAgentId, OwnedRunId, Position


class VersionKey(NamedTuple):
    """A template's version, and whether it is known to exist."""

    slug: str
    number: str
    exists: bool


class UpgradeKey(NamedTuple):
    """An agent's upgrade to a version, or to the latest."""

    agent_id: OwnedAgentId
    version: str | None


class AgentSearch(NamedTuple):
    """Agents with a tag, and with a text in the name."""

    tag: str | None
    search: str | None


class MessageWindow(NamedTuple):
    """A page of messages between two positions, from one end."""

    conversation: ConversationRef
    limit: int
    newest_first: bool = True
    before: Position | None = None
    after: Position | None = None


class PassageWindow(NamedTuple):
    """A page of an agent's passages between two positions, from one end."""

    agent_id: OwnedAgentId
    limit: int
    newest_first: bool = True
    before: Position | None = None
    after: Position | None = None


class RunWindow(NamedTuple):
    """A page of an agent's runs, newest first; with ``over``, only those that have ended."""

    agent_id: OwnedAgentId
    limit: int
    over: bool
    before: Position | None


class ConversationWindow(NamedTuple):
    """A page of an agent's conversations, newest first."""

    agent_id: OwnedAgentId
    limit: int
    after: Position | None
    search: str | None


class RunStart(NamedTuple):
    """The first messages of a run in a conversation."""

    run_id: OwnedRunId
    conversation: ConversationRef


class MemoryQuery(NamedTuple):
    """A search in an agent's passages."""

    agent_id: OwnedAgentId
    query: str
    limit: int


class UsageKey(NamedTuple):
    """The usage of a LiteLLM key from a first to a last day."""

    key: str
    first: date
    last: date
