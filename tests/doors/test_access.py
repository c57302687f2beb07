"""The rules of the SDL (``@authenticated``, ``@requiresScopes``) at each endpoint, for every root field."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from tests.support.doors import doors_of, first_payload, refused
from tests.support.rootdocs import root_documents
from tests.support.rules import ADMIN, rules_of_root_fields
from tests.support.stack import Stack, any_stack
from tests.support.websocket import close_of, connecting

RULES, DOCUMENTS = rules_of_root_fields(), root_documents()
FORBIDDEN = ("FORBIDDEN", "ROLE")
CONVERSATIONS = "query($a: ID!) { agent(id: $a) { conversations { nodes { summary } } } }"
NO_SESSION = '"00000000-0000-4000-8000-000000000000"'

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with any_stack(rate_limit_general=0, rate_limit_llm=0) as running:
        yield running


@pytest.mark.parametrize("place", RULES)
async def test_without_a_token_a_root_field_is_refused(stack: Stack, place: str) -> None:
    document, before = DOCUMENTS[place], len(stack.platform.state.calls)
    for door in doors_of(document):
        if door != "websocket":
            answer = await first_payload(stack, door, document, token=None)
            assert refused(answer) == ("UNAUTHENTICATED", "TOKEN_MISSING")
            assert "data" not in answer
    async with connecting(stack.url) as socket:
        await socket.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": document}}).decode())
        assert await close_of(socket) == (4401, "Unauthorized")
    assert len(stack.platform.state.calls) == before


@pytest.mark.parametrize("place", RULES)
async def test_a_root_field_serves_only_users_with_its_scopes(stack: Stack, place: str) -> None:
    document = DOCUMENTS[place]
    for door in doors_of(document):
        before = len(stack.platform.state.calls)
        answer = await first_payload(stack, door, document, token=stack.token())
        if RULES[place] != ADMIN:
            assert {error["extensions"]["code"] for error in answer.get("errors", ())}.isdisjoint(
                {"FORBIDDEN", "UNAUTHENTICATED"}
            )
            continue
        assert refused(answer) == FORBIDDEN
        assert answer["errors"][0]["path"] == [place.partition(".")[2]]
        assert answer["data"] is None
        assert len(stack.platform.state.calls) == before
        answer = await first_payload(stack, door, document, token=stack.token(admin=True))
        assert answer.get("errors", []) == [] or refused(answer)[0] == "BAD_USER_INPUT"


PRIVATE = [
    "{ __typename viewer @skip(if: true) { id } }",
    "{ __typename ...F @include(if: false) } fragment F on Query { viewer { id } }",
    "{ _service { sdl } _entities(representations: []) { __typename } }",
    "{ hidden: __typename __schema: viewer { id } }",
    "mutation { __typename }",
]
PUBLIC = [
    '{ __typename __schema { queryType { name } } __type(name: "User") { name } _service { __typename } }',
    "query A { ... on Query { ...F } } fragment F on Query { _service { __typename } }",
]


async def test_only_introspection_needs_no_token(stack: Stack) -> None:
    for door in ("json", "event stream"):
        for document in PRIVATE:
            answer = await first_payload(stack, door, document, token=None)
            assert refused(answer) == ("UNAUTHENTICATED", "TOKEN_MISSING"), document
        for document in PUBLIC:
            assert "errors" not in await first_payload(stack, door, document, token=None)


async def test_the_rule_of_the_selected_operation_holds(stack: Stack) -> None:
    query = "query Public { __typename } query Private { viewer { id } }"
    for name, status in (("Public", 200), ("Private", 401)):
        asked = {"query": query, "operationName": name}
        answer = await stack.client.post(
            "/graphql", json=asked, headers={"accept": "application/graphql-response+json"}
        )
        assert answer.status_code == status


async def test_a_refused_mutation_does_not_undo_the_mutations_before_it(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    document = f"""mutation($a: ID!) {{
      one: createConversation(input: {{agentId: $a, summary: "one"}}) {{ conversation {{ id }} }}
      refused: revokeSession(input: {{sessionId: {NO_SESSION}}}) {{ sessionId }}
      two: createConversation(input: {{agentId: $a, summary: "two"}}) {{ conversation {{ id }} }}
    }}"""
    answer = await first_payload(stack, "json", document, {"a": agent_id}, token=stack.token())
    assert refused(answer) == FORBIDDEN
    assert (answer["data"], answer["errors"][0]["path"]) == (None, ["refused"])
    listed = await stack.graphql(CONVERSATIONS, {"a": agent_id})
    assert [node["summary"] for node in listed["data"]["agent"]["conversations"]["nodes"]] == ["one"]
