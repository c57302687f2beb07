"""Memory blocks, passages and tools of agents."""

from __future__ import annotations

import uuid

import pytest

from tests.support.documents import AGENT_MEMORY, INSERT_PASSAGE, PASSAGES, SEARCH_MEMORY, UPDATE_MEMORY_BLOCK
from tests.support.doors import code_of, refused
from tests.support.stack import GRACE, Stack
from tests.support.things import passages

DELETE = """mutation($p: ID!) { deletePassage(input: {passageId: $p}) { deletedPassageId errors { message } } }"""
NODE = """query($id: ID!) { node(id: $id) { id ... on Passage { text } ... on MemoryBlock { value }
  ... on Tool { name } } }"""


async def paged(stack: Stack, agent_id: str, size: int) -> list[str]:
    """Return the ids of all passages, read page by page."""
    seen, cursor = [], None
    while True:
        answer = await stack.graphql(PASSAGES, {"a": agent_id, "n": size, "c": cursor})
        page = answer["data"]["agent"]["passages"]
        assert page["pageInfo"]["hasPreviousPage"] is (cursor is not None)
        seen += [edge["node"]["id"] for edge in page["edges"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return seen


async def test_a_passage_is_stored_and_read_by_its_id(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    given = {"a": agent_id, "t": "The van leaves on Tuesdays.", "g": ["parcels", "days"]}
    answer = (await stack.graphql(INSERT_PASSAGE, given))["data"]["insertPassage"]
    [edge] = answer["passageEdges"]
    node = edge["node"]
    assert node["id"].startswith(f"passage:{agent_id}:")
    assert (node["text"], sorted(node["tags"])) == ("The van leaves on Tuesdays.", ["days", "parcels"])
    assert node["createdAt"]
    read = await stack.graphql(NODE, {"id": node["id"]})
    assert read == {"data": {"node": {"id": node["id"], "text": "The van leaves on Tuesdays."}}}
    after = await stack.graphql(PASSAGES, {"a": agent_id, "c": edge["cursor"]})
    assert after["data"]["agent"]["passages"]["edges"] == []


async def test_a_passage_is_stored_once_under_its_key(stack: Stack) -> None:
    agent_id, graces = await stack.make_agent(), await stack.make_agent(GRACE)
    given = {"a": agent_id, "t": "once", "g": ["b", "a"], "k": str(uuid.uuid4())}
    stack.platform.state.calls.clear()
    first, again = [await stack.graphql(INSERT_PASSAGE, given) for _ in range(2)]
    assert first["data"]["insertPassage"]["errors"] == []
    assert again == first
    assert len([call for call in stack.calls("letta") if call.startswith("POST")]) == (0 if stack.real else 1)
    for other in ({"t": "twice"}, {"g": ["a", "b"]}):
        assert refused(await stack.graphql(INSERT_PASSAGE, given | other)) == ("CONFLICT", "KEY_REUSED")
    assert await paged(stack, agent_id, 5) == [first["data"]["insertPassage"]["passageEdges"][0]["node"]["id"]]
    assert code_of(await stack.graphql(INSERT_PASSAGE, given, user=GRACE)) == "NOT_FOUND"
    await stack.graphql(INSERT_PASSAGE, given | {"a": graces}, user=GRACE)
    hers = (await stack.graphql(PASSAGES, {"a": graces}, user=GRACE))["data"]["agent"]["passages"]["edges"]
    assert [edge["node"]["text"] for edge in hers] == ["once"]


async def test_passages_are_paged_newest_first_and_are_nodes(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    expected = (await passages(stack, agent_id, *(f"note {number}" for number in range(5))))[::-1]
    for size in (1, 2, 3, 5):
        assert await paged(stack, agent_id, size) == expected
    for node_id in expected:
        assert (await stack.graphql(NODE, {"id": node_id}))["data"]["node"]["id"] == node_id
    none = await stack.graphql(PASSAGES, {"a": agent_id, "n": 0})
    assert none["data"]["agent"]["passages"]["edges"] == []


async def test_a_list_continues_after_a_deleted_passage(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    ids = (await passages(stack, agent_id, *(f"note {number}" for number in range(5))))[::-1]
    first = (await stack.graphql(PASSAGES, {"a": agent_id, "n": 2}))["data"]["agent"]["passages"]
    await passages(stack, agent_id, "newer than the page")
    for gone in (ids[1], ids[0], ids[2]):
        assert (await stack.graphql(DELETE, {"p": gone}))["data"]["deletePassage"]["deletedPassageId"] == gone
        after = await stack.graphql(PASSAGES, {"a": agent_id, "n": 9, "c": first["pageInfo"]["endCursor"]})
        left = [edge["node"]["id"] for edge in after["data"]["agent"]["passages"]["edges"]]
        assert left == [one for one in ids[2:] if one != gone]
    last = (await stack.graphql(PASSAGES, {"a": agent_id}))["data"]["agent"]["passages"]["pageInfo"]["endCursor"]
    for gone in (ids[4], ids[3]):
        await stack.graphql(DELETE, {"p": gone})
        end = await stack.graphql(PASSAGES, {"a": agent_id, "c": last})
        assert end["data"]["agent"]["passages"]["edges"] == []


async def test_a_passage_is_deleted_once(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    [passage_id] = await passages(stack, agent_id, "soon gone")
    answer = await stack.graphql(DELETE, {"p": passage_id})
    assert answer == {"data": {"deletePassage": {"deletedPassageId": passage_id, "errors": []}}}
    assert code_of(await stack.graphql(DELETE, {"p": passage_id})) == "NOT_FOUND"
    assert code_of(await stack.graphql(NODE, {"id": passage_id})) == "NOT_FOUND"
    assert await paged(stack, agent_id, 5) == []


async def test_a_search_finds_passages_of_its_agent_only(stack: Stack) -> None:
    agent_id, other, graces = await stack.make_agent(), await stack.make_agent(), await stack.make_agent(GRACE)
    empty = await stack.make_agent()
    mine = await passages(stack, agent_id, "parcels and vans", "vans", "quite another thing")
    await passages(stack, other, "vans, but of another agent")
    await stack.graphql(INSERT_PASSAGE, {"a": graces, "t": "vans of Grace"}, user=GRACE)
    hits = (await stack.graphql(SEARCH_MEMORY, {"a": agent_id, "q": "vans"}))["data"]["agent"]["searchMemory"]
    assert {hit["passage"]["id"] for hit in hits} == set(mine)
    assert all(hit["score"] is None and hit["passage"]["createdAt"] for hit in hits)
    if not stack.real:  # the vectors of the test model are random
        assert hits[-1]["passage"]["text"] == "quite another thing"
    few = await stack.graphql(SEARCH_MEMORY, {"a": agent_id, "q": "vans", "n": 2})
    assert few["data"]["agent"]["searchMemory"] == hits[:2]
    assert (await stack.graphql(SEARCH_MEMORY, {"a": empty, "q": "vans"}))["data"]["agent"]["searchMemory"] == []


@pytest.mark.parametrize(
    ("query", "limit", "reason"),
    [(" ", 5, "EMPTY"), ("x" * 2001, 5, "TOO_LONG"), ("x", 0, "PAGING"), ("x", 101, "PAGING")],
)
async def test_an_invalid_search_is_refused(stack: Stack, query: str, limit: int, reason: str) -> None:
    answer = await stack.graphql(SEARCH_MEMORY, {"a": await stack.make_agent(), "q": query, "n": limit})
    assert answer["data"]["agent"]["searchMemory"] is None
    assert refused(answer) == ("BAD_USER_INPUT", reason)


@pytest.mark.parametrize(("text", "reason"), [("", "EMPTY"), ("\n ", "EMPTY"), ("x" * 200_001, "TOO_LONG")])
async def test_an_invalid_passage_is_refused(stack: Stack, text: str, reason: str) -> None:
    agent_id = await stack.make_agent()
    answer = await stack.graphql(INSERT_PASSAGE, {"a": agent_id, "t": text})
    assert refused(answer) == ("BAD_USER_INPUT", reason)
    assert await paged(stack, agent_id, 5) == []


@pytest.mark.parametrize("cursor", ["nonsense", "WyJ4Il0", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsICIuLi9hZ2VudHMiXQ"])
async def test_a_cursor_of_a_different_list_is_refused(stack: Stack, cursor: str) -> None:
    answer = await stack.graphql(PASSAGES, {"a": await stack.make_agent(), "c": cursor})
    assert answer["errors"][0]["extensions"]["reason"] == "CURSOR"


async def test_passages_of_another_user_are_not_found(stack: Stack) -> None:
    graces, mine = await stack.make_agent(GRACE), await stack.make_agent()
    made = await stack.graphql(INSERT_PASSAGE, {"a": graces, "t": "Grace's own"}, user=GRACE)
    passage_id = made["data"]["insertPassage"]["passageEdges"][0]["node"]["id"]
    stack.platform.state.calls.clear()
    for query, given in (
        (INSERT_PASSAGE, {"a": graces, "t": "slipped in"}),
        (DELETE, {"p": passage_id}),
        (NODE, {"id": passage_id}),
        (PASSAGES, {"a": graces}),
        (SEARCH_MEMORY, {"a": graces, "q": "own"}),
    ):
        assert code_of(await stack.graphql(query, given)) == "NOT_FOUND"
    assert stack.calls("letta") == []
    # Letta itself would delete it through any agent's path
    through_mine = f"passage:{mine}:{passage_id.rsplit(':', 1)[1]}"
    for query, given in ((DELETE, {"p": through_mine}), (NODE, {"id": through_mine})):
        assert code_of(await stack.graphql(query, given)) == "NOT_FOUND"
    assert {call.split()[0] for call in stack.calls("letta")} <= {"GET"}
    assert (await stack.graphql(NODE, {"id": passage_id}, user=GRACE))["data"]["node"]["text"] == "Grace's own"


@pytest.mark.parametrize("kind", ["passage", "block", "tool", "step"])
async def test_an_invalid_id_is_not_found(stack: Stack, kind: str) -> None:
    agent_id = await stack.make_agent()
    stack.platform.state.calls.clear()
    wrong = [f"{kind}-../../agents", f"{kind}-{uuid.UUID(int=0)}/x", f"{kind}:", f"{kind}:{agent_id}:../../x"]
    for node_id in wrong:
        assert code_of(await stack.graphql(NODE, {"id": node_id})) == "NOT_FOUND"
    assert stack.calls("letta") == []
    missing = f"{kind}:{agent_id}:{uuid.uuid4()}" if kind == "passage" else f"{kind}-{uuid.uuid4()}"
    assert code_of(await stack.graphql(NODE, {"id": missing})) == "NOT_FOUND"


async def test_a_shared_block_can_be_read_by_both_owners_and_updated_by_neither(stack: Stack) -> None:
    mine, graces = await stack.make_agent(), await stack.make_agent(GRACE)
    block = (await stack.graphql(AGENT_MEMORY, {"a": mine}))["data"]["agent"]["memoryBlocks"][0]
    assert code_of(await stack.graphql(NODE, {"id": block["id"]}, user=GRACE)) == "NOT_FOUND"
    assert code_of(await stack.graphql(UPDATE_MEMORY_BLOCK, {"b": block["id"], "v": "hers"}, user=GRACE)) == "NOT_FOUND"
    written = (await stack.graphql(UPDATE_MEMORY_BLOCK, {"b": block["id"], "v": "mine"}))["data"]["updateMemoryBlock"]
    assert written == {"memoryBlock": {"id": block["id"], "value": "mine"}, "errors": []}
    async with stack.letta() as letta:
        attach = f"/v1/agents/{graces}/core-memory/blocks/attach/{block['id']}"
        blocks = (await stack.graphql(AGENT_MEMORY, {"a": graces}, user=GRACE))["data"]["agent"]["memoryBlocks"]
        for one in blocks:  # an agent has one block of a label
            path = f"/v1/agents/{graces}/core-memory/blocks/detach/{one['id']}"
            (await letta.patch(path)).raise_for_status()
        (await letta.patch(attach)).raise_for_status()
    for reader in ({}, {"user": GRACE}):
        stack.platform.state.calls.clear()
        read = await stack.graphql(NODE, {"id": block["id"]}, **reader)
        assert read["data"]["node"] == {"id": block["id"], "value": "mine"}
        written = await stack.graphql(UPDATE_MEMORY_BLOCK, {"b": block["id"], "v": "nobody's"}, **reader)
        assert code_of(written) == "NOT_FOUND"
        assert {call.split()[0] for call in stack.calls("letta")} <= {"GET"}


async def test_memory_blocks_are_filtered_by_label(stack: Stack) -> None:
    query = 'query($a: ID!) { agent(id: $a) { memoryBlocks(labels: ["human"]) { label } } }'
    answer = await stack.graphql(query, {"a": await stack.make_agent()})
    assert answer["data"]["agent"]["memoryBlocks"] == [{"label": "human"}]


async def test_a_tool_is_read_by_the_owner_of_an_agent_with_it(stack: Stack) -> None:
    graces = await stack.make_agent(GRACE)
    await stack.make_agent()
    async with stack.letta() as letta:
        source = 'def only_graces(x: int) -> int:\n    """Add.\n\n    Args:\n        x (int): n\n    """\n    return x'
        if stack.real:
            made = await letta.post("/v1/tools/", json={"source_code": source.replace("only", f"only_{graces[-12:]}")})
            tool_id = made.raise_for_status().json()["id"]
        else:
            tool_id = f"tool-{uuid.uuid4()}"
            tools = stack.platform.state.tools
            tools[tool_id] = {**next(iter(tools.values())), "id": tool_id, "name": "only_graces"}
        (await letta.patch(f"/v1/agents/{graces}/tools/attach/{tool_id}")).raise_for_status()
        stack.platform.state.calls.clear()
        query = "query($id: ID!) { node(id: $id) { ... on Tool { name tags jsonSchema requiresApproval } } }"
        node = (await stack.graphql(query, {"id": tool_id}, user=GRACE))["data"]["node"]
        assert node["name"].startswith("only_")
        assert node["jsonSchema"]["parameters"]["type"] == "object"
        assert (node["tags"], bool(node["requiresApproval"])) == ([], False)
        assert code_of(await stack.graphql(NODE, {"id": tool_id})) == "NOT_FOUND"
        assert not [call for call in stack.calls("letta") if "/v1/tools" in call]
        if stack.real:
            await letta.delete(f"/v1/tools/{tool_id}")
