"""Types for the answers of Letta 0.16.8. Each type has only the fields that the gateway uses."""

from datetime import datetime
from typing import Any

import msgspec

from clients.decode import OpenEnum
from clients.letta.stops import stop_kind
from clients.usage import Usage

MAX_PAGE = 100
"""The maximum number of items that the gateway requests in one page from Letta."""


class RunStatus(OpenEnum):
    """The status of a run."""

    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class MemoryBlockRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A memory block, which is always in the agent's context. ``limit`` is in characters."""

    id: str
    label: str
    value: str
    limit: int | None = None
    description: str | None = None
    read_only: bool = False


class _Tagged(msgspec.Struct, kw_only=True, frozen=True):
    raw_tags: list[str] | None = msgspec.field(default=None, name="tags")

    @property
    def tags(self) -> list[str]:
        """The tags of the tool or passage."""
        return self.raw_tags or []


class ToolRecord(_Tagged, kw_only=True, frozen=True):
    """A tool that is attached to an agent. The agent can override the tool's default for ``requires_approval``."""

    id: str
    name: str | None = None
    description: str | None = None
    type: str | None = msgspec.field(default=None, name="tool_type")
    json_schema: Any = None
    requires_approval: bool | None = msgspec.field(default=None, name="default_requires_approval")


class PassageRecord(_Tagged, kw_only=True, frozen=True):
    """A passage of an agent's archival memory. The gateway sets ``agent_id``, which Letta does not send."""

    id: str
    text: str = ""
    created_at: datetime | None = None
    agent_id: str = ""


class MemoryHit(msgspec.Struct, kw_only=True, frozen=True):
    """An archival passage that a search found.

    ``score`` is higher for a better match, and ``None`` if Letta sent no score.
    """

    passage: PassageRecord
    score: float | None = None


class _LlmConfig(msgspec.Struct, frozen=True):
    handle: str | None = None
    model: str | None = None


class AgentState(msgspec.Struct, kw_only=True, frozen=True):
    """An agent in Letta, with the agent's configuration.

    ``model`` begins with the provider's name, as in ``openai/gpt-4o-mini``.
    """

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
        """The LiteLLM name of the agent's model, without the provider's name."""
        handle = self.model or (self.llm_config.handle or self.llm_config.model if self.llm_config else None)
        return handle.split("/", 1)[-1] if handle else None


class AgentToChange(msgspec.Struct, kw_only=True):
    """The fields of an agent that the gateway reads before it changes the agent.

    ``llm_config`` configures the agent's model.
    """

    tags: list[str] = []
    llm_config: dict[str, Any]

    def with_model(self, name: str, *, context: int | None, output: int | None) -> dict[str, Any]:
        """Return the agent's model configuration, changed to another model.

        The copy's token limits are at most the new model's limits. If a change contains only ``model``, Letta removes
        the endpoint that AMS has set. The agent's model calls would then bypass the gateway, and the agent's owner
        would not pay.
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


class ConversationRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A conversation in Letta. Letta has no record of an agent's default conversation."""

    id: str
    agent_id: str
    summary: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_message_at: datetime | None = None


class RunRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A run in Letta. A run is one turn of an agent."""

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
        """The run's status. If the status in Letta is out of date, the stop reason determines the run's status."""
        status = RunStatus(self.raw_status)
        if status in _ENDS or not self.stop_reason:
            return status
        return RunStatus(stop_kind(self.stop_reason))

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.status in _ENDS

    @property
    def is_active(self) -> bool:
        """Whether the run has not ended.

        Letta 0.16.8 never updates the status ``created`` of a run whose answer is not streamed. So a ``created`` run is
        active only if it is a background run, which is about to begin.
        """
        if self.status is RunStatus.CREATED:
            return bool(self.background)
        return self.status in {RunStatus.RUNNING, RunStatus.UNKNOWN} and self.completed_at is None

    @property
    def time_to_first_token_ms(self) -> int | None:
        """The time from the run's start to the run's first token, in milliseconds."""
        return None if self.ttft_ns is None else round(self.ttft_ns / 1_000_000)


class StepStatus(OpenEnum):
    """The status of a step."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class Spent(msgspec.Struct, kw_only=True, frozen=True):
    """The number of tokens that a run or a step used. Letta reports no cost."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    @property
    def usage(self) -> Usage:
        """The token counts, converted to ``Usage``."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            total_tokens=self.total_tokens,
            reasoning_tokens=completion.reasoning_tokens if completion else None,
            cached_prompt_tokens=prompt.cached_tokens if prompt else None,
        )


class StepRecord(Spent, kw_only=True, frozen=True):
    """One step of a run. A step calls the model once.

    The gateway omits ``error_data``, which contains upstream texts.
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
        """The step's status."""
        return StepStatus(self.raw_status or "unknown")
