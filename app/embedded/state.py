"""The embedded platform's data in memory. Every change is also written to the store (``app.embedded.store``)."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from app.embedded.store import Store

Json = dict[str, Any]

MAX_REPLAYABLE = 200
"""The maximum number of finished background runs whose frames are kept. Letta drops frames after some hours."""

MAX_RESPONSES = 200
"""The maximum number of stored responses of the Responses API. OpenAI drops responses after 30 days."""
MAX_RESPONSE_BYTES = 64 << 20
"""The maximum size of all stored responses with their contexts, in bytes of JSON. The newest is always kept."""


def now() -> str:
    """Return the current time in the format of Letta's records."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def now_of_message() -> str:
    """Return the current time in the format of Letta's messages, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_id(kind: str) -> str:
    """Make an id in Letta's format."""
    return f"{kind}-{uuid.uuid4()}"


@dataclass
class User:
    """A user of AMS. ``shape`` is the form that ``/me`` has for agents: ``list``, ``object`` or ``single``."""

    id: str
    email: str
    name: str
    litellm_key: str | None
    rows: list[Json] = field(default_factory=list)
    shape: str = "list"


@dataclass
class Agent:
    """An agent in Letta. A *scope* is the id of a conversation, or the agent's id for the default conversation.

    Attributes:
        body: the fields of the agent's representation, without blocks and tools.
        approvals: by a tool's name, whether calls need an approval. The value overrides the tool's default.
        pending: by scope, the call that waits for a decision.
        messages: by scope, groups of messages with the same id, oldest first.
    """

    body: Json
    block_ids: list[str] = field(default_factory=list)
    tool_ids: list[str] = field(default_factory=list)
    approvals: dict[str, bool] = field(default_factory=dict)
    pending: dict[str, Json] = field(default_factory=dict)
    conversations: dict[str, Json] = field(default_factory=dict)
    messages: dict[str, list[list[Json]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The agent's id."""
        return str(self.body["id"])


@dataclass
class Run:
    """Letta's record of a turn. A response that is not streamed uses ``messages``, ``error`` and ``reason``.

    Attributes:
        body: the fields of the run's representation.
        frames: server-sent events, in order. The frames of a background run can be replayed.
        error: the error of a failed model call.
        reason: the stop reason.
        over: whether the run has ended.
        lost: whether the run's frames have been lost or dropped.
    """

    body: Json
    scope: str
    steps: list[Json] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    messages: list[Json] = field(default_factory=list)
    usage: Json = field(default_factory=dict)
    error: Json | None = None
    reason: str | None = None
    over: bool = False
    lost: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.body["id"])

    @property
    def is_tracked(self) -> bool:
        """Whether Letta updates its record of the run."""
        return bool(self.body["status"] != "created")

    def emit(self, frame: str) -> None:
        """Add a server-sent event."""
        self.frames.append(frame)
        self.notify()

    def notify(self) -> None:
        """Wake the tasks that wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class ModelStats:
    """Counts of model calls. ``disconnected`` counts the calls whose client disconnected before the end."""

    inflight: int = 0
    total: int = 0
    disconnected: int = 0


@dataclass
class State:
    """The data of all embedded services.

    Attributes:
        templates: AMS's templates, by id.
        releases: the published versions of templates, by ``id@version``.
        keys: the records of LiteLLM's virtual keys, by key.
        providers: the providers that were added to Letta, each with a key.
        spend: LiteLLM's log of calls with their costs, oldest first.
        responses: the stored responses of the Responses API, by the provider's id, oldest first.
        created: AMS's responses, by user and idempotency key.
        upgrades: queued upgrades, by agent id.
        marks: the platform's own data, such as its keys.
        order: the position of each Letta message among all messages, by id.
        letta: the URL of a separate Letta; empty for the embedded Letta. A user has separate rows for each URL.
    """

    store: Store = field(default_factory=Store)
    users: dict[str, User] = field(default_factory=dict)
    templates: dict[str, Json] = field(default_factory=dict)
    releases: dict[str, Json] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    blocks: dict[str, Json] = field(default_factory=dict)
    tools: dict[str, Json] = field(default_factory=dict)
    passages: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    models: dict[str, Json] = field(default_factory=dict)
    keys: dict[str, Json] = field(default_factory=dict)
    providers: dict[str, Json] = field(default_factory=dict)
    spend: list[Json] = field(default_factory=list)
    responses: dict[str, Json] = field(default_factory=dict)
    created: dict[str, Json] = field(default_factory=dict)
    upgrades: dict[str, Json] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    stats: ModelStats = field(default_factory=ModelStats)
    calls: list[Json] = field(default_factory=list)
    letta: str = ""

    def conversation(self, conversation_id: str) -> tuple[Agent, Json] | None:
        """Return a conversation and its agent."""
        for agent in self.agents.values():
            conversation = agent.conversations.get(conversation_id)
            if conversation is not None and not conversation.get("is_deleted"):
                return agent, conversation
        return None

    def active_run(self, scope: str) -> Run | None:
        """Return a conversation's active run."""
        return next((run for run in self.runs.values() if run.scope == scope and not run.over), None)

    def mark(self, name: str, value: Any) -> None:
        """Set a value in ``marks``, and store the value."""
        self.marks[name] = value
        self.store.put("mark", name, value)

    def keep_user(self, user: User) -> None:
        """Store a user, but not AMS's rows for the user's agents."""
        self.users[user.id] = user
        body = {"id": user.id, "email": user.email, "name": user.name, "shape": user.shape}
        self.store.put("user", user.id, body)

    def keep_rows(self, user: User) -> None:
        """Store AMS's rows for a user's agents in the current Letta."""
        self.store.put("rows", f"{user.id} {self.letta}", user.rows)

    def keep_agent(self, agent: Agent) -> None:
        """Store an agent, but not its conversations and messages."""
        self.agents[agent.id] = agent
        names = ("body", "block_ids", "tool_ids", "approvals", "pending")
        self.store.put("agent", agent.id, {name: getattr(agent, name) for name in names})

    def keep_conversation(self, agent: Agent, conversation: Json) -> None:
        """Store a conversation."""
        agent.conversations[conversation["id"]] = conversation
        self.store.put("conversation", conversation["id"], conversation, agent.id)

    def add_messages(self, agent: Agent, scope: str, groups: list[list[Json]]) -> None:
        """Append groups of messages to a conversation, and store the groups."""
        agent.messages.setdefault(scope, [])
        for group in groups:
            self.append_group(agent, scope, group)
            self.keep_group(agent, scope, group)

    def append_group(self, agent: Agent, scope: str, group: list[Json]) -> None:
        """Append a group of messages to a conversation, but do not store the group."""
        agent.messages.setdefault(scope, []).append(group)
        self.order.setdefault(group[0]["id"], len(self.order))

    def keep_group(self, agent: Agent, scope: str, group: list[Json]) -> None:
        """Store a group of messages of a conversation."""
        body = {"agent_id": agent.id, "scope": scope, "group": group}
        self.store.put("message", f"{scope} {group[0]['id']}", body, scope)

    def keep(self, kind: str, records: dict[str, Json], key: str, body: Json, owner: str = "") -> None:
        """Store a record: ``state.keep("block", state.blocks, id, block)``."""
        records[key] = body
        self.store.put(kind, key, body, owner)

    def add_spend(self, entry: Json) -> None:
        """Log a model call with its cost."""
        self.spend.append(entry)
        self.store.put("spend", entry["request_id"], entry)

    def keep_response(self, response_id: str, stored: Json) -> None:
        """Store a response of the Responses API, and drop the oldest responses above the limits."""
        size = len(orjson.dumps(stored))
        with self.store.together():
            self.keep("response", self.responses, response_id, {**stored, "size": size})
            total = sum(one["size"] for one in self.responses.values())
            while len(self.responses) > 1 and (len(self.responses) > MAX_RESPONSES or total > MAX_RESPONSE_BYTES):
                oldest = next(iter(self.responses))
                total -= self.responses[oldest]["size"]
                self.drop_response(oldest)

    def drop_response(self, response_id: str) -> None:
        """Delete a response of the Responses API."""
        del self.responses[response_id]
        self.store.drop("response", response_id)

    def keep_run(self, run: Run) -> None:
        """Store a run. The frames are stored only if the run has ended and can be replayed."""
        self.runs[run.id] = run
        names = ("body", "scope", "steps", "usage", "over", "lost")
        body = {name: getattr(run, name) for name in names}
        body["frames"] = run.frames if run.over and run.body["background"] else []
        self.store.put("run", run.id, body, str(run.body["agent_id"]))
        if run.over:
            self._drop_frames()

    def _drop_frames(self) -> None:
        replayable = [run for run in self.runs.values() if run.over and run.frames]
        for run in replayable[:-MAX_REPLAYABLE]:
            run.frames, run.lost = [], True
            self.keep_run(run)

    def drop_agent(self, agent: Agent) -> None:
        """Delete an agent with its conversations, messages, memory and runs."""
        with self.store.together():
            for scope in agent.messages:
                self.store.drop_owned(scope)
            self.store.drop_owned(agent.id)
            self.store.drop("agent", agent.id)
        del self.agents[agent.id]
        self.runs = {run_id: run for run_id, run in self.runs.items() if run.body["agent_id"] != agent.id}
        self.passages = {key: one for key, one in self.passages.items() if one["agent_id"] != agent.id}
