from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from app.embedded.ams.agentfile import Version, read
from app.embedded.ams.upgrades import UpgradeError, difference, patched, plan
from app.embedded.people import ADA
from app.embedded.seed import TEMPLATES, read_seed
from tests.support.embedded import Embedded
from tests.support.stack import until

FILE = """af_version: "1"
template: {id: greeter, name: Greeter, version: %s, description: Says hello., tags: [hello]}
compat: {letta_min: 0.11.0}
engine: {model: openai/gpt-4o-mini, embedding: openai/text-embedding-3-small}
persona:
  system_prompt: You greet for {{company}}.
  variables_schema: {required: [company]}
"""


def migration(start: str, end: str) -> dict[str, Any]:
    return {"from": start, "to": end, "steps": []}


async def agent_at(services: Embedded, version: str) -> str:
    made = await services.ams.post(
        "/agents/create", json={"template_id": "support-bot", "version": version, "agent_name": "Made"}
    )
    assert made.status_code == 200, made.text
    agent_id: str = made.json()["agent"]["id"]
    return agent_id


async def test_requests_without_a_user_id_profile_or_key(services: Embedded) -> None:
    nameless = {"x-user-id": ""}
    assert (await services.ams.get("/me", headers=nameless)).json() == {"error": "X-User-Id is missing"}
    stranger = await services.ams.get("/me", headers={"x-user-id": str(uuid.uuid4())})
    assert stranger.json()["profile_exists"] is False
    assert "agents" not in stranger.json()
    assert (await services.ams.get("/me", headers={"authorization": "Bearer no"})).status_code == 401


@pytest.mark.parametrize("shape", ["list", "object", "single"])
async def test_the_embedded_ams_has_three_shapes_of_profiles(services: Embedded, shape: str) -> None:
    services.platform.state.users[ADA].shape = shape
    me = (await services.ams.get("/me")).json()
    first = services.agent_ids()[0]
    assert me["letta_agent_id"] == first
    assert me["litellm_key"].startswith("sk-")
    agents = me.get("agents")
    assert type(agents) is {"list": list, "object": dict, "single": type(None)}[shape]
    assert agents is None or first in [row["agent_id"] if shape == "list" else row for row in agents]


async def test_an_agent_file_is_validated(services: Embedded) -> None:
    async def validated(text: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await services.ams.post("/templates/validate", content=text)).json()
        return answer

    assert await validated(FILE % "1.0.0") == {"format": "yaml", "validation": {"valid": True, "errors": []}}
    for text, form, words in (
        ("a: [", "yaml", "not valid YAML"),
        ('{"a": ', "json", "not valid JSON"),
        ("[1]", "yaml", "an Agent File is a mapping"),
        (FILE % "one", "yaml", "template.version 'one' is not SemVer"),
        (FILE.replace("persona:", "person:") % "1.0.0", "yaml", "persona is missing"),
        (
            FILE.replace("{{company}}.", '""') % "1.0.0" + "migrations: [{from: 1, to: 1.0.0}]",
            "yaml",
            "migrations[0].from",
        ),
    ):
        answer = await validated(text)
        assert answer["format"] == form
        assert answer["validation"]["valid"] is False
        assert any(problem.startswith(words) for problem in answer["validation"]["errors"]), answer


async def test_a_published_version_must_be_above_the_latest(services: Embedded) -> None:
    async def publish(version: str) -> tuple[int, dict[str, Any]]:
        answer = await services.ams.post("/templates/publish", content=FILE % version)
        return answer.status_code, answer.json()

    status, answer = await publish("1.0.0")
    assert (status, answer["template_id"], answer["version"]) == (200, "greeter", "1.0.0")
    assert answer["is_latest"] is True
    assert answer["checksum"].startswith("sha256:")
    assert (await publish("1.10.0"))[0] == 200
    assert (await publish("1.9.0"))[0] == 400
    assert (await publish("1.10.0-rc.1"))[0] == 400
    assert (await publish("1.0.0"))[0] == 409
    status, answer = await publish("nope")
    assert (status, answer["details"]) == (400, ["template.version 'nope' is not SemVer"])
    version = (await services.ams.get("/templates/greeter/versions/1.0.0")).json()
    assert (version["source"], version["is_latest"], version["published_by"]) == (FILE % "1.0.0", False, ADA)
    assert (await services.ams.get("/templates/greeter/versions/9.0.0")).status_code == 404


async def test_templates_are_searched_paged_and_selected_by_id(services: Embedded) -> None:
    async def ids(**query: str) -> list[str]:
        answer = await services.ams.get("/templates", params=query)
        return [template["id"] for template in answer.json()["templates"]]

    everything = await ids()
    assert {"support-bot", "researcher", "concierge"} == set(everything)
    assert await ids(limit="1") + await ids(after=everything[0]) == everything
    assert await ids(search="keeps notes") == ["researcher"]
    assert await ids(ids="nope,researcher") == ["researcher"]
    private = FILE.replace("id: greeter", "id: mine, is_public: false") % "1.0.0"
    await services.ams.post("/templates/publish", content=private)
    assert "mine" in await ids()
    others = (await services.ams_as_grace.get("/templates")).json()["templates"]
    assert "mine" not in [template["id"] for template in others]


async def test_required_variables_are_checked_and_in_the_prompt(services: Embedded) -> None:
    body = {"template_id": "concierge", "agent_name": "Hello"}
    refused = await services.ams.post("/agents/create", json=body)
    assert (refused.status_code, refused.json()["details"]) == (400, ["company is required"])
    made = await services.ams.post("/agents/create", json=body | {"variables": {"company": "Sea & Sons"}})
    agent_id = made.json()["agent"]["id"]
    state = (await services.letta.get(f"/v1/agents/{agent_id}?include=agent.tags")).json()
    assert state["system"] == "You are Hello, and you welcome the guests of Sea & Sons."
    assert (state["model"], state["tags"]) == ("openai-proxy/gemini-2.5-flash", [f"user:{ADA}"])
    rows = (await services.ams.get(f"/agents?ids={agent_id},agent-x")).json()["agents"]
    assert [(row["agent_id"], row["user_id"], row["variables"]) for row in rows] == [
        (agent_id, ADA, {"company": "Sea & Sons"})
    ]
    assert (await services.ams_as_grace.get(f"/agents?ids={agent_id}")).json() == {"agents": []}
    for wrong, status in (({"version": "9.9.9"}, 404), ({"template_id": "nope"}, 404)):
        assert (await services.ams.post("/agents/create", json=body | wrong)).status_code == status


async def test_the_same_idempotency_key_makes_one_agent(services: Embedded) -> None:
    headers, body = {"idempotency-key": "k"}, {"template_id": "support-bot"}
    before = len(services.agent_ids())

    async def create() -> dict[str, Any]:
        answer: dict[str, Any] = (await services.ams.post("/agents/create", json=body, headers=headers)).json()
        return answer

    first, second = await asyncio.gather(create(), create())
    assert first == second
    assert len(services.agent_ids()) == before + 1
    other = await services.ams.post("/agents/create", json={"template_id": "researcher"}, headers=headers)
    assert other.status_code == 409
    grace = await services.ams_as_grace.post("/agents/create", json=body, headers=headers)
    assert grace.json()["agent"]["id"] != first["agent"]["id"]


async def test_an_upgrade_is_planned_then_applied(services: Embedded) -> None:
    agent_id = await agent_at(services, "1.0.0")
    path = f"/agents/{agent_id}/upgrade"
    planned = (await services.ams.post(path, json={"use_latest": True})).json()
    assert [(step["from"], step["to"]) for step in planned["plan"]] == [("1.0.0", "1.1.0"), ("1.1.0", "1.2.0")]
    assert planned["diff"][0] == {"op": "add", "path": "/tools/-", "value": "issue_refund"}
    assert planned["warnings"] == ["The script of 1.1.0 to 1.2.0 is not run here."]
    assert planned["dry_run"] is True
    applied = (await services.ams.post(path, json={"target_version": "1.1.0", "dry_run": False})).json()
    assert (applied["applied"], applied["new_version"]) == (True, "1.1.0")
    state = (await services.letta.get(f"/v1/agents/{agent_id}?include=agent.tools")).json()
    assert state["system"].endswith("A refund needs a person's leave.")
    assert [tool["name"] for tool in state["tools"]] == ["find_order", "issue_refund"]
    row = (await services.ams.get(f"/agents?ids={agent_id}")).json()["agents"][0]
    assert row["version"] == "1.1.0"


async def test_a_queued_upgrade_is_applied(services: Embedded) -> None:
    agent_id = await agent_at(services, "1.0.0")
    body = {"use_latest": True, "dry_run": False, "use_queue": True}
    answer = (await services.ams.post(f"/agents/{agent_id}/upgrade", json=body)).json()
    assert (answer["agent_id"], answer["target_version"]) == (agent_id, "1.2.0")

    async def is_applied() -> bool:
        rows = (await services.ams.get(f"/agents?ids={agent_id}")).json()["agents"]
        return bool(rows[0]["version"] == "1.2.0")

    await until(is_applied)


async def test_an_upgrade_without_migrations_is_refused(services: Embedded) -> None:
    agent_id = await agent_at(services, "1.2.0")
    back = await services.ams.post(f"/agents/{agent_id}/upgrade", json={"target_version": "1.0.0"})
    assert (back.status_code, back.json()) == (400, {"error": "No migrations lead from 1.2.0 to 1.0.0"})
    unknown = await services.ams.post(f"/agents/{agent_id}/upgrade", json={"target_version": "7.0.0"})
    assert unknown.status_code == 404
    here = (await services.ams.post(f"/agents/{agent_id}/upgrade", json={})).json()
    assert (here["plan"], here["diff"]) == ([], [])


async def test_an_upgrade_plan_warns_of_a_changed_prompt(services: Embedded) -> None:
    agent_id = await agent_at(services, "1.0.0")
    await services.letta.patch(f"/v1/agents/{agent_id}", json={"system": "Mine."})
    planned = (await services.ams.post(f"/agents/{agent_id}/upgrade", json={})).json()
    assert "changed by hand" in planned["warnings"][-1]


async def test_an_agent_of_another_user_is_not_found(services: Embedded) -> None:
    agent_id = services.agent_ids()[0]
    assert (await services.ams_as_grace.post(f"/agents/{agent_id}/upgrade", json={})).status_code == 404
    assert (await services.ams_as_grace.delete(f"/agents/{agent_id}")).status_code == 404
    assert (await services.letta.get(f"/v1/agents/{agent_id}")).status_code == 200


async def test_a_deleted_agent_is_deleted_in_letta(services: Embedded) -> None:
    agent_id = services.agent_ids()[0]
    gone = await services.ams.delete(f"/agents/{agent_id}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await services.letta.get(f"/v1/agents/{agent_id}")).status_code == 404
    assert agent_id not in services.agent_ids()
    stray = services.agent_ids()[0]
    await services.letta.delete(f"/v1/agents/{stray}")
    assert (await services.ams.delete(f"/agents/{stray}")).status_code == 204


async def test_without_letta_ams_answers_500(services: Embedded) -> None:
    await services.page.put("faults", json={"service": "letta", "status": 503})
    made = await services.ams.post("/agents/create", json={"template_id": "support-bot"})
    assert (made.status_code, made.json()) == (500, {"error": "Letta did not carry out the call"})


def test_versions_are_ordered_by_semver() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"]
    ordered += ["1.0.0", "1.2.0", "1.10.0"]
    shuffled = ordered[::2] + ordered[1::2]
    assert sorted(shuffled, key=Version) == ordered
    assert Version("1.0.0+a") == Version("1.0.0+b")


def test_a_cycle_of_migrations_is_an_error() -> None:
    ways = [migration("1.0.0", "1.1.0"), migration("1.1.0", "1.0.0")]
    with pytest.raises(UpgradeError, match="cycle"):
        plan(ways, "1.0.0", "2.0.0")
    with pytest.raises(UpgradeError, match="No migrations"):
        plan(ways[:1], "1.0.0", "2.0.0")


@pytest.mark.parametrize(("template_id", "version"), TEMPLATES)
def test_the_migrations_of_the_seed_files_lead_to_their_contents(template_id: str, version: str) -> None:
    file = read_seed(template_id, version)
    assert file.errors == []
    assert (file.template["id"], file.template["version"]) == (template_id, version)
    for one in file.content.get("migrations", []):
        before = read_seed(template_id, one["from"]).content
        after = patched(before, difference(plan([one], one["from"], version)))
        for part in ("persona", "engine", "tools"):
            assert after[part] == file.content[part]


def test_json_patches_are_applied_to_a_copy() -> None:
    file = {"a": {"b/c": 1}, "list": [1, 2]}
    operations: list[dict[str, Any]] = [
        {"op": "replace", "path": "/a/b~1c", "value": 2},
        {"op": "add", "path": "/list/0", "value": 0},
        {"op": "remove", "path": "/list/2"},
        {"op": "add", "path": "/list/-", "value": 9},
    ]
    assert patched(file, operations) == {"a": {"b/c": 2}, "list": [0, 1, 9]}
    assert file == {"a": {"b/c": 1}, "list": [1, 2]}
    for path in ("/x/y", "/list/7", "/a/z"):
        with pytest.raises(UpgradeError, match="does not fit"):
            patched(file, [{"op": "replace", "path": path, "value": 1}])


def test_dates_and_numeric_keys_in_yaml_become_text() -> None:
    file = read(FILE % "1.0.0" + "since: 2026-01-01\n1: one\n")
    assert (file.content["since"], file.content["1"]) == ("2026-01-01", "one")
