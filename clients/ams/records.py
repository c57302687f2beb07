"""Types for AMS's answers. Each type has only the fields that the gateway uses."""

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
    """AMS's record of an agent.

    ``template_id`` is the template's slug, and ``owner_id`` is the owner's ``sub`` claim. AMS does not send the owner
    with each agent of ``GET /me``, so ``decode_account`` sets the owner.
    """

    agent_id: str
    owner_id: str = ""


class AgentFacts(msgspec.Struct, kw_only=True):
    """An agent in AMS's answer to ``GET /agents``, with the fields that ``AgentRow`` lacks."""

    agent_id: str
    user_id: str | None = None
    variables: dict[str, Any] | None = None


class _UserFields(msgspec.Struct, kw_only=True):
    id: str | None = None
    email: str | None = None
    name: str | None = None
    created_at: datetime | None = None


class Profile(_UserFields, kw_only=True):
    """A user's profile and agents."""

    letta_agent_id: str | None = None
    profile_exists: bool = False
    agents: list[AgentRow] = []


class Account(msgspec.Struct, kw_only=True):
    """A user's profile and virtual key, decoded from AMS's answer to ``GET /me``.

    ``litellm_key`` is the secret key that pays for the user's completions. The gateway sends the key only to LiteLLM.
    """

    profile: Profile
    litellm_key: str | None = None

    def __repr__(self) -> str:
        return f"Account(id={self.profile.id!r}, agents={len(self.profile.agents)})"


class TemplateRecord(msgspec.Struct, kw_only=True):
    """A template for agents. ``id`` is the template's slug. If only the slug is known, ``described`` is false."""

    id: str
    described: bool = True
    name: str | None = None
    description: str | None = None
    latest_version: str | None = None
    versions: list[str] = []
    is_public: bool | None = None
    tags: list[str] = []


class TemplateVersionRecord(msgspec.Struct, kw_only=True):
    """A published version of a template. ``source`` is the Agent File, and ``number`` is a SemVer version."""

    template_id: str
    number: str = msgspec.field(name="version")
    checksum: str | None = None
    is_latest: bool = False
    source: str | None = None
    published_at: datetime | None = None


class PublishedVersion(msgspec.Struct, kw_only=True):
    """AMS's answer to a request to publish a template's version."""

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
    """AMS's report on whether an Agent File is valid."""

    raw_format: str | None = msgspec.field(default=None, name="format")
    validation: _Verdict

    @property
    def format(self) -> TemplateFormat:
        """The Agent File's format, or ``UNKNOWN`` if AMS does not recognise the format."""
        return TemplateFormat(self.raw_format or "")

    @property
    def valid(self) -> bool:
        """Whether the Agent File is valid, except for the version number."""
        return self.validation.valid

    @property
    def problems(self) -> list[str]:
        """One line for each problem in the Agent File."""
        return self.validation.errors


class UpgradeStep(msgspec.Struct, kw_only=True, frozen=True):
    """One migration in an agent's upgrade.

    ``actions`` lists the types of the migration's actions, such as ``json_patch``.
    """

    from_version: str | None
    to_version: str | None
    actions: list[str]


class UpgradeChange(msgspec.Struct, kw_only=True):
    """One change that an upgrade makes to the Agent File. The change is a JSON Patch operation (RFC 6902)."""

    op: str
    path: str
    value: Any = None


class UpgradePlan(msgspec.Struct, kw_only=True):
    """AMS's plan for an agent's upgrade. The AMS contract does not define the form of the items in ``plan``."""

    plan: list[Any]
    diff: list[UpgradeChange] = []
    warnings: list[str] = []

    @property
    def steps(self) -> list[UpgradeStep]:
        """The upgrade's migrations, in order."""
        return [_step(one) for one in self.plan]


class Applied(msgspec.Struct, kw_only=True):
    """AMS's answer to a request to upgrade an agent."""

    applied: bool | None = None
    agent_id: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if AMS has neither applied nor queued the upgrade."""
        if self.applied is None and self.agent_id is None:
            raise ValueError("neither applied nor queued")


class _CreatedAgent(msgspec.Struct):
    id: str


class Created(msgspec.Struct):
    """AMS's answer to a request to create an agent."""

    agent: _CreatedAgent


class Refusal(msgspec.Struct):
    """An error from AMS. ``details`` lists validation errors. These errors quote only the client's input."""

    error: str = ""
    details: list[str] = []


class _WireProfile(_UserFields):
    litellm_key: str | None = None
    letta_agent_id: str | msgspec.UnsetType | None = msgspec.UNSET
    profile_exists: bool | None = None
    agents: Records[AgentRow] | Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=MAX_RECORDS)] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the answer has none of the contract's three forms."""
        has_user = self.profile_exists is not None or bool(self.id or self.letta_agent_id or self.agents)
        has_agents = self.agents is not None or self.letta_agent_id is not msgspec.UNSET
        if not (has_user and (has_agents or self.profile_exists is False)):
            raise ValueError("not a profile")


_PROFILE = msgspec.json.Decoder(_WireProfile)
_OLD_ROW = msgspec.json.Decoder(_AgentFields)


def decode_account(body: bytes, user_id: str) -> Account:
    """Decode a user's profile and virtual key from AMS's answer."""
    wire = decode(Service.AMS, _PROFILE, body)
    profile = Profile(
        **{name: getattr(wire, name) for name in _UserFields.__struct_fields__},
        letta_agent_id=wire.letta_agent_id or None,
        profile_exists=bool(wire.profile_exists),
        agents=_rows(wire, user_id),
    )
    return Account(profile=profile, litellm_key=wire.litellm_key)


def _rows(wire: _WireProfile, user_id: str) -> list[AgentRow]:
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
