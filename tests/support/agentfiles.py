"""Agent Files, and mutations that make templates and agents from them."""

from __future__ import annotations

from typing import Any

from tests.support.stack import ADA, Stack

FIRST_PROMPT = "You greet the guests of {{company}}."
SECOND_PROMPT = "You greet the guests of {{company}}, and you are brief."
PUBLISH = """mutation($i: PublishTemplateInput!) { publishTemplate(input: $i) {
  templateEdge { cursor node { id } } template { id slug latestVersion versions tags isPublic }
  templateVersion { id number checksum isLatest source publishedAt }
  errors { __typename message ... on TemplateInvalid { problems } } } }"""
CREATE = """mutation($i: CreateAgentInput!) { createAgent(input: $i) {
  agentEdge { cursor node { id } } agent { id name version variables template { slug } owner { id email } }
  errors { __typename message ... on VariablesInvalid { problems } } } }"""


def agent_file(stack: Stack, slug: str = "greeter", version: str = "1.0.0", **more: str) -> str:
    """Return a template with the variable ``company`` and an available model."""
    prompt, extra = more.get("prompt", FIRST_PROMPT), more.get("extra", "")
    return f"""af_version: "1"
template: {{id: {slug}, name: Greeter, version: {version}, tags: [hello]{more.get("template", "")}}}
compat: {{letta_min: 0.11.0}}
engine: {{model: openai/{stack.chat_model}, embedding: openai/text-embedding-3-small}}
persona:
  system_prompt: "{prompt}"
  variables_schema: {{required: [company]}}
{extra}"""


def second_version(stack: Stack, slug: str = "greeter") -> str:
    """Return version 1.1.0 of the template, with its migration."""
    change = f'{{op: replace, path: /persona/system_prompt, value: "{SECOND_PROMPT}"}}'
    steps = f"[{{type: json_patch, patch: [{change}]}}]"
    extra = f"migrations: [{{from: 1.0.0, to: 1.1.0, steps: {steps}}}]"
    return agent_file(stack, slug, "1.1.0", prompt=SECOND_PROMPT, extra=extra)


async def as_admin(stack: Stack, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {stack.token(ADA, admin=True)}"}
    response = await stack.client.post("/graphql", json={"query": query, "variables": variables or {}}, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def publish(stack: Stack, *sources: str) -> None:
    """Publish Agent Files in order; each must succeed."""
    for source in sources:
        answer = await as_admin(stack, PUBLISH, {"i": {"source": source}})
        assert answer["data"]["publishTemplate"]["errors"] == [], answer


async def create(stack: Stack, key: str, *, user: str = ADA, **given: Any) -> dict[str, Any]:
    """Create an agent from the template ``greeter`` and return the whole answer."""
    variables = {"templateId": "template:greeter", "variables": {"company": "Sea"}, "idempotencyKey": key, **given}
    return await stack.graphql(CREATE, {"i": variables}, user=user)


async def created(stack: Stack, key: str, **given: Any) -> str:
    answer = await create(stack, key, **given)
    assert "errors" not in answer, answer
    agent_id: str = answer["data"]["createAgent"]["agent"]["id"]
    return agent_id
