"""The client of AMS.

The gateway's own credential authorizes a call, and ``X-User-Id`` names the user (AMS contract).
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from clients.ams import refusals
from clients.ams.health import what_is_wrong
from clients.ams.records import (
    AgentFacts,
    Applied,
    Created,
    Profile,
    PublishedVersion,
    TemplateRecord,
    TemplateValidation,
    TemplateVersionRecord,
    UpgradePlan,
    decode_profile,
)
from clients.calls import AnswerSize, Call, CallScope, Translation, UpstreamRejected
from clients.decode import Records
from clients.errors import GatewayError, NotFound, Service
from clients.owned import OwnedAgentId
from clients.service import ServiceClient
from clients.upstream import Upstream

T = TypeVar("T")

_ABSENT = frozenset({404, 405})
"""The statuses of a deployment without an optional endpoint (AMS contract)."""

_DOTS = frozenset({".", ".."})
"""Path segments that quoting does not protect."""

ABSENT_SECONDS = 60.0
"""How long a missing endpoint is not called again."""

MAX_IDS_PER_CALL = 100
"""The most ids of ``GET /templates?ids=`` and ``GET /agents?ids=`` (AMS contract)."""


class _WireTemplates(msgspec.Struct):
    templates: Records[TemplateRecord]


class _WireAgents(msgspec.Struct):
    agents: Records[AgentFacts]


_TEMPLATES = msgspec.json.Decoder(_WireTemplates)
_AGENTS = msgspec.json.Decoder(_WireAgents)
_VERSION = msgspec.json.Decoder(TemplateVersionRecord)
_VALIDATION = msgspec.json.Decoder(TemplateValidation)
_PUBLISHED = msgspec.json.Decoder(PublishedVersion)
_CREATED = msgspec.json.Decoder(Created)
_PLAN = msgspec.json.Decoder(UpgradePlan)
_APPLIED = msgspec.json.Decoder(Applied)
_BODIES = msgspec.json.Encoder(order="deterministic")
"""AMS compares bodies to recognise a repeated request, so the same input must encode to the same bytes."""


class Ams(ServiceClient):
    """A client of AMS. ``key`` is an ``Idempotency-Key``; if it is ``None``, a new one is sent."""

    service = Service.AMS
    translate = staticmethod(refusals.translate)

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._absent: dict[str, float] = {}
        self._wrong: str | None = None

    async def ping(self, scope: CallScope) -> None:
        """Check that AMS is available, and read its own health. Raises GatewayError."""
        self._wrong = None
        self._wrong = what_is_wrong((await self.upstream.ping(scope, "/health")).body)

    def note(self) -> str | None:
        """What the last ``ping`` reported as wrong."""
        return self._wrong

    async def profile(self, scope: CallScope, user_id: str) -> Profile:
        """Read the user's profile and agents. ``profile_exists`` is false for a user that AMS does not know."""
        call = _of_user(user_id, Call("me", "/me", refused=refusals.of_profile))
        return decode_profile((await self.upstream.request(scope, call)).body, user_id)

    async def agent_facts(self, scope: CallScope, user_id: str, ids: list[OwnedAgentId]) -> list[AgentFacts | None]:
        """Read more about agents than their rows have, in the order of ``ids``; ``None`` for an agent without facts."""
        call = Call("agents", "/agents", params=[("ids", ",".join(ids))])
        answer = await self._optional(scope, _AGENTS, _of_user(user_id, call))
        known = [] if answer is None else answer.agents
        found = {facts.agent_id: facts for facts in known if facts.user_id in {None, user_id}}
        return [found.get(agent_id) for agent_id in ids]

    async def create_agent(self, scope: CallScope, user_id: str, body: dict[str, Any], key: str) -> str:
        """Create an agent from a template, and return its id. ``body`` is AMS's request.

        Raises NotFound (no such template or version), Invalid (``VARIABLES_INVALID``), Conflict (``KEY_REUSED``).
        """
        call = _of_agents("agent.create", "/agents/create", _BODIES.encode(body), str(body.get("template_id", "")))
        call = replace(_keyed(call, key), refused=refusals.of_creating)
        return (await self.read(scope, _CREATED, _of_user(user_id, call))).agent.id

    async def upgrade_plan(
        self, scope: CallScope, user_id: str, agent_id: OwnedAgentId, version: str | None
    ) -> UpgradePlan:
        """Plan an upgrade to a version, or to the latest. Raises as ``upgrade_agent`` does."""
        call = _of_agents("agent.plan", f"/agents/{agent_id}/upgrade", _upgrade(version, dry_run=True), agent_id)
        return await self.read(scope, _PLAN, _of_user(user_id, replace(call, refused=refusals.of_upgrading)))

    async def upgrade_agent(
        self,
        scope: CallScope,
        user_id: str,
        agent_id: OwnedAgentId,
        *,
        version: str | None,
        queue: bool,
        key: str | None,
    ) -> bool:
        """Upgrade an agent to a version, or to the latest. Returns false if the upgrade is queued.

        Raises NotFound (no such version), Conflict (``NO_MIGRATION_PATH`` or ``KEY_REUSED``).
        """
        body = _upgrade(version, dry_run=False, use_queue=queue)
        call = _keyed(_of_agents("agent.upgrade", f"/agents/{agent_id}/upgrade", body, agent_id), key)
        answer = await self.read(scope, _APPLIED, _of_user(user_id, replace(call, refused=refusals.of_upgrading)))
        return bool(answer.applied)

    async def delete_agent(
        self, scope: CallScope, user_id: str, agent_id: OwnedAgentId, key: str | None
    ) -> bool | None:
        """Delete an agent. Returns ``None`` if the endpoint is known to be missing.

        Returns false if AMS answers that there is no such agent. An AMS without this endpoint can answer the same: a
        caller that knows that the agent exists then calls ``deletes_no_agents``.
        """
        if self._is_absent("agent.delete"):
            return None
        call = _of_agents("agent.delete", f"/agents/{agent_id}", None, agent_id, method="DELETE")
        call = replace(_keyed(call, key), refused=_absent_if(_ABSENT))
        try:
            await self.write(scope, _of_user(user_id, call))
        except _Absent as absent:
            if absent.status == 405:
                self.deletes_no_agents()
            return False
        return True

    def deletes_no_agents(self) -> None:
        """Record for a while that this AMS cannot delete agents."""
        self._note_absent("agent.delete")

    async def templates(self, scope: CallScope, user_id: str, ids: list[str]) -> list[TemplateRecord | None]:
        """Read templates by slug, in the order of ``ids``; ``None`` for a missing one.

        Without this endpoint, every id has a record with its slug alone.
        """
        call = Call("templates", "/templates", params=[("ids", ",".join(ids))])
        answer = await self._optional(scope, _TEMPLATES, _of_user(user_id, call))
        if answer is None:
            return [TemplateRecord(id=slug, described=False) for slug in ids]
        found = {record.id: record for record in answer.templates}
        return [found.get(slug) for slug in ids]

    async def template_page(
        self, scope: CallScope, user_id: str, *, limit: int, after: str | None, search: str | None
    ) -> list[TemplateRecord] | None:
        """Read a page of the templates that the user may use; ``None`` without this endpoint."""
        params = [("limit", str(limit))]
        params += [("after", after)] if after else []
        params += [("search", search)] if search else []
        call = _of_user(user_id, Call("templates", "/templates", params=params))
        answer = await self._optional(scope, _TEMPLATES, call)
        return None if answer is None else answer.templates

    async def template_version(
        self, scope: CallScope, user_id: str, slug: str, number: str, *, exists: bool
    ) -> TemplateVersionRecord | None:
        """Read a version of a template; ``None`` without this endpoint. Raises NotFound.

        If the version is known to exist (``exists``), a 404 means that the endpoint is missing.
        """
        if slug in _DOTS:
            raise NotFound("The version of the template does not exist.")
        path = f"/templates/{quote(slug, safe='')}/versions/{quote(number, safe='')}"
        call = _of_user(user_id, Call("template.version", path, subject=slug))
        try:
            return await self._optional(scope, _VERSION, call, absent=_ABSENT if exists else frozenset({405}))
        except NotFound as error:
            raise NotFound("The version of the template does not exist.", service=Service.AMS) from error

    async def validate_template(self, scope: CallScope, user_id: str, source: str) -> TemplateValidation:
        """Validate an Agent File."""
        call = _of_user(user_id, _of_file("template.validate", "/templates/validate", source))
        found = await self.read(scope, _VALIDATION, call)
        found.validation.errors = refusals.shortened(found.validation.errors)
        return found

    async def publish_template(self, scope: CallScope, user_id: str, source: str, key: str | None) -> PublishedVersion:
        """Publish an Agent File as its template's latest version.

        Raises Invalid (``TEMPLATE_INVALID``: the file, or a version that is not above the latest) and Conflict
        (``VERSION_EXISTS`` or ``KEY_REUSED``).
        """
        call = _keyed(_of_file("template.publish", "/templates/publish", source), key)

        def refused(rejected: UpstreamRejected) -> GatewayError:
            return refusals.of_publishing(rejected, key_is_new=key is None)

        return await self.read(scope, _PUBLISHED, _of_user(user_id, replace(call, refused=refused)))

    async def _optional(
        self, scope: CallScope, decoder: msgspec.json.Decoder[T], call: Call, *, absent: frozenset[int] = _ABSENT
    ) -> T | None:
        """Call an endpoint that a deployment can lack: the status is in ``absent``, and ``None`` is returned."""
        if self._is_absent(call.operation):
            return None
        try:
            return await self.read(scope, decoder, replace(call, refused=_absent_if(absent)))
        except _Absent:
            self._note_absent(call.operation)
            return None

    def _is_absent(self, operation: str) -> bool:
        return self._absent.get(operation, 0.0) > time.monotonic()

    def _note_absent(self, operation: str) -> None:
        self._absent[operation] = time.monotonic() + ABSENT_SECONDS


class _Absent(Exception):
    """A refusal with a status that means that AMS lacks the endpoint."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def _absent_if(statuses: frozenset[int]) -> Translation:
    def refused(rejected: UpstreamRejected) -> Exception:
        return _Absent(rejected.status) if rejected.status in statuses else refusals.translate(rejected)

    return refused


def _of_user(user_id: str, call: Call) -> Call:
    """A call on behalf of a user."""
    return replace(call, headers={"X-User-Id": user_id, **call.headers}, size=AnswerSize.RECORD)


def _of_agents(operation: str, path: str, body: bytes | None, subject: str, *, method: str = "POST") -> Call:
    """A call for which AMS calls Letta. Its 500 with a reason is not a failure of AMS."""
    headers = {} if body is None else {"content-type": "application/json"}
    call = Call(operation, path, method, content=body, headers=headers, subject=subject)
    return replace(call, is_refusal=refusals.has_a_reason)


def _of_file(operation: str, path: str, source: str) -> Call:
    """A call with an Agent File."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    return Call(operation, path, "POST", content=source.encode(), headers=headers)


def _keyed(call: Call, key: str | None) -> Call:
    """A mutation with the caller's idempotency key, or a new one."""
    return replace(call, headers={**call.headers, "Idempotency-Key": str(uuid.uuid4()) if key is None else key})


def _upgrade(version: str | None, **options: bool) -> bytes:
    target: dict[str, Any] = {"use_latest": True} if version is None else {"target_version": version}
    return _BODIES.encode(target | options)
