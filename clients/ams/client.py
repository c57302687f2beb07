"""The client of AMS.

The gateway's own credential authorizes every call. The header ``X-User-Id`` names the user (AMS contract).
"""

import time
import uuid
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from clients.ams import refusals
from clients.ams.health import HEALTH_PATH, reported_problem
from clients.ams.records import (
    Account,
    AgentFacts,
    Applied,
    Created,
    PublishedVersion,
    TemplateRecord,
    TemplateValidation,
    TemplateVersionRecord,
    UpgradePlan,
    decode_account,
)
from clients.calls import AnswerSize, Call, CallScope, Translation, UpstreamRejected, query_params
from clients.decode import Records
from clients.errors import GatewayError, NotFound, Service
from clients.owned import OwnedAgentId
from clients.service import ServiceClient
from clients.upstream import Upstream

T = TypeVar("T")

_ABSENT = frozenset({404, 405})
"""The HTTP statuses with which AMS reports a missing endpoint (AMS contract)."""

_DOTS = frozenset({".", ".."})
"""Path segments that percent-encoding does not escape."""

ABSENT_SECONDS = 60.0
"""The seconds after which the client calls a missing endpoint again."""

MAX_IDS_PER_CALL = 100
"""The maximum number of ids in one request to AMS (AMS contract)."""


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
"""Encodes equal inputs to equal bytes. AMS recognises a repeated request by the request's body."""


class Ams(ServiceClient):
    """A client of AMS. ``key`` is the ``Idempotency-Key`` header. If ``key`` is ``None``, the client makes a key."""

    service = Service.AMS
    translate = staticmethod(refusals.translate)

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._absent: dict[str, float] = {}
        self._wrong: str | None = None

    async def ping(self, scope: CallScope) -> None:
        """Check that AMS is available, and read AMS's health report. Raises GatewayError if AMS is unavailable."""
        self._wrong = None
        self._wrong = reported_problem((await self.upstream.ping(scope, HEALTH_PATH)).body)

    def note(self) -> str | None:
        """Describe the problem that the last ``ping`` found. Returns ``None`` if AMS reported no problem."""
        return self._wrong

    async def account(self, scope: CallScope, user_id: str) -> Account:
        """Read a user's profile, agents and virtual key. If AMS does not know the user, ``profile_exists`` is false."""
        call = _of_user(user_id, Call("me", "/me", refused=refusals.of_profile))
        return await self.parsed(scope, call, lambda body: decode_account(body, user_id))

    async def agent_facts(self, scope: CallScope, user_id: str, ids: list[OwnedAgentId]) -> list[AgentFacts | None]:
        """Read the agents that have the given ids. The list contains ``None`` for an agent that AMS does not know."""
        call = Call("agents", "/agents", params=[("ids", ",".join(ids))])
        answer = await self._optional(scope, _AGENTS, _of_user(user_id, call))
        known = [] if answer is None else answer.agents
        found = {facts.agent_id: facts for facts in known if facts.user_id in {None, user_id}}
        return [found.get(agent_id) for agent_id in ids]

    async def create_agent(self, scope: CallScope, user_id: str, body: dict[str, Any], key: str) -> str:
        """Create an agent from a template, and return the agent's id.

        ``body`` is the body of the request to AMS. Raises NotFound for an unknown template or version, Invalid
        (``VARIABLES_INVALID``) and Conflict (``KEY_REUSED``).
        """
        call = _of_agents("agent.create", "/agents/create", _BODIES.encode(body), str(body.get("template_id", "")))
        call = replace(_keyed(call, key), refused=refusals.of_creating)
        return (await self.read(scope, _CREATED, _of_user(user_id, call))).agent.id

    async def upgrade_plan(
        self, scope: CallScope, user_id: str, agent_id: OwnedAgentId, version: str | None
    ) -> UpgradePlan:
        """Plan an agent's upgrade to another version of the agent's template.

        If ``version`` is ``None``, the plan is for the latest version. Raises the same errors as ``upgrade_agent``.
        """
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
        """Upgrade an agent to another version of the agent's template.

        If ``version`` is ``None``, AMS upgrades the agent to the latest version. Returns false if AMS has queued the
        upgrade. Raises NotFound for an unknown version, and Conflict (``NO_MIGRATION_PATH`` or ``KEY_REUSED``).
        """
        body = _upgrade(version, dry_run=False, use_queue=queue)
        call = _keyed(_of_agents("agent.upgrade", f"/agents/{agent_id}/upgrade", body, agent_id), key)
        answer = await self.read(scope, _APPLIED, _of_user(user_id, replace(call, refused=refusals.of_upgrading)))
        return bool(answer.applied)

    async def delete_agent(
        self, scope: CallScope, user_id: str, agent_id: OwnedAgentId, key: str | None
    ) -> bool | None:
        """Delete an agent in AMS.

        If AMS is known to lack the endpoint, the method makes no call and returns ``None``. Returns false if AMS
        answers that the agent or the endpoint does not exist. If the caller knows that the agent exists, the caller
        then calls ``deletes_no_agents``.
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
        """Record for ``ABSENT_SECONDS`` seconds that AMS cannot delete agents."""
        self._note_absent("agent.delete")

    async def templates(self, scope: CallScope, user_id: str, ids: list[str]) -> list[TemplateRecord | None]:
        """Read the templates that have the given slugs.

        The list contains ``None`` for a template that AMS does not know. If AMS lacks the endpoint, every record has
        only a slug.
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
        """Read a page of the templates that the user may use. Returns ``None`` if AMS lacks the endpoint."""
        call = Call("templates", "/templates", params=query_params(limit=limit, after=after, search=search))
        answer = await self._optional(scope, _TEMPLATES, _of_user(user_id, call))
        return None if answer is None else answer.templates

    async def template_version(
        self, scope: CallScope, user_id: str, slug: str, number: str, *, exists: bool
    ) -> TemplateVersionRecord | None:
        """Read a published version of a template.

        Returns ``None`` if AMS lacks the endpoint. Raises NotFound for an unknown version. ``exists`` says that the
        version is known to exist. A 404 then means that AMS lacks the endpoint.
        """
        if slug in _DOTS:
            raise NotFound("The template does not have the requested version. Choose another version.")
        path = f"/templates/{quote(slug, safe='')}/versions/{quote(number, safe='')}"
        call = _of_user(user_id, Call("template.version", path, subject=slug))
        try:
            return await self._optional(scope, _VERSION, call, absent=_ABSENT if exists else frozenset({405}))
        except NotFound as error:
            raise NotFound(
                "The template does not have the requested version. Choose another version.", service=Service.AMS
            ) from error

    async def validate_template(self, scope: CallScope, user_id: str, source: str) -> TemplateValidation:
        """Validate an Agent File."""
        call = _of_user(user_id, _of_file("template.validate", "/templates/validate", source))
        found = await self.read(scope, _VALIDATION, call)
        found.validation.errors = refusals.shortened(found.validation.errors)
        return found

    async def publish_template(self, scope: CallScope, user_id: str, source: str, key: str | None) -> PublishedVersion:
        """Publish an Agent File as the latest version of the file's template.

        Raises Invalid (``TEMPLATE_INVALID``) if the file is invalid or its version is not higher than the latest, and
        Conflict (``VERSION_EXISTS`` or ``KEY_REUSED``).
        """
        call = _keyed(_of_file("template.publish", "/templates/publish", source), key)

        def refused(rejected: UpstreamRejected) -> GatewayError:
            return refusals.of_publishing(rejected, key_is_new=key is None)

        return await self.read(scope, _PUBLISHED, _of_user(user_id, replace(call, refused=refused)))

    async def _optional(
        self, scope: CallScope, decoder: msgspec.json.Decoder[T], call: Call, *, absent: frozenset[int] = _ABSENT
    ) -> T | None:
        """Call an optional endpoint. Return ``None`` if AMS answers with a status in ``absent``."""
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
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def _absent_if(statuses: frozenset[int]) -> Translation:
    def refused(rejected: UpstreamRejected) -> Exception:
        return _Absent(rejected.status) if rejected.status in statuses else refusals.translate(rejected)

    return refused


def _of_user(user_id: str, call: Call) -> Call:
    return replace(call, headers={"X-User-Id": user_id, **call.headers}, size=AnswerSize.RECORD)


def _of_agents(operation: str, path: str, body: bytes | None, subject: str, *, method: str = "POST") -> Call:
    """Describe a call to AMS during which AMS calls Letta."""
    headers = {} if body is None else {"content-type": "application/json"}
    call = Call(operation, path, method, content=body, headers=headers, subject=subject)
    return replace(call, is_refusal=refusals.has_a_reason)


def _of_file(operation: str, path: str, source: str) -> Call:
    headers = {"content-type": "text/plain; charset=utf-8"}
    return Call(operation, path, "POST", content=source.encode(), headers=headers)


def _keyed(call: Call, key: str | None) -> Call:
    return replace(call, headers={**call.headers, "Idempotency-Key": str(uuid.uuid4()) if key is None else key})


def _upgrade(version: str | None, **options: bool) -> bytes:
    target: dict[str, Any] = {"use_latest": True} if version is None else {"target_version": version}
    return _BODIES.encode(target | options)
