"""The calls to AMS.

Contract: the AMS page of the platform's contracts. The user is named by ``X-User-Id`` alone; the gateway's own
credential authorizes the call.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any
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
from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamRejected
from clients.decode import Records, acknowledged, decode
from clients.errors import GatewayError, NotFound, Service
from clients.upstream import Upstream

_ABSENT = frozenset({404, 405})
"""How a deployment answers that lacks an optional endpoint (AMS contract)."""

_DOTS = frozenset({".", ".."})
"""What no quoting keeps from leading up a path."""

ABSENT_SECONDS = 60.0
"""How long a missing endpoint is not asked for again."""

MAX_IDS_PER_CALL = 100
"""How many ids ``GET /templates?ids=`` and ``GET /agents?ids=`` take (AMS contract)."""


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
"""AMS compares bodies to tell a repeated request from another one: the same input must make the same bytes."""


class Ams:
    """Calls to AMS, on behalf of one user at a time. A ``key`` is an ``Idempotency-Key``; without one, one is made."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._absent: dict[str, float] = {}
        self._wrong: str | None = None

    async def ping(self, scope: CallScope) -> None:
        """Ask whether AMS is there, and how it says it is. Raises GatewayError where it is not."""
        self._wrong = None
        self._wrong = what_is_wrong((await self.upstream.ping(scope, "/health")).body)

    def note(self) -> str | None:
        """What it said was wrong when it was asked last."""
        return self._wrong

    async def profile(self, scope: CallScope, user_id: str) -> Profile:
        """The user's profile and agents; ``profile_exists`` is false for a user AMS has never seen."""
        answer = await self._ask(scope, Call(operation="me", path="/me"), user_id, refusals.of_profile)
        return decode_profile(answer.body, user_id)

    async def agent_facts(self, scope: CallScope, user_id: str, ids: list[str]) -> list[AgentFacts | None]:
        """What AMS says of some agents beyond their rows, in the order asked; ``None`` where it says nothing."""
        call = Call(operation="agents", path="/agents", params=[("ids", ",".join(ids))])
        answer = await self._optional(scope, call, user_id)
        known = [] if answer is None else decode(Service.AMS, _AGENTS, answer.body).agents
        found = {facts.agent_id: facts for facts in known if facts.user_id in {None, user_id}}
        return [found.get(agent_id) for agent_id in ids]

    async def create_agent(self, scope: CallScope, user_id: str, body: dict[str, Any], key: str) -> str:
        """Make an agent from a template; ``body`` is AMS's request. Answers its id.

        Raises:
            NotFound: no such template or version.
            Invalid: reason ``VARIABLES_INVALID``.
            Conflict: reason ``KEY_REUSED``.
        """
        call = _of_agents("agent.create", "/agents/create", _BODIES.encode(body), str(body.get("template_id", "")))
        answer = await self._ask(scope, _once(call, key), user_id, refusals.of_creating)
        return decode(Service.AMS, _CREATED, answer.body).agent.id

    async def upgrade_plan(self, scope: CallScope, user_id: str, agent_id: str, version: str | None) -> UpgradePlan:
        """What an upgrade to a version, or to the latest, would do. Raises as ``upgrade_agent`` does."""
        call = _of_agents("agent.plan", f"/agents/{agent_id}/upgrade", _upgrade(version, dry_run=True), agent_id)
        answer = await self._ask(scope, call, user_id, refusals.of_upgrading)
        return decode(Service.AMS, _PLAN, answer.body)

    async def upgrade_agent(
        self, scope: CallScope, user_id: str, agent_id: str, *, version: str | None, queue: bool, key: str | None
    ) -> bool:
        """Upgrade an agent to a version, or to the latest. Whether that is done; else it is queued.

        Raises:
            NotFound: no such version.
            Conflict: reason ``NO_MIGRATION_PATH`` or ``KEY_REUSED``.
        """
        body = _upgrade(version, dry_run=False, use_queue=queue)
        call = _once(_of_agents("agent.upgrade", f"/agents/{agent_id}/upgrade", body, agent_id), key)
        answer = await self._ask(scope, call, user_id, refusals.of_upgrading)
        return bool(decode(Service.AMS, _APPLIED, answer.body).applied)

    async def delete_agent(self, scope: CallScope, user_id: str, agent_id: str, key: str | None) -> bool | None:
        """Delete an agent. ``None`` from an AMS that is known to lack this; false where it answers that there is none.

        An AMS that lacks it may answer the same, so the caller who knows that there is such an agent tells by
        ``deletes_no_agents``.
        """
        if self._is_absent("agent.delete"):
            return None
        call = _of_agents("agent.delete", f"/agents/{agent_id}", None, agent_id, method="DELETE")
        call = replace(call, check=acknowledged(Service.AMS))
        try:
            await self._send(scope, _once(call, key), user_id)
        except UpstreamRejected as rejected:
            if rejected.status not in _ABSENT:
                raise refusals.translate(rejected) from rejected
            if rejected.status == 405:
                self.deletes_no_agents()
            return False
        return True

    def deletes_no_agents(self) -> None:
        """Remember for a while that this AMS lacks the deletion of agents."""
        self._note_absent("agent.delete")

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

    async def template_version(
        self, scope: CallScope, user_id: str, slug: str, number: str, *, exists: bool
    ) -> TemplateVersionRecord | None:
        """One version of a template; ``None`` from an AMS without this endpoint.

        ``exists`` says that there is such a version: only then does a 404 mean that the endpoint is missing.
        Raises NotFound.
        """
        if slug in _DOTS:
            raise NotFound("The version of the template does not exist.")
        path = f"/templates/{quote(slug, safe='')}/versions/{quote(number, safe='')}"
        try:
            answer = await self._optional(
                scope,
                Call(operation="template.version", path=path, subject=slug),
                user_id,
                absent=_ABSENT if exists else {405},
            )
        except NotFound as error:
            raise NotFound("The version of the template does not exist.", service=Service.AMS) from error
        return None if answer is None else decode(Service.AMS, _VERSION, answer.body)

    async def validate_template(self, scope: CallScope, user_id: str, source: str) -> TemplateValidation:
        """What is wrong with an Agent File, if anything is."""
        answer = await self._ask(scope, _of_file("template.validate", "/templates/validate", source), user_id)
        found = decode(Service.AMS, _VALIDATION, answer.body)
        found.validation.errors = refusals.shortened(found.validation.errors)
        return found

    async def publish_template(self, scope: CallScope, user_id: str, source: str, key: str | None) -> PublishedVersion:
        """Publish an Agent File as its template's latest version.

        Raises:
            Invalid: reason ``TEMPLATE_INVALID``: the file, or a version that is not above the latest.
            Conflict: reason ``VERSION_EXISTS`` or ``KEY_REUSED``.
        """
        call = _once(_of_file("template.publish", "/templates/publish", source), key)

        def refused(rejected: UpstreamRejected) -> GatewayError:
            return refusals.of_publishing(rejected, key_is_new=key is None)

        answer = await self._ask(scope, call, user_id, refused)
        return decode(Service.AMS, _PUBLISHED, answer.body)

    async def _optional(
        self, scope: CallScope, call: Call, user_id: str, *, absent: frozenset[int] | set[int] = _ABSENT
    ) -> Answer | None:
        """The answer of an endpoint that a deployment may lack; ``None`` without it, remembered for a while.

        ``absent`` are the statuses that can mean nothing else.
        """
        if self._is_absent(call.operation):
            return None
        try:
            return await self._send(scope, call, user_id)
        except UpstreamRejected as rejected:
            if rejected.status not in absent:
                raise refusals.translate(rejected) from rejected
            self._note_absent(call.operation)
            return None

    def _is_absent(self, operation: str) -> bool:
        return self._absent.get(operation, 0.0) > time.monotonic()

    def _note_absent(self, operation: str) -> None:
        self._absent[operation] = time.monotonic() + ABSENT_SECONDS

    async def _ask(
        self,
        scope: CallScope,
        call: Call,
        user_id: str,
        refused: Callable[[UpstreamRejected], GatewayError] = refusals.translate,
    ) -> Answer:
        try:
            return await self._send(scope, call, user_id)
        except UpstreamRejected as rejected:
            raise refused(rejected) from rejected

    async def _send(self, scope: CallScope, call: Call, user_id: str) -> Answer:
        headers = {"X-User-Id": user_id, **call.headers}
        return await self.upstream.request(scope, replace(call, headers=headers, size=AnswerSize.RECORD))


def _of_agents(operation: str, path: str, body: bytes | None, subject: str, *, method: str = "POST") -> Call:
    """A call for which AMS itself asks Letta: its 500 with a reason says nothing of AMS."""
    headers = {} if body is None else {"content-type": "application/json"}
    return Call(
        operation=operation,
        method=method,
        path=path,
        content=body,
        headers=headers,
        subject=subject,
        is_refusal=refusals.has_a_reason,
    )


def _of_file(operation: str, path: str, source: str) -> Call:
    """A call with an Agent File, as it was given."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    return Call(operation=operation, method="POST", path=path, content=source.encode(), headers=headers)


def _once(call: Call, key: str | None) -> Call:
    """A mutation: the caller's idempotency key goes with it, or one of its own."""
    return replace(call, headers={**call.headers, "Idempotency-Key": str(uuid.uuid4()) if key is None else key})


def _upgrade(version: str | None, **options: bool) -> bytes:
    target: dict[str, Any] = {"use_latest": True} if version is None else {"target_version": version}
    return _BODIES.encode(target | options)
