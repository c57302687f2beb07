"""Records decoded from Letta 0.16.8's answers. Only fields that are used are modelled; unknown ones are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from clients.decode import OpenEnum
from clients.letta.stops import stop_kind
from clients.usage import Usage

MAX_PAGE = 100
"""The most items that are requested of a list at a time."""


class RunStatus(OpenEnum):
    """The status of a run."""

    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class MemoryBlockRecord(msgspec.Struct, kw_only=True):
    """A block of core memory, which is always in the agent's context. ``limit`` is in characters."""

    id: str
    label: str
    value: str
    limit: int | None = None
    description: str | None = None
    read_only: bool = False


class _Tagged(msgspec.Struct, kw_only=True):
    raw_tags: list[str] | None = msgspec.field(default=None, name="tags")

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return self.raw_tags or []


class ToolRecord(_Tagged, kw_only=True):
    """A tool attached to an agent. Its source code is not read.

    ``requires_approval`` is the tool's default, which an agent can override.
    """

    id: str
    name: str | None = None
    description: str | None = None
    type: str | None = msgspec.field(default=None, name="tool_type")
    json_schema: Any = None
    requires_approval: bool | None = msgspec.field(default=None, name="default_requires_approval")


class PassageRecord(_Tagged, kw_only=True):
    """A passage of archival memory, which an agent reads by searching.

    ``agent_id`` is the agent it was read from; Letta's answer does not have it. The vector is not read.
    """

    id: str
    text: str = ""
    created_at: datetime | None = None
    agent_id: str = ""


class MemoryHit(msgspec.Struct, kw_only=True):
    """A passage that a search found. A higher ``score`` is nearer; ``None`` if Letta reports none."""

    passage: PassageRecord
    score: float | None = None


class _LlmConfig(msgspec.Struct):
    handle: str | None = None
    model: str | None = None


class AgentState(msgspec.Struct, kw_only=True):
    """An agent's state in Letta. ``model`` is a handle with its provider's prefix, ``openai/gpt-4o-mini``."""

    id: str
    name: str | None = None
    description: str | None = None
    model: str | None = None
    llm_config: _LlmConfig | None = None
    tags: list[str] = []
    blocks: list[MemoryBlockRecord] = []
    tools: list[ToolRecord] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def model_name(self) -> str | None:
        """The model's name in LiteLLM: the handle without its provider's prefix."""
        handle = self.model or (self.llm_config.handle or self.llm_config.model if self.llm_config else None)
        return handle.split("/", 1)[-1] if handle else None


class AgentToChange(msgspec.Struct, kw_only=True):
    """The parts of an agent that a change needs. ``llm_config`` is Letta's whole configuration of its model."""

    tags: list[str] = []
    llm_config: dict[str, Any]

    def with_model(self, name: str, *, context: int | None, output: int | None) -> dict[str, Any]:
        """``llm_config`` with another model of LiteLLM, and with no more tokens than that model allows.

        The other fields are kept. If a change has ``model`` alone, Letta removes the endpoint that AMS has set: the
        agent would not call its model through the gateway, and its owner would not pay.
        """
        config = {**self.llm_config, "model": name, "display_name": None}
        handle = config.get("handle")
        if isinstance(handle, str):
            provider, slash, _ = handle.partition("/")
            config["handle"] = f"{provider}/{name}" if slash else name
        for field, limit in (("context_window", context), ("max_tokens", output)):
            known = config.get(field)
            if limit is not None and isinstance(known, int):
                config[field] = min(known, limit)
        return config


class ConversationRecord(msgspec.Struct, kw_only=True):
    """A conversation with an agent.

    An agent's default conversation has no record in Letta; here its id is ``conversation:<agent id>``.
    """

    id: str
    agent_id: str
    summary: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_message_at: datetime | None = None


class RunRecord(msgspec.Struct, kw_only=True):
    """Letta's record of a turn."""

    id: str
    agent_id: str | None = None
    conversation_id: str | None = None
    raw_status: str = msgspec.field(default="", name="status")
    stop_reason: str | None = None
    background: bool | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    ttft_ns: int | None = None

    @property
    def status(self) -> RunStatus:
        """The status. Letta can leave it unchanged although a run has ended: then it follows from the stop reason."""
        status = RunStatus(self.raw_status)
        if status in _ENDS or not self.stop_reason:
            return status
        return RunStatus(stop_kind(self.stop_reason))

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in _ENDS

    @property
    def is_active(self) -> bool:
        """Whether it has not ended.

        Letta 0.16.8 leaves the run of an answer that was not streamed ``created``. So a ``created`` run is active only
        if it is a background run, which is about to begin.
        """
        if self.status is RunStatus.CREATED:
            return bool(self.background)
        return self.status in {RunStatus.RUNNING, RunStatus.UNKNOWN} and self.completed_at is None

    @property
    def time_to_first_token_ms(self) -> int | None:
        """The time from the run's start to its first token, in milliseconds."""
        return None if self.ttft_ns is None else round(self.ttft_ns / 1_000_000)


class StepStatus(OpenEnum):
    """The status of a step."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Spent(msgspec.Struct, kw_only=True):
    """Tokens of a run or a step. Letta reports no cost."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    @property
    def usage(self) -> Usage:
        """The tokens as ``Usage``."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            total_tokens=self.total_tokens,
            reasoning_tokens=completion.reasoning_tokens if completion else None,
            cached_prompt_tokens=prompt.cached_tokens if prompt else None,
        )


class StepRecord(Spent, kw_only=True):
    """One model call in a run. Letta stores no time of it.

    Its ``error_data`` has upstream texts and tracebacks and is not read.
    """

    id: str
    run_id: str | None = None
    agent_id: str | None = None
    model_name: str | None = msgspec.field(default=None, name="model")
    provider: str | None = msgspec.field(default=None, name="provider_name")
    raw_status: str | None = msgspec.field(default=None, name="status")
    stop_reason: str | None = None

    @property
    def status(self) -> StepStatus:
        """The status."""
        return StepStatus(self.raw_status or "unknown")
