"""The matrix of ownership: each argument that names an object, at each endpoint, with the object of another user.

A user gets the same answer for another user's object as for an object that does not exist, and no upstream call is
made. ``tests/support/ownership.py`` has the rows.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from app.rest.table import TABLE, Row
from clients.origin import Origin
from tests.support import ownership, things
from tests.support.documents import CREATE_CONVERSATION, FOLLOW
from tests.support.doors import DOORS, doors_of, first_payload, refused
from tests.support.ownership import CURSORS, ROWS, arguments, last_name
from tests.support.rules import ADMIN, SIGNED_IN, rules_of_root_fields
from tests.support.schema import possible_types
from tests.support.stack import ADA, GRACE, Stack, any_stack, until
from tests.support.things import Maker

LEARNS = re.compile(
    r"GET /v1/(?:conversations/conv-[^/]+|runs/run-[^/]+|steps/step-[^/]+|blocks/block-[^/]+/agents\?limit=100)\Z"
)
"""The only call before the refusal: the read that finds the object's owner (Letta contract)."""

RULES = rules_of_root_fields()


def test_every_argument_that_is_an_id_has_a_row() -> None:
    named = {argument for argument in arguments("ID") if not argument.endswith(ownership.OF_THE_MODEL)}
    assert named - ownership.NO_ID.keys() == ROWS.keys() - ownership.BY_HAND


def test_every_argument_that_is_a_string_is_a_text_or_has_a_row() -> None:
    texts = {argument for argument in arguments("String", "JSON") if last_name(argument) in ownership.TEXTS}
    keys = {argument for argument in arguments("String") if last_name(argument) in ownership.KEYS}
    others = {*arguments("String", "JSON")} - texts - keys
    assert others == CURSORS.keys() | ownership.OTHER_CURSORS.keys() | ownership.SESSIONS


def test_every_node_has_a_row() -> None:
    assert (possible_types("Node") - possible_types("Message")) | {"Message"} == ownership.NODES.keys()


def test_the_rows_are_read_or_changed_by_every_user_under_the_rules_of_the_sdl() -> None:
    roots = {argument.partition("(")[0] for argument in ROWS} & RULES.keys()
    assert {RULES[root] for root in roots} == {SIGNED_IN}
    assert {RULES[argument.partition("(")[0]] for argument in ownership.SESSIONS} == {ADMIN}


CELLS = [(f"{name} {row.make.__name__}", row) for name, rows in ROWS.items() for row in rows]
READS = [pytest.param(row, id=name) for name, row in CELLS if row.document.startswith("query")]
CHANGES = [pytest.param(row, id=name) for name, row in CELLS if not row.document.startswith("query")]


@dataclass
class Library:
    """A gateway whose objects are created once and only read. ``own`` is an agent of another user."""

    stack: Stack
    own: str
    things: dict[Maker, str] = field(default_factory=dict)

    async def thing(self, make: Maker) -> str:
        if make not in self.things:
            self.things[make] = await make(self.stack)
        return self.things[make]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def library() -> AsyncIterator[Library]:
    async with any_stack(rate_limit_general=0) as stack:
        yield Library(stack, await stack.make_agent(GRACE))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", READS)
async def test_only_the_owner_reads_an_object(library: Library, row: ownership.Row) -> None:
    await check_row(library.stack, row, await library.thing(row.make), library.own)


@pytest.mark.parametrize("row", CHANGES)
async def test_only_the_owner_changes_an_object(stack: Stack, row: ownership.Row) -> None:
    own = await stack.make_agent(GRACE)
    await check_row(stack, row, await row.make(stack), own)


async def check_row(stack: Stack, row: ownership.Row, thing: str, own: str) -> None:
    for door in doors_of(row.document):
        if door != "websocket":
            await check_without_token(stack, row, door, thing)
        for admin in () if row.shared else (False, True):
            await check_other_user(stack, row, door, thing, stack.token(GRACE, admin=admin), own)
    if "conversation(id: $id) { __typename }" in row.document:
        await things.say(stack, thing)
    answer = await first_payload(stack, doors_of(row.document)[0], row.document, {"id": thing}, token=stack.token())
    assert "errors" not in answer, answer
    [value] = answer["data"].values()
    assert value not in (None, [None])
    assert not (value.get("errors") if isinstance(value, dict) else None)


async def check_without_token(stack: Stack, row: ownership.Row, door: str, thing: str) -> None:
    """Check that a request without a valid token is refused without upstream calls."""
    for token in (None, "no.such.token"):
        before = len(stack.platform.state.calls)
        answer = await first_payload(stack, door, row.document, {"id": thing}, token=token)
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert len(stack.platform.state.calls) == before


async def check_other_user(stack: Stack, row: ownership.Row, door: str, thing: str, token: str, own: str) -> None:
    """Check that a user with an agent of their ``own`` gets the answer for an id that does not exist."""
    answer, made = await counted(stack, door, row.document, {"id": thing}, token)
    unknown, made_for_unknown = await counted(stack, door, row.document, {"id": ownership.unknown(thing)}, token)
    assert all(value in (None, [None]) for value in (answer.get("data") or {}).values())
    assert answer == unknown
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    if not stack.real:
        assert len(made) == len(made_for_unknown)
        assert [call for call in made + made_for_unknown if not allowed(call, own)] == []


async def counted(
    stack: Stack, door: str, document: str, variables: dict[str, Any], token: str
) -> tuple[dict[str, Any], list[str]]:
    """Return an answer without the ids of the request, and the upstream calls, which ``extensions.cost`` counts."""
    before = len(stack.platform.state.calls)
    answer = await first_payload(stack, door, document, variables, token=token)
    for error in answer.get("errors", ()):
        assert error["extensions"].pop("requestId")
    return answer, [f"{call['method']} {call['path']}" for call in stack.platform.state.calls[before:]]


def allowed(call: str, agent_id: str) -> bool:
    """Return whether a call reads the user's own profile or agents, or finds the owner of an object."""
    if call == "GET /me" or LEARNS.match(call):
        return True
    return call.startswith((f"GET /v1/agents/{agent_id}?", f"GET /v1/agents/?tags=user%3A{GRACE}"))


async def furnished(stack: Stack, user: str) -> dict[str, str]:
    """Create an agent with an item in each list, and return the id of each list's owner, by its field."""
    agent_id = await stack.make_agent(user)
    made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id}, user=user)
    conversation_id = made["conversation"]["id"]
    for to in ({"agentId": agent_id}, {"conversationId": conversation_id}):
        content = {"content": [{"text": "hi [[tokens=1 delay=0]]"}], "waitSeconds": 20}
        await things.done(
            stack, things.SEND, {"i": {"to": to, **content, "idempotencyKey": str(uuid.uuid4())}}, user=user
        )
    await things.passages(stack, agent_id, "kept", user=user)
    return {"agent": agent_id, "conversation": conversation_id, "viewer": ""}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lists(library: Library) -> dict[str, dict[str, str]]:
    return {user: await furnished(library.stack, user) for user in (ADA, GRACE)}


def cursors_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [cursor for one in value for cursor in cursors_in(one)]
    if not isinstance(value, dict):
        return []
    return [value["cursor"]] if "cursor" in value else cursors_in(list(value.values()))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", CURSORS)
async def test_a_cursor_of_another_users_list_is_answered_like_an_unknown_one(
    library: Library, lists: dict[str, dict[str, str]], name: str
) -> None:
    stack, row = library.stack, CURSORS[name]
    owner = next(field for field in lists[ADA] if f" {field}" in row.edges)
    hers = await stack.graphql(row.edges, {"id": lists[ADA][owner]})
    cursors = cursors_in(hers["data"])
    assert cursors, hers
    for door in doors_of(row.ask):
        await stack.graphql("{ viewer { name } }", user=GRACE)  # both requests read her profile from the cache
        (answer, made), (unknown, made_for_unknown) = [
            await counted(stack, door, row.ask, {"id": lists[GRACE][owner], "c": one}, stack.token(GRACE))
            for one in (cursors[0], ownership.unknown_cursor(cursors[0]))
        ]
        assert answer == unknown
        assert not set(cursors) & set(cursors_in(answer.get("data")))
        assert all(call.startswith("GET ") for call in made + made_for_unknown)
        assert len(made) == len(made_for_unknown)


NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("make", [things.answer, things.passage])
async def test_another_users_object_with_an_own_agents_id_is_answered_like_an_unknown_one(
    library: Library, lists: dict[str, dict[str, str]], make: Maker
) -> None:
    stack = library.stack
    kind, _, *parts = (await library.thing(make)).split(":")
    foreign = ":".join([kind, lists[GRACE]["agent"], *parts])
    also_foreign = ":".join([kind, lists[GRACE]["agent"], *(await make(stack)).split(":")[2:]])
    absent, also_absent = (":".join([kind, lists[GRACE]["agent"], *map(ownership.unknown, parts)]) for _ in range(2))
    for door in doors_of(NODES):
        for _ in range(3):  # the user's profile may expire between two requests, and a call reads it again
            answers = [
                await counted(stack, door, NODES, {"ids": ids}, stack.token(GRACE))
                for ids in ([foreign, also_foreign], [foreign, also_absent], [absent, also_absent])
            ]
            assert all(answer == answers[0][0] for answer, _ in answers)
            assert answers[0][0]["data"] == {"nodes": [None, None]}
            if len(numbers := {len(made) for _, made in answers}) == 1:
                break
        assert len(numbers) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cursor_of_another_users_turn_is_refused_like_an_unknown_one(
    library: Library, lists: dict[str, dict[str, str]]
) -> None:
    stack, hers = library.stack, lists[ADA]["conversation"]
    await things.say(stack, hers)
    heard = await first_payload(stack, DOORS[0], FOLLOW, {"id": hers}, token=stack.token())
    cursor = heard["data"]["conversation"]["cursor"]
    given = {"id": lists[GRACE]["conversation"]}
    answers = [
        await first_payload(stack, door, FOLLOW, given | {"after": one}, token=stack.token(GRACE))
        for door in DOORS
        for one in (cursor, ownership.unknown_cursor(cursor))
    ]
    assert {refused(answer) for answer in answers} == {("BAD_USER_INPUT", "CURSOR_EXPIRED")}
    assert len({answer["errors"][0]["message"] for answer in answers}) == 1


STREAM_ROWS = [
    row
    for name in (
        "Query.stream(id)",
        "Query.node(id)",
        "Mutation.cancelStream(input.streamId)",
        "Subscription.stream(id)",
    )
    for row in ROWS[name]
    if row.make is things.stream or name != "Query.node(id)"
]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_of_the_rest_endpoint_is_found_only_by_its_owner(library: Library) -> None:
    stack = library.stack
    message = {"role": "user", "content": "hi [[tokens=200 delay=0.05]]"}
    asked = {"model": stack.chat_model, "stream": True, "messages": [message]}
    async with stack.client.stream("POST", "/v1/chat/completions", json=asked, headers=stack.headers()) as answer:
        stream_id = answer.headers["x-stream-id"]
        for row in STREAM_ROWS:
            for door in doors_of(row.document):
                await check_other_user(stack, row, door, stream_id, stack.token(GRACE), library.own)
        query = "query($id: ID!) { stream(id: $id) { id status } }"
        read = await first_payload(stack, "json", query, {"id": stream_id}, token=stack.token())
        assert read == {"data": {"stream": {"id": stream_id, "status": "RUNNING"}}}

    async def has_ended() -> bool:
        answer = await stack.graphql(query, {"id": stream_id})
        return bool(answer["data"]["stream"]["status"] == "CANCELLED")

    await until(has_ended)  # the bill of the abandoned answer needs calls to LiteLLM


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.path}")
async def test_a_rest_route_serves_only_its_user(library: Library, row: Row) -> None:
    stack, by_letta = library.stack, row.origin is Origin.LETTA
    hers = stack.agent_secret(GRACE) if by_letta else stack.agent_secret()
    before = stack.calls("litellm")
    body = {"model": stack.chat_model, "messages": [{"role": "user", "content": "hi"}], "input": "hi"}
    for credential in (
        None,
        hers,
        "no.such.token",
        *((stack.token(), stack.token(GRACE, admin=True)) if by_letta else ()),
    ):
        headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
        answers = []
        for user in (ADA, str(uuid.uuid4())):
            path = row.path.replace("{user_id}", user).replace("{model}", stack.chat_model)
            answers.append(await stack.client.request(row.method, path, json=body, headers=headers))
        assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {
            (401, "invalid_api_key")
        }
        assert len({answer.content for answer in answers}) == 1
    assert stack.calls("litellm") == before
