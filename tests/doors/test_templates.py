from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.embedded.faults import Fault
from tests.support.agentfiles import PUBLISH, agent_file, as_admin, created, publish, second_version
from tests.support.doors import refused
from tests.support.stack import ADA, GRACE, Stack

VALIDATE = "query($s: String!) { templateValidation(source: $s) { valid format problems } }"
VERSION = """query($id: ID!, $n: String!) { template(id: $id) { slug name latestVersion versions tags isPublic
  version(number: $n) { id number checksum isLatest source publishedAt
  template { id slug latestVersion } } } }"""
NODE = "query($id: ID!) { node(id: $id) { id __typename ... on TemplateVersion { number source isLatest } } }"


async def test_an_admin_publishes_a_version(stack: Stack) -> None:
    first = agent_file(stack)
    answer = await as_admin(stack, PUBLISH, {"i": {"source": first}})
    payload = answer["data"]["publishTemplate"]
    assert payload["errors"] == []
    assert payload["template"] == {
        "id": "template:greeter",
        "slug": "greeter",
        "latestVersion": "1.0.0",
        "versions": ["1.0.0"],
        "tags": ["hello"],
        "isPublic": True,
    }
    listed = await stack.graphql("{ templates(first: 100) { edges { cursor node { id } } } }")
    assert payload["templateEdge"] in listed["data"]["templates"]["edges"]
    version = payload["templateVersion"]
    assert version["id"] == "template:greeter@1.0.0"
    assert (version["number"], version["source"], version["isLatest"]) == ("1.0.0", first, True)
    assert version["checksum"].startswith("sha256:")
    assert version["publishedAt"]
    await publish(stack, second_version(stack))
    read = await stack.graphql(VERSION, {"id": "template:greeter", "n": "1.0.0"}, user=GRACE)
    template = read["data"]["template"]
    assert (template["latestVersion"], template["versions"]) == ("1.1.0", ["1.0.0", "1.1.0"])
    way_up = {"id": "template:greeter", "slug": "greeter", "latestVersion": "1.1.0"}
    assert template["version"] == version | {"isLatest": False, "template": way_up}
    node = await stack.graphql(NODE, {"id": "template:greeter@1.1.0"}, user=GRACE)
    expected = {"id": "template:greeter@1.1.0", "__typename": "TemplateVersion", "number": "1.1.0", "isLatest": True}
    assert node["data"]["node"] == expected | {"source": second_version(stack)}


async def test_publishing_without_the_admin_role_is_forbidden(stack: Stack) -> None:
    stack.platform.state.calls.clear()
    answer = await stack.graphql(PUBLISH, {"i": {"source": agent_file(stack)}})
    assert refused(answer) == ("FORBIDDEN", "ROLE")
    assert stack.calls("ams") == []


async def test_invalid_publications_are_outcomes(stack: Stack) -> None:
    await publish(stack, agent_file(stack, version="1.2.0"))

    async def outcome(source: str) -> dict[str, Any]:
        payload = (await as_admin(stack, PUBLISH, {"i": {"source": source}}))["data"]["publishTemplate"]
        assert (payload["templateEdge"], payload["template"], payload["templateVersion"]) == (None, None, None)
        error: dict[str, Any]
        [error] = payload["errors"]
        return error

    assert (await outcome(agent_file(stack, version="1.2.0")))["__typename"] == "VersionExists"
    lower = await outcome(agent_file(stack, version="1.1.9"))
    assert lower["__typename"] == "TemplateInvalid"
    assert lower["problems"] == ["template.version is not higher than the template's latest version"]
    broken = await outcome(agent_file(stack, version="one").replace("persona:", "person:"))
    assert broken["__typename"] == "TemplateInvalid"
    assert set(broken["problems"]) == {"template.version 'one' is not SemVer", "persona is missing"}
    assert (await outcome("a: ["))["problems"][0].startswith("not valid YAML")


async def test_publishing_again_under_the_same_key(stack: Stack) -> None:
    first, second = agent_file(stack), second_version(stack)
    answers = [await as_admin(stack, PUBLISH, {"i": {"source": first, "idempotencyKey": "k"}}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["data"]["publishTemplate"]["templateVersion"]["number"] == "1.0.0"
    other = await as_admin(stack, PUBLISH, {"i": {"source": second, "idempotencyKey": "k"}})
    assert refused(other) == ("CONFLICT", "KEY_REUSED")


async def test_an_admin_does_not_see_private_templates_of_another_user(stack: Stack) -> None:
    private = agent_file(stack, "secret", template=", is_public: false")
    await publish(stack, private)
    stack.platform.state.templates["secret"]["owner"] = GRACE
    for query, variables in (
        (VERSION, {"id": "template:secret", "n": "1.0.0"}),
        (NODE, {"id": "template:secret@1.0.0"}),
    ):
        assert refused(await stack.graphql(query, variables)) == ("NOT_FOUND", None)
        assert "errors" not in await stack.graphql(query, variables, user=GRACE)
    newer = agent_file(stack, "secret", "1.1.0")
    assert refused(await as_admin(stack, PUBLISH, {"i": {"source": newer}})) == ("NOT_FOUND", None)


async def test_a_file_is_validated_without_being_published(stack: Stack) -> None:
    stack.platform.state.calls.clear()
    good = await stack.graphql(VALIDATE, {"s": agent_file(stack)})
    assert good["data"]["templateValidation"] == {"valid": True, "format": "YAML", "problems": []}
    bad = await stack.graphql(VALIDATE, {"s": '{"af_version": "1"'})
    assert (bad["data"]["templateValidation"]["valid"], bad["data"]["templateValidation"]["format"]) == (False, "JSON")
    assert bad["data"]["templateValidation"]["problems"][0].startswith("not valid JSON")
    empty = await stack.graphql(VALIDATE, {"s": ""})
    assert empty["data"]["templateValidation"]["valid"] is False
    assert set(stack.calls("ams")) == {"POST /templates/validate"}
    assert "greeter" not in stack.platform.state.templates


async def test_a_file_past_the_limit_is_refused_before_ams(stack: Stack) -> None:
    stack.platform.state.calls.clear()
    huge = "é" * 250_001
    assert refused(await stack.graphql(VALIDATE, {"s": huge})) == ("BAD_USER_INPUT", "TOO_LONG")
    assert refused(await as_admin(stack, PUBLISH, {"i": {"source": huge}})) == ("BAD_USER_INPUT", "TOO_LONG")
    assert stack.calls("ams") == []


@pytest.mark.parametrize("number", ["latest", "1", "01.0.0", "../../me", "1.0.0\n", ""])
async def test_an_invalid_version_is_refused(stack: Stack, number: str) -> None:
    answer = await stack.graphql(VERSION, {"id": "template:support-bot", "n": number})
    assert refused(answer) == ("BAD_USER_INPUT", "VERSION")
    assert answer["data"]["template"]["version"] is None
    assert refused(await stack.graphql(NODE, {"id": f"template:support-bot@{number}"})) == ("NOT_FOUND", None)


async def test_a_version_that_ams_does_not_list_is_not_read(stack: Stack) -> None:
    stack.platform.state.calls.clear()
    answer = await stack.graphql(VERSION, {"id": "template:support-bot", "n": "9.9.9"})
    assert refused(answer) == ("NOT_FOUND", None)
    assert refused(await stack.graphql(NODE, {"id": "template:support-bot@9.9.9"})) == ("NOT_FOUND", None)
    assert [call.split("?")[0] for call in stack.calls("ams")] == ["GET /templates"] * 2


async def test_a_version_is_null_if_ams_has_no_endpoint_for_it(stack: Stack) -> None:
    path = "/templates/support-bot/versions/1.0.0"
    asked = {"id": "template:support-bot", "n": "1.0.0"}
    stack.platform.faults["ams"] = Fault(status=404, path=path)
    for _ in range(2):
        answer = await stack.graphql(VERSION, asked)
        assert "errors" not in answer
        assert answer["data"]["template"]["version"] is None
    assert stack.calls("ams").count(f"GET {path}") == 1
    assert refused(await stack.graphql(NODE, {"id": "template:support-bot@1.0.0"})) == ("NOT_FOUND", None)
    published = await as_admin(stack, PUBLISH, {"i": {"source": agent_file(stack)}})
    version = published["data"]["publishTemplate"]["templateVersion"]
    assert (version["number"], version["source"], version["publishedAt"]) == ("1.0.0", agent_file(stack), None)


async def test_a_version_is_read_if_ams_lists_no_templates(stack: Stack) -> None:
    """A version that may not exist says nothing of the endpoint; one that an agent runs does."""
    await publish(stack, agent_file(stack))
    await created(stack, "k")
    stack.platform.faults["ams"] = Fault(status=404, path="/templates")
    unknown = await stack.graphql(VERSION, {"id": "template:greeter", "n": "9.9.9"})
    assert refused(unknown) == ("NOT_FOUND", None)
    known = await stack.graphql(VERSION, {"id": "template:greeter", "n": "1.0.0"})
    template = known["data"]["template"]
    assert (template["name"], template["isPublic"], template["versions"]) == (None, None, [])
    assert template["version"]["source"] == agent_file(stack)


async def test_two_admins_publish_the_same_version_at_once(stack: Stack) -> None:
    source = agent_file(stack)
    answers = await asyncio.gather(*(as_admin(stack, PUBLISH, {"i": {"source": source}}) for _ in range(4)))
    outcomes = [[error["__typename"] for error in one["data"]["publishTemplate"]["errors"]] for one in answers]
    assert sorted(outcomes) == [[], ["VersionExists"], ["VersionExists"], ["VersionExists"]]
    assert stack.platform.state.releases["greeter@1.0.0"]["published_by"] == ADA
