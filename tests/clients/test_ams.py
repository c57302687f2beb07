from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from clients import errors
from clients.ams import Ams
from clients.ams.records import AgentRow, UpgradePlan
from clients.ams.refusals import MAX_DETAIL, MAX_DETAILS
from clients.owned import OwnedAgentId
from tests.support.owned import owned
from tests.support.upstream_calls import ScriptedTransport, scope, upstream_with

AGENT = owned(OwnedAgentId, "agent-00000000-0000-4000-8000-000000000001")


def ams_answering(
    status: int, body: Any, headers: dict[str, str] | None = None
) -> tuple[Ams, list[httpx.Request], ScriptedTransport]:
    seen: list[httpx.Request] = []
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def act(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, content=content, headers=headers)

    upstream, wire, _ = upstream_with(act)
    return Ams(upstream), seen, wire


async def test_only_mutations_carry_an_idempotency_key() -> None:
    body = {"agent": {"id": AGENT}, "validation": {"valid": True}, "template_id": "t", "version": "1.0.0"}
    body |= {"profile_exists": False, "agents": [], "templates": [], "plan": [], "applied": True}
    ams, seen, _ = ams_answering(200, body)
    await ams.account(scope(), "u")
    await ams.agent_facts(scope(), "u", [AGENT])
    await ams.templates(scope(), "u", ["t"])
    await ams.template_page(scope(), "u", limit=1, after=None, search=None)
    await ams.template_version(scope(), "u", "t", "1.0.0", exists=True)
    await ams.validate_template(scope(), "u", "a: b")
    await ams.upgrade_plan(scope(), "u", AGENT, None)
    assert len(seen) == 7
    assert all("idempotency-key" not in request.headers for request in seen)
    assert all(request.headers["x-user-id"] == "u" for request in seen)
    seen.clear()
    await ams.create_agent(scope(), "u", {"template_id": "t"}, "own")
    for key in ("own", None):
        await ams.upgrade_agent(scope(), "u", AGENT, version=None, queue=False, key=key)
        await ams.publish_template(scope(), "u", "a: b", key)
        await ams.delete_agent(scope(), "u", AGENT, key)
    keys = [request.headers["idempotency-key"] for request in seen]
    assert keys[:4] == ["own"] * 4
    assert len({str(uuid.UUID(key)) for key in keys[4:]}) == 3


async def test_the_same_input_makes_the_same_bytes() -> None:
    ams, seen, _ = ams_answering(200, {"agent": {"id": AGENT}})
    await ams.create_agent(scope(), "u", {"variables": {"a": 1, "b": {"c": 2, "d": 3}}, "template_id": "t"}, "k")
    await ams.create_agent(scope(), "u", {"template_id": "t", "variables": {"b": {"d": 3, "c": 2}, "a": 1}}, "k")
    assert seen[0].content == seen[1].content
    assert seen[0].headers["content-type"] == "application/json"


async def test_an_agent_file_is_sent_unchanged() -> None:
    ams, seen, _ = ams_answering(200, {"template_id": "t", "version": "1.0.0"})
    await ams.publish_template(scope(), "u", '{"name": "Süß"}\n', None)
    assert seen[0].content == '{"name": "Süß"}\n'.encode()


@pytest.mark.parametrize(
    ("slug", "number", "path"),
    [
        ("support-bot", "1.0.0+a.b", "/templates/support-bot/versions/1.0.0%2Ba.b"),
        ("a/../b?c#d", "1.0.0", "/templates/a%2F..%2Fb%3Fc%23d/versions/1.0.0"),
        ("ü", "1.0.0", "/templates/%C3%BC/versions/1.0.0"),
    ],
)
async def test_a_slug_is_one_part_of_a_path(slug: str, number: str, path: str) -> None:
    ams, seen, _ = ams_answering(200, {"template_id": slug, "version": number})
    await ams.template_version(scope(), "u", slug, number, exists=True)
    assert seen[0].url.raw_path.decode() == path


@pytest.mark.parametrize("slug", [".", ".."])
async def test_a_slug_that_would_change_the_path_does_not_exist(slug: str) -> None:
    ams, seen, _ = ams_answering(200, {"template_id": slug, "version": "1.0.0"})
    with pytest.raises(errors.NotFound):
        await ams.template_version(scope(), "u", slug, "1.0.0", exists=True)
    assert seen == []


async def test_facts_of_another_user_are_dropped() -> None:
    rows = [
        {"agent_id": "a", "user_id": "u", "variables": {"x": 1}},
        {"agent_id": "b", "user_id": "v"},
        {"agent_id": "c"},
    ]
    ams, _, _ = ams_answering(200, {"agents": rows})
    found = await ams.agent_facts(scope(), "u", [owned(OwnedAgentId, letter) for letter in "bcad"])
    assert [facts and facts.variables for facts in found] == [None, None, {"x": 1}, None]
    assert [facts is None for facts in found] == [True, False, False, True]


SECRET = "user eve owns it"
CREATE, UPGRADE, PUBLISH, DELETE = "create", "upgrade", "publish", "delete"


async def refusal(
    doing: str, status: int, body: Any, key: str | None = "k", headers: dict[str, str] | None = None
) -> errors.GatewayError:
    ams, _, _ = ams_answering(status, body, headers)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        CREATE: lambda: ams.create_agent(scope(), "u", {}, "k"),
        UPGRADE: lambda: ams.upgrade_agent(scope(), "u", AGENT, version=None, queue=False, key=key),
        PUBLISH: lambda: ams.publish_template(scope(), "u", "a: b", key),
        DELETE: lambda: ams.delete_agent(scope(), "u", AGENT, key),
    }
    with pytest.raises(errors.GatewayError) as caught:
        await calls[doing]()
    return caught.value


@pytest.mark.parametrize(
    ("doing", "status", "body", "kind", "reason"),
    [
        (CREATE, 400, {"error": SECRET}, errors.BadUserInput, None),
        (CREATE, 400, {"error": SECRET, "details": ["company is required"]}, errors.Invalid, "VARIABLES_INVALID"),
        (CREATE, 404, {"error": SECRET}, errors.NotFound, None),
        (CREATE, 409, {"error": SECRET}, errors.Conflict, "KEY_REUSED"),
        (CREATE, 500, {"error": SECRET}, errors.UpstreamError, "STATUS"),
        (CREATE, 401, {"error": SECRET}, errors.UpstreamError, "CREDENTIAL"),
        (CREATE, 418, {"error": SECRET}, errors.UpstreamError, "STATUS"),
        (CREATE, 429, {"error": SECRET}, errors.RateLimited, None),
        (CREATE, 408, b"", errors.UpstreamTimeout, "TOTAL"),
        (CREATE, 413, b"", errors.PayloadTooLarge, None),
        (CREATE, 501, {"error": SECRET}, errors.UpstreamError, "STATUS"),
        (DELETE, 429, b"", errors.RateLimited, None),
        (UPGRADE, 400, {"error": SECRET}, errors.Conflict, "NO_MIGRATION_PATH"),
        (UPGRADE, 409, {"error": SECRET}, errors.Conflict, "KEY_REUSED"),
        (UPGRADE, 404, b"<html>", errors.NotFound, None),
        (PUBLISH, 409, {"error": SECRET}, errors.Conflict, "VERSION_EXISTS"),
        (PUBLISH, 409, {"error": "The Idempotency-Key was used"}, errors.Conflict, "KEY_REUSED"),
        (PUBLISH, 400, {"error": SECRET}, errors.Invalid, "TEMPLATE_INVALID"),
        (PUBLISH, 400, {"error": SECRET, "details": "none"}, errors.Invalid, "TEMPLATE_INVALID"),
        (PUBLISH, 404, {"error": SECRET}, errors.NotFound, None),
        (DELETE, 409, {"error": SECRET}, errors.Conflict, "KEY_REUSED"),
        (DELETE, 400, b"\xff", errors.BadUserInput, None),
    ],
)
async def test_the_error_for_a_refusal(
    doing: str, status: int, body: Any, kind: type[errors.GatewayError], reason: str | None
) -> None:
    error = await refusal(doing, status, body)
    assert type(error) is kind
    assert error.reason == reason
    assert "eve" not in f"{error.message} {error.details} {getattr(error, 'problems', '')}"


@pytest.mark.parametrize(
    ("doing", "status", "code", "reason"),
    [
        (CREATE, 409, "CONFLICT", "LOCKED"),
        (UPGRADE, 409, "CONFLICT", "LOCKED"),
        (PUBLISH, 409, "CONFLICT", "LOCKED"),
        (DELETE, 423, "CONFLICT", "LOCKED"),
        (CREATE, 425, "UPSTREAM_ERROR", "STATUS"),
    ],
)
async def test_a_refusal_with_retry_after_is_retryable(doing: str, status: int, code: str, reason: str) -> None:
    error = await refusal(doing, status, b"", headers={"retry-after": "7"})
    assert (error.code, error.reason, error.retryable, error.retry_after_seconds) == (code, reason, True, 7)


async def test_a_key_that_the_gateway_has_made_has_not_been_used() -> None:
    error = await refusal(PUBLISH, 409, {"error": "Idempotency-Key"}, key=None)
    assert error.reason == "VERSION_EXISTS"


async def test_details_are_bounded() -> None:
    details = ["x" * 5_000] * 200
    error = await refusal(PUBLISH, 400, {"error": "no", "details": details})
    assert isinstance(error, errors.Invalid)
    assert len(error.problems) == MAX_DETAILS
    assert {len(line) for line in error.problems} == {MAX_DETAIL}
    ams, _, _ = ams_answering(200, {"format": "toml", "validation": {"valid": False, "errors": details}})
    found = await ams.validate_template(scope(), "u", "a")
    assert (len(found.problems), found.format.value) == (MAX_DETAILS, "unknown")


@pytest.mark.parametrize(("body", "counts"), [({"error": "Letta failed"}, False), ({}, True)])
async def test_a_500_with_a_reason_is_not_a_failure_of_ams(body: dict[str, str], counts: bool) -> None:
    ams, _, wire = ams_answering(500, body)
    for _ in range(6):
        with pytest.raises(errors.GatewayError) as caught:
            await ams.create_agent(scope(), "u", {}, "k")
    assert caught.value.reason == ("BREAKER_OPEN" if counts else "STATUS")
    assert wire.calls == (5 if counts else 6)


async def test_a_500_of_publishing_counts_since_letta_is_not_called() -> None:
    ams, _, wire = ams_answering(500, {"error": "database"})
    for _ in range(6):
        with pytest.raises(errors.GatewayError):
            await ams.publish_template(scope(), "u", "a: b", None)
    assert wire.calls == 5


def test_a_plan_of_steps_in_another_form() -> None:
    odd: list[Any] = ["1.0.0 to 1.1.0", {"from": 1, "to": "1.1.0", "steps": [{"type": "script"}, 7, {"type": 3}]}, {}]
    steps = UpgradePlan(plan=odd).steps
    assert [(step.from_version, step.to_version, step.actions) for step in steps] == [
        (None, None, []),
        (None, "1.1.0", ["script"]),
        (None, None, []),
    ]


async def test_agents_by_id_of_an_older_deployment() -> None:
    ams, _, _ = ams_answering(200, {"agents": {AGENT: {"name": "n", "template_id": "t", "version": "1.0.0"}}})
    [row] = (await ams.account(scope(), "u")).profile.agents
    assert row == AgentRow(agent_id=AGENT, owner_id="u", template_id="t", version="1.0.0")
