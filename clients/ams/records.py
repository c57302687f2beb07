"""Records decoded from AMS's answers. Only fields that are used are modelled; unknown ones are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from clients.decode import MAX_RECORDS, OpenEnum, Records, decode
from clients.errors import Service


class _AgentFields(msgspec.Struct, kw_only=True):
    template_id: str | None = None
    version: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class AgentRow(_AgentFields, kw_only=True):
    """An agent in AMS, whose state is in Letta: its id there, its owner's ``sub``, and the slug of its template.

    ``decode_profile`` sets the owner: ``/me`` is about one user.
    """

    agent_id: str
    owner_id: str = ""


class AgentFacts(msgspec.Struct, kw_only=True):
    """The fields of ``GET /agents`` that an agent's row does not have."""

    agent_id: str
    user_id: str | None = None
    variables: dict[str, Any] | None = None


class _UserFields(msgspec.Struct, kw_only=True):
    id: str | None = None
    email: str | None = None
    name: str | None = None
    litellm_key: str | None = None
    created_at: datetime | None = None


class Profile(_UserFields, kw_only=True):
    """``GET /me``, normalized from its three shapes.

    ``litellm_key`` pays for the user's completions. It is a secret, and is sent to LiteLLM alone.
    """

    letta_agent_id: str | None = None
    profile_exists: bool = False
    agents: list[AgentRow] = []

    def __repr__(self) -> str:
        return f"Profile(id={self.id!r}, agents={len(self.agents)})"


class TemplateRecord(msgspec.Struct, kw_only=True):
    """A template, from whose versions agents are created.

    ``id`` is its slug; ``described`` is false if nothing else is known.
    """

    id: str
    described: bool = True
    name: str | None = None
    description: str | None = None
    latest_version: str | None = None
    versions: list[str] = []
    is_public: bool | None = None
    tags: list[str] = []


class TemplateVersionRecord(msgspec.Struct, kw_only=True):
    """A published version of a template. ``source`` is the Agent File; ``number`` is SemVer."""

    template_id: str
    number: str = msgspec.field(name="version")
    checksum: str | None = None
    is_latest: bool = False
    source: str | None = None
    published_at: datetime | None = None


class PublishedVersion(msgspec.Struct, kw_only=True):
    """The answer to publishing."""

    template_id: str
    version: str
    checksum: str | None = None
    is_latest: bool = True


class TemplateFormat(OpenEnum):
    """The format of an Agent File."""

    YAML = "yaml"
    JSON = "json"
    UNKNOWN = "unknown"


class _Verdict(msgspec.Struct):
    valid: bool
    errors: list[str] = []


class TemplateValidation(msgspec.Struct, kw_only=True):
    """The result of validating an Agent File."""

    raw_format: str | None = msgspec.field(default=None, name="format")
    validation: _Verdict

    @property
    def format(self) -> TemplateFormat:
        """The format of the file, as far as AMS recognises it."""
        return TemplateFormat(self.raw_format or "")

    @property
    def valid(self) -> bool:
        """Whether it can be published, apart from its version."""
        return self.validation.valid

    @property
    def problems(self) -> list[str]:
        """A line for each problem."""
        return self.validation.errors


class UpgradeStep(msgspec.Struct, kw_only=True, frozen=True):
    """One migration of a plan, from a version to the next. ``actions`` are types (``json_patch``, ``script``)."""

    from_version: str | None
    to_version: str | None
    actions: list[str]


class UpgradeChange(msgspec.Struct, kw_only=True):
    """One change of the Agent File (JSON Patch, RFC 6902)."""

    op: str
    path: str
    value: Any = None


class UpgradePlan(msgspec.Struct, kw_only=True):
    """The plan of an upgrade. The contract does not define the form of a step in ``plan``."""

    plan: list[Any]
    diff: list[UpgradeChange] = []
    warnings: list[str] = []

    @property
    def steps(self) -> list[UpgradeStep]:
        """The migrations, in order."""
        return [_step(one) for one in self.plan]


class Applied(msgspec.Struct, kw_only=True):
    """The answer to an upgrade: applied, or queued for an agent."""

    applied: bool | None = None
    agent_id: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError, which becomes a DECODE, if it is neither."""
        if self.applied is None and self.agent_id is None:
            raise ValueError("neither applied nor queued")


class _CreatedAgent(msgspec.Struct):
    id: str


class Created(msgspec.Struct):
    """The answer to creating. The rest of the agent's state is read from Letta."""

    agent: _CreatedAgent


class Refusal(msgspec.Struct):
    """AMS's error. ``details`` are the lines of a failed validation: they mention nothing but the input."""

    error: str = ""
    details: list[str] = []


class _WireProfile(_UserFields):
    letta_agent_id: str | msgspec.UnsetType | None = msgspec.UNSET
    profile_exists: bool | None = None
    agents: Records[AgentRow] | Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=MAX_RECORDS)] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError, which becomes a DECODE, for an answer of another shape than the contract's three.

        It would be read as a user without agents, and all their objects as NOT_FOUND.
        """
        has_user = self.profile_exists is not None or bool(self.id or self.letta_agent_id or self.agents)
        has_agents = self.agents is not None or self.letta_agent_id is not msgspec.UNSET
        if not (has_user and (has_agents or self.profile_exists is False)):
            raise ValueError("not a profile")


_PROFILE = msgspec.json.Decoder(_WireProfile)
_OLD_ROW = msgspec.json.Decoder(_AgentFields)


def decode_profile(body: bytes, user_id: str) -> Profile:
    """Decode a user's profile from any of its three shapes."""
    wire = decode(Service.AMS, _PROFILE, body)
    return Profile(
        **{name: getattr(wire, name) for name in _UserFields.__struct_fields__},
        letta_agent_id=wire.letta_agent_id or None,
        profile_exists=bool(wire.profile_exists),
        agents=_rows(wire, user_id),
    )


def _rows(wire: _WireProfile, user_id: str) -> list[AgentRow]:
    """The agents, from a list, an object by id, or one id."""
    if isinstance(wire.agents, list):
        rows = wire.agents
    elif isinstance(wire.agents, dict):
        old = {agent_id: decode(Service.AMS, _OLD_ROW, bytes(raw)) for agent_id, raw in wire.agents.items()}
        rows = [AgentRow(agent_id=agent_id, **msgspec.structs.asdict(fields)) for agent_id, fields in old.items()]
    else:
        rows = [AgentRow(agent_id=wire.letta_agent_id)] if wire.letta_agent_id else []
    for row in rows:
        row.owner_id = user_id
    return rows


def _step(one: Any) -> UpgradeStep:
    step = one if isinstance(one, dict) else {}
    actions = step.get("steps")
    kinds = [action.get("type") for action in actions if isinstance(action, dict)] if isinstance(actions, list) else []
    return UpgradeStep(
        from_version=_text(step.get("from")),
        to_version=_text(step.get("to")),
        actions=[kind for kind in kinds if isinstance(kind, str)],
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
