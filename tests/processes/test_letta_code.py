"""Letta Code in cloud mode, as a client of the embedded Letta beside a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.embedded import http_client
from tests.support.cluster import platform
from tests.support.letta_code import LettaCode
from tests.support.process import Gateway, serving

pytestmark = [pytest.mark.needs_letta_code, pytest.mark.timeout(240)]

NOT_IN_LETTA = ("/secrets", "/mcp-servers", "/repositories", "/metadata/balance")
"""The ends of the paths that only Letta Cloud has. Letta 0.16.8 also answers 404 (tests/contract)."""

AGENT = "Paper trail"
"""One of Ada's agents."""

AGENTS = "{ viewer { agents(first: 50) { nodes { name tags } } } }"
CONVERSATIONS = """{ viewer { agents(first: 5) { nodes { name conversations(first: 5) { nodes {
  messages(first: 10) { nodes { __typename text
    ... on ApprovalRequestMessage { toolCalls { name } } ... on ApprovalResponseMessage { approve reason }
    ... on ToolReturnMessage { toolReturns { status } } } } } } } } } }"""


@dataclass(frozen=True)
class Beside:
    """Letta Code and a gateway with the same Letta."""

    code: LettaCode
    gateway: Gateway
    page: str

    async def letta(self, path: str) -> Any:
        """Read from Letta."""
        headers = {"authorization": f"Bearer {self.code.letta['LETTA_API_KEY']}"}
        async with http_client.client(timeout=30) as client:
            answer = await client.get(f"{self.code.letta['LETTA_BASE_URL']}{path}", headers=headers)
        return answer.raise_for_status().json()

    async def graph(self, query: str) -> list[dict[str, Any]]:
        """Return Ada's agents."""
        headers = {"authorization": f"Bearer {self.gateway.token}"}
        async with http_client.client(timeout=30) as client:
            answer = (await client.post(f"{self.gateway.url}/graphql", json={"query": query}, headers=headers)).json()
        assert "errors" not in answer, answer
        nodes: list[dict[str, Any]] = answer["data"]["viewer"]["agents"]["nodes"]
        return nodes

    async def refused(self) -> list[str]:
        """Return the requests to Letta that were not successful, except those that Letta 0.16.8 refuses too."""
        async with http_client.client(timeout=30) as client:
            calls = (await client.get(f"{self.page}calls")).raise_for_status().json()
        answered = [call for call in calls if call["service"] == "letta"]
        assert len(answered) > 3
        expected = [call for call in answered if call["status"] == 404 and call["path"].endswith(NOT_IN_LETTA)]
        return [
            f"{call['status']} {call['method']} {call['path']}"
            for call in answered
            if call["status"] != 200 and call not in expected
        ]


@pytest.fixture
async def beside(tmp_path: Path) -> AsyncIterator[Beside]:
    """Run a gateway with an embedded platform, and Letta Code in cloud mode with the same Letta."""
    async with both(tmp_path) as running:
        yield running


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Beside]:
    async with platform(folder) as (services, page), serving(folder, services) as gateway:
        letta = {name: services[name] for name in ("LETTA_BASE_URL", "LETTA_API_KEY")}
        yield Beside(LettaCode(folder / "code", letta), gateway, page)


async def test_its_command_lists_and_creates_agents(beside: Beside) -> None:
    listed = await beside.code.json("agents", "list")
    stored = await beside.letta("/v1/agents/")
    assert [agent["id"] for agent in listed["body"]] == [agent["id"] for agent in stored]
    assert AGENT in {agent["name"] for agent in listed["body"]}
    model = ("--model", "openai-proxy/gpt-4o-mini", "--personality", "blank")
    made = await beside.code.json("agents", "create", "--name", "Made by code", *model, "--tags", "code")
    found = await beside.letta(f"/v1/agents/{made['id']}?include=agent.tags&include=agent.blocks")
    assert (found["name"], found["model"]) == ("Made by code", "openai-proxy/gpt-4o-mini")
    assert "code" in found["tags"]
    assert {block["label"] for block in found["blocks"]} == {"persona", "human"}
    names = {agent["name"] for agent in await beside.graph(AGENTS)}
    assert AGENT in names
    assert "Made by code" not in names, "AMS does not know to whom the agent belongs"
    assert await beside.refused() == []


async def test_its_command_sends_a_message_to_an_agent(beside: Beside) -> None:
    [agent] = [agent for agent in await beside.letta("/v1/agents/") if agent["name"] == AGENT]
    # without --stateless, Letta Code also looks for the agent's memory in a git repository, which only Letta Cloud has
    message = ("-p", "Hello [[tokens=3 delay=0]]", "--agent", agent["id"], "--stateless")
    status, output, errors = await beside.code.run(*message)
    assert (status, output.strip()) == (0, "tok0 tok1 tok2"), errors
    assert await beside.refused() == []


async def test_its_app_server_runs_a_turn_with_a_tool_and_forks_the_conversation(beside: Beside) -> None:
    (beside.code.home / ".bash_profile").write_text('tok0() { echo "from the shell in $(basename "$PWD")"; }\n')
    async with beside.code.app_server() as server:
        listed = (await server.ask("agent_list"))["agents"]
        [agent] = [agent for agent in listed if agent["name"] == AGENT]
        wanted = {"agent_id": agent["id"], "create_conversation": {"body": {}}, "mode": "unrestricted"}
        runtime = (await server.ask("runtime_start", **wanted, wait_for_replay=True))["runtime"]
        finished = await server.turn(runtime, "Look at it [[tokens=30 delay=0.01 tool=exec_command]]")
        assert finished["stop_reason"] == "end_turn"
        text = [delta["content"] for delta in server.deltas if delta["message_type"] == "assistant_message"]
        assert "".join(text) == " ".join(f"tok{number}" for number in range(30))
        assert len(text) > 20, "the answer is streamed"
        forking = await server.ask("conversation_fork", conversation_id=runtime["conversation_id"], body={})
        forked = forking["conversation"]
        query = {"order": "asc", "limit": 50}
        read = await server.ask("conversation_messages_list", conversation_id=forked["id"], query=query)
    assert forked["agent_id"] == agent["id"]
    original = await beside.letta(f"/v1/conversations/{runtime['conversation_id']}/messages?order=asc")
    copied = await beside.letta(f"/v1/conversations/{forked['id']}/messages?order=asc")
    check_turn(original[1:])
    assert [message["id"] for message in copied[1:]] == [message["id"] for message in original[1:]]
    assert {message["id"] for message in original[1:]} <= {message["id"] for message in read["messages"]}
    assert await beside.refused() == []
    check_graph(await beside.graph(CONVERSATIONS))


def check_turn(stored: list[dict[str, Any]]) -> None:
    """Check a turn in which Letta Code has executed a shell command."""
    user, request, response, returned, said = stored
    assert "Look at it" in str(user["content"])
    assert request["message_type"] == "approval_request_message"
    assert (request["tool_call"]["name"], '"cmd":"tok0"' in request["tool_call"]["arguments"]) == ("exec_command", True)
    assert (response["message_type"], response["approvals"][0]["type"]) == ("approval_response_message", "tool")
    assert (returned["message_type"], returned["status"]) == ("tool_return_message", "success")
    assert "from the shell in project" in returned["tool_return"]
    assert said["content"].endswith("tok29")


def check_graph(agents: list[dict[str, Any]]) -> None:
    """Check that the gateway shows the turn in both conversations of the user's agent."""
    [agent] = [agent for agent in agents if agent["name"] == AGENT]
    shown = [conversation["messages"]["nodes"] for conversation in agent["conversations"]["nodes"]]
    turns = [messages for messages in shown if "ApprovalRequestMessage" in str(messages)]
    assert len(turns) == 2
    for messages in turns:
        by_type = {message["__typename"]: message for message in messages}
        assert by_type["ApprovalRequestMessage"]["toolCalls"] == [{"name": "exec_command"}]
        assert by_type["ApprovalResponseMessage"]["approve"] is None
        assert "from the shell in project" in by_type["ToolReturnMessage"]["text"]
        assert by_type["AssistantMessage"]["text"].endswith("tok29")
