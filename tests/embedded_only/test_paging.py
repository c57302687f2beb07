"""Pages of messages of every kind, forward and backward, and pages of runs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.embedded.letta.shapes import RUN
from app.embedded.state import Agent, Json, Run, new_id, now, now_of_message
from resolvers.recent_ids import ShownIds
from tests.support import things
from tests.support.documents import CREATE_CONVERSATION
from tests.support.stack import GRACE, Stack, opened_socket
from tests.support.streaming import message_input

PAGE = """query($c: ID!, $first: Int, $after: String, $last: Int, $before: String) { conversation(id: $c) {
  messages(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""
SEND = """mutation($i: SendMessageInput!) { sendMessage(input: $i) {
  userMessageEdge { cursor node { id createdAt } } errors { message } } }"""

RUN_OF = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id status } } }"
GOING = """query($a: ID!) { agent(id: $a) { status
  runs(active: true) { nodes { id status } pageInfo { hasNextPage } }
  conversations { nodes { activeRun { id status } } } } }"""

# A number is a count of assistant messages with one Letta id. "sent" is a user's message with a run, "foreign" has no
# otid and no run, "orphan" has a run that Letta lacks, and "notice" is Letta's alert in a user's message. "unheard" has
# an unknown type, and "odd" has a known type with unknown fields.
KINDS: list[int | str] = [1, 2, 3, "sent", "foreign", "orphan", "notice", "unheard", "odd"]
groups = st.lists(st.sampled_from(KINDS), max_size=8)


def made(stack: Stack, agent: Agent, scope: str, kind: int | str) -> list[Json]:
    message_id, run_id = new_id("message"), new_id("run")
    common = {"id": message_id, "date": now_of_message(), "run_id": run_id, "step_id": new_id("step")}
    if isinstance(kind, int):
        said = {**common, "message_type": "assistant_message", "content": "words"}
        return [{**said, "otid": str(uuid.uuid4())} for _ in range(kind)]
    user: dict[str, Any] = {**common, "message_type": "user_message", "content": "words", "otid": str(uuid.uuid4())}
    if kind == "foreign":
        user |= {"run_id": None, "otid": None}
    if kind == "notice":
        user |= {"content": '{"type": "system_alert", "message": "words"}'}
    if kind == "unheard":
        user |= {"message_type": "dream_message", "otid": None, "dream": {"of": ["sheep", None]}}
    if kind == "odd":
        user |= {"message_type": "reasoning_message", "reasoning": {}, "step_id": 7}
    if kind == "sent":
        own = {"id": run_id, "agent_id": agent.id, "conversation_id": scope, "status": "completed", "background": False}
        stack.platform.state.keep_run(Run({**RUN, **own, "created_at": now(), "metadata": {}}, scope, over=True))
    return [user]


@pytest.fixture
async def conversation(stack: Stack) -> tuple[Agent, str]:
    agent_id = await stack.make_agent()
    scope = (await things.done(stack, CREATE_CONVERSATION, {"a": agent_id}))["conversation"]["id"]
    return stack.platform.state.agents[agent_id], scope


@pytest.mark.uncached
@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("forward", [True, False])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(start=groups, later=st.lists(groups, max_size=2), size=st.integers(1, 5))
async def test_pages_have_each_message_once_and_in_order(
    stack: Stack,
    conversation: tuple[Agent, str],
    forward: bool,
    remembered: bool,
    start: list[int | str],
    later: list[list[int | str]],
    size: int,
) -> None:
    """Messages arrive between the pages. Forward pages have the new messages; backward pages do not."""
    agent, scope = conversation

    async def grow(kinds: list[int | str]) -> None:
        stack.platform.state.add_messages(agent, scope, [made(stack, agent, scope, kind) for kind in kinds])

    agent.messages[scope] = []
    await grow(start)
    at_first, cursor, waiting = await everything(stack, scope), None, list(later)
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        if not remembered:
            patch.setattr(ShownIds, "add_message", lambda *_: None)
        while True:
            window = {"first": size, "after": cursor} if forward else {"last": size, "before": cursor}
            page = await pages(stack, scope, **window)
            ids = [edge["node"]["id"] for edge in page["edges"]]
            seen = [*seen, *ids] if forward else [*ids, *seen]
            cursor = page["pageInfo"]["endCursor" if forward else "startCursor"]
            if not page["pageInfo"]["hasNextPage" if forward else "hasPreviousPage"]:
                break
            await grow(waiting.pop() if waiting else [])
    assert len(seen) == len(set(seen))
    assert seen == (await everything(stack, scope) if forward else at_first)


async def test_each_kind_of_message_is_read_by_its_id(stack: Stack, conversation: tuple[Agent, str]) -> None:
    agent, scope = conversation
    stack.platform.state.add_messages(agent, scope, [made(stack, agent, scope, kind) for kind in KINDS])
    ids = await everything(stack, scope)
    assert len(ids) == len(set(ids)) >= 1 + 2 + 3 + 5
    for node_id in ids:
        answer = await stack.graphql("query($id: ID!) { node(id: $id) { id } }", {"id": node_id})
        assert answer == {"data": {"node": {"id": node_id}}}


@pytest.mark.parametrize(("kind", "type_"), [("unheard", "dream_message"), ("odd", "reasoning_message")])
async def test_a_message_of_an_unknown_kind_is_opaque(
    stack: Stack, conversation: tuple[Agent, str], kind: str, type_: str
) -> None:
    """The message is the same in a list, by its id, and in the stream of its turn."""
    agent, scope = conversation
    shown = "__typename id role text ... on OpaqueMessage { type json }"
    sent = {"to": {"conversationId": scope}, "content": [{"text": "sleep [[tokens=20 delay=0.02]]"}]}
    follow = f"""subscription($i: SendMessageInput!) {{ message(streamKey: "k", input: $i) {{ __typename
      ... on StreamStarted {{ run {{ id }} }} ... on MessageAdded {{ edge {{ node {{ {shown} }} }} }} }} }}"""
    [dream] = made(stack, agent, scope, kind)
    added = []
    async with opened_socket(stack) as socket:
        async for event in socket.events(follow, {"i": sent}):
            if event["__typename"] == "StreamStarted":
                dream["run_id"] = event["run"]["id"]
                stack.platform.state.add_messages(agent, scope, [[dream]])
            added += [event["edge"]["node"]] if event["__typename"] == "MessageAdded" else []
    [streamed] = [node for node in added if node["__typename"] == "OpaqueMessage"]
    listed = await stack.graphql(
        f"query($c: ID!) {{ conversation(id: $c) {{ messages {{ nodes {{ {shown} }} }} }} }}", {"c": scope}
    )
    assert streamed in listed["data"]["conversation"]["messages"]["nodes"]
    node = await stack.graphql(
        f"query($id: ID!) {{ node(id: $id) {{ ... on Message {{ {shown} }} }} }}", {"id": streamed["id"]}
    )
    assert node["data"]["node"] == streamed
    assert (streamed["role"], streamed["text"], streamed["type"]) == ("UNKNOWN", None, type_)
    assert streamed["json"] == dream


async def pages(stack: Stack, scope: str, **window: Any) -> Json:
    answer = await stack.graphql(PAGE, {"c": scope, **window})
    assert "errors" not in answer, answer
    found: Json = answer["data"]["conversation"]["messages"]
    return found


async def everything(stack: Stack, scope: str) -> list[str]:
    return [edge["node"]["id"] for edge in (await pages(stack, scope, first=100))["edges"]]


async def test_the_cursor_of_a_sent_message_stays_the_same(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    sent, edges = [], []
    for number in range(3):
        given = message_input(agent_id, "tokens=2 delay=0 reasoning=1", idempotencyKey=str(number), waitSeconds=20)
        sent.append((await stack.graphql(SEND, {"i": given}))["data"]["sendMessage"]["userMessageEdge"])
    stack.platform.state.calls.clear()
    before = await pages(stack, f"conversation:{agent_id}", last=2, before=sent[-1]["cursor"])
    assert len(stack.calls("letta")) == 3  # the run, the run's messages and the page
    edges = (await pages(stack, f"conversation:{agent_id}", first=100))["edges"]
    assert [edge for edge in edges if edge["cursor"] in {one["cursor"] for one in sent}] == [
        {"cursor": one["cursor"], "node": {"id": one["node"]["id"]}} for one in sent
    ]
    assert [edge["cursor"] for edge in before["edges"]] == [edge["cursor"] for edge in edges[-5:-3]]
    stack.platform.state.calls.clear()
    assert await pages(stack, f"conversation:{agent_id}", last=2, before=sent[-1]["cursor"]) == before
    assert len(stack.calls("letta")) == 1  # the id was in the page that the gateway has returned


async def test_the_cursor_of_an_old_message_is_valid_in_a_fork(stack: Stack, conversation: tuple[Agent, str]) -> None:
    """A user's message in a fork belongs to a run of the forked conversation."""
    agent, scope = conversation
    stack.platform.state.add_messages(agent, scope, [made(stack, agent, scope, kind) for kind in (1, "sent", 1)])
    fork = "mutation($c: ID!) { forkConversation(input: {conversationId: $c}) { conversation { id } } }"
    forked = (await stack.graphql(fork, {"c": scope}))["data"]["forkConversation"]["conversation"]["id"]
    grown = [made(stack, agent, forked, "foreign") for _ in range(1001)]
    stack.platform.state.add_messages(agent, forked, grown)
    [before, sent, after] = (await pages(stack, scope, last=3))["edges"]
    for window, expected in (
        ({"last": 1, "before": sent["cursor"]}, before),
        ({"first": 1, "after": sent["cursor"]}, after),
    ):
        [edge] = (await pages(stack, forked, **window))["edges"]
        assert edge["cursor"] == expected["cursor"]
    assert (await pages(stack, forked, first=100))["edges"][2]["cursor"] == sent["cursor"]


async def test_a_cursor_of_another_users_run_is_refused(stack: Stack) -> None:
    agent_id, foreign = await stack.make_agent(), await stack.make_agent(user=GRACE)
    given = message_input(foreign, idempotencyKey="k", waitSeconds=20)
    edge = (await stack.graphql(SEND, {"i": given}, user=GRACE))["data"]["sendMessage"]["userMessageEdge"]
    stack.platform.state.calls.clear()
    answer = await stack.graphql(PAGE, {"c": f"conversation:{agent_id}", "last": 2, "before": edge["cursor"]})
    assert answer["errors"][0]["extensions"]["reason"] == "CURSOR"
    assert not [call for call in stack.calls("letta") if call.endswith("/messages") and "/runs/" in call]


async def test_runs_that_stay_created_do_not_hide_the_active_run(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
    conversation_id = made["conversation"]["id"]
    say = {"to": {"conversationId": conversation_id}, "content": [{"text": "[[tokens=400 delay=0.1]]"}]}
    sent = await stack.graphql(RUN_OF, {"i": say | {"idempotencyKey": "k"}})
    for _ in range(100):  # as Letta leaves runs whose answers were not streamed
        own = {"id": new_id("run"), "agent_id": agent_id, "status": "created", "created_at": now(), "background": False}
        stack.platform.state.keep_run(Run({**RUN, **own, "metadata": {}}, agent_id, over=True))
    agent = (await stack.graphql(GOING, {"a": agent_id}))["data"]["agent"]
    run = sent["data"]["sendMessage"]["run"]
    assert agent["runs"] == {"nodes": [run], "pageInfo": {"hasNextPage": False}}
    assert agent["conversations"]["nodes"] == [{"activeRun": run}]
    assert agent["status"] == "RUNNING"
