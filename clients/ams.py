"""AMS, the Agent Management Service: agent templates, and who owns which agent.

Contract: the AMS page of the platform's contracts. The user is named by ``X-User-Id`` alone; the gateway's own
credential authorizes the call.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime

import msgspec

from clients.calls import Answer, Call, CallScope, UpstreamRejected
from clients.decode import decode, undecodable
from clients.errors import BadUserInput, NotFound, Service, UpstreamError
from clients.upstream import Upstream

_ABSENT = frozenset({404, 405})
"""How a deployment answers that lacks an optional endpoint (AMS contract)."""

ABSENT_SECONDS = 60.0
"""How long a missing endpoint is not asked for again."""

MAX_IDS_PER_CALL = 100
"""How many ids ``GET /templates?ids=`` takes (AMS contract)."""


class AgentRow(msgspec.Struct, kw_only=True):
    """An agent as AMS knows it: its owner's row, whatever Letta says of its state.

    Attributes:
        agent_id: Letta's id, ``agent-…``.
        owner_id: the owner's ``sub``; filled in by ``Ams.profile``, since ``/me`` answers only for one user.
        template_id: slug of the template it was made from, where known.
        version: the template's version it runs, SemVer.
    """

    agent_id: str
    owner_id: str = ""
    template_id: str | None = None
    version: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Profile(msgspec.Struct, kw_only=True):
    """``GET /me``, its three shapes made one.

    ``litellm_key`` pays for the user's completions. It never leaves the clients and the code that hands it to LiteLLM.
    """

    id: str | None = None
    email: str | None = None
    name: str | None = None
    litellm_key: str | None = None
    letta_agent_id: str | None = None
    profile_exists: bool = False
    agents: list[AgentRow] = []

    def __repr__(self) -> str:
        return f"Profile(id={self.id!r}, agents={len(self.agents)})"


class _WireProfile(msgspec.Struct):
    id: str | None = None
    email: str | None = None
    name: str | None = None
    litellm_key: str | None = None
    letta_agent_id: str | None = None
    profile_exists: bool = False
    agents: list[AgentRow] | dict[str, msgspec.Raw] | None = None


class _OldAgentRow(msgspec.Struct):
    template_id: str | None = None
    version: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class TemplateRecord(msgspec.Struct, kw_only=True):
    """A template: the family of versions that agents are made from.

    ``id`` is its slug; ``described`` is false where AMS tells no more than that.
    """

    id: str
    described: bool = True
    name: str | None = None
    description: str | None = None
    latest_version: str | None = None
    versions: list[str] = []
    is_public: bool | None = None
    tags: list[str] = []


class _WireTemplates(msgspec.Struct):
    templates: list[TemplateRecord] = []


_PROFILE = msgspec.json.Decoder(_WireProfile)
_OLD_ROW = msgspec.json.Decoder(_OldAgentRow)
_TEMPLATES = msgspec.json.Decoder(_WireTemplates)


class Ams:
    """Calls to AMS, on behalf of one user at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._absent: dict[str, float] = {}

    async def profile(self, scope: CallScope, user_id: str) -> Profile:
        """The user's profile and agents; ``profile_exists`` is false for a user AMS has never seen."""
        answer = await self._ask(scope, Call(operation="me", path="/me"), user_id)
        wire = decode(Service.AMS, _PROFILE, answer.body)
        return Profile(
            id=wire.id,
            email=wire.email,
            name=wire.name,
            litellm_key=wire.litellm_key,
            letta_agent_id=wire.letta_agent_id,
            profile_exists=wire.profile_exists,
            agents=_rows(wire, user_id),
        )

    async def templates(self, scope: CallScope, user_id: str, ids: list[str]) -> list[TemplateRecord | None]:
        """Templates by slug, in the order asked, ``None`` where AMS answers none.

        An AMS without this endpoint yields records that know their slug alone, whether there is such a template or not.
        """
        call = Call(operation="templates", path="/templates", params=[("ids", ",".join(ids))])
        answer = await self._optional(scope, call, user_id)
        if answer is None:
            return [TemplateRecord(id=slug, described=False) for slug in ids]
        found = {record.id: record for record in decode(Service.AMS, _TEMPLATES, answer.body).templates}
        return [found.get(slug) for slug in ids]

    async def template_page(
        self, scope: CallScope, user_id: str, *, limit: int, after: str | None, search: str | None
    ) -> list[TemplateRecord] | None:
        """A page of the templates that the user may use; ``None`` from an AMS without this endpoint."""
        params = [("limit", str(limit))]
        params += [("after", after)] if after else []
        params += [("search", search)] if search else []
        answer = await self._optional(scope, Call(operation="templates", path="/templates", params=params), user_id)
        return None if answer is None else decode(Service.AMS, _TEMPLATES, answer.body).templates

    async def _optional(self, scope: CallScope, call: Call, user_id: str) -> Answer | None:
        """The answer of an endpoint that a deployment may lack; ``None`` without it, remembered for a while."""
        if self._absent.get(call.operation, 0.0) > time.monotonic():
            return None
        try:
            return await self.upstream.request(scope, replace(call, headers={"X-User-Id": user_id}))
        except UpstreamRejected as rejected:
            if rejected.status not in _ABSENT:
                raise _translate(rejected) from rejected
            self._absent[call.operation] = time.monotonic() + ABSENT_SECONDS
            return None

    async def _ask(self, scope: CallScope, call: Call, user_id: str) -> Answer:
        try:
            return await self.upstream.request(scope, replace(call, headers={"X-User-Id": user_id}))
        except UpstreamRejected as rejected:
            raise _translate(rejected) from rejected


def _rows(wire: _WireProfile, user_id: str) -> list[AgentRow]:
    """Agents from whichever of the three shapes the deployment answers: a list, an object by id, one id."""
    if isinstance(wire.agents, list):
        rows = wire.agents
    elif isinstance(wire.agents, dict):
        rows = [_old_row(agent_id, raw) for agent_id, raw in wire.agents.items()]
    else:
        rows = [AgentRow(agent_id=wire.letta_agent_id)] if wire.letta_agent_id else []
    for row in rows:
        row.owner_id = user_id
    return rows


def _old_row(agent_id: str, raw: msgspec.Raw) -> AgentRow:
    old = decode(Service.AMS, _OLD_ROW, bytes(raw))
    return AgentRow(
        agent_id=agent_id,
        template_id=old.template_id,
        version=old.version,
        created_at=old.created_at,
        updated_at=old.updated_at,
    )


def _translate(rejected: UpstreamRejected) -> Exception:
    """What a refusal by AMS means to the caller. AMS's own words stay behind: they may name other users' things."""
    match rejected.status:
        case 404:
            return NotFound("Not found.", service=Service.AMS)
        case 400:
            return BadUserInput("AMS refused the request.", service=Service.AMS)
        case 401 | 403:
            return UpstreamError(
                "AMS refused the gateway's credential.", reason="CREDENTIAL", service=Service.AMS, can_retry=False
            )
        case _:
            return undecodable(Service.AMS)
