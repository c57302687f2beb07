from __future__ import annotations

import os
import signal
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main
from app.devtokens import store_path
from app.embedded import http_client
from app.embedded.store import StoreError, open_store, remove_store
from tests.support.embedded import embedded
from tests.support.process import Process, running, serving
from tests.support.stack import until


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


async def command(*arguments: str) -> tuple[int, str]:
    """Run ``agentgraph`` with these arguments, and return its exit status and output."""
    environment = {**os.environ, "PORT": "0"}
    async with running(*arguments, folder=Path.cwd(), environment=environment) as process:
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def test_stored_documents_are_read_in_order_of_creation() -> None:
    with closing(open_store(store_path())) as store:
        store.put("a", "2", {"n": 2})
        store.put("a", "1", {"n": 1}, "owner")
        store.put("a", "2", {"n": 3})
        store.put("b", "1", [], "other")
        store.drop_owned("other")
        store.put("b", "2", [])
        store.drop("b", "2")
    with closing(open_store(store_path())) as store:
        assert list(store.documents()) == [("a", "2", "", {"n": 3}), ("a", "1", "owner", {"n": 1})]
    assert stat.S_IMODE(store_path().stat().st_mode) == 0o600


def test_a_failed_transaction_stores_nothing() -> None:
    with closing(open_store(store_path())) as store:

        def half() -> None:
            with store.together():
                store.put("a", "1", 1)
                with store.together():
                    store.put("a", "2", 2)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            half()
        store.put("a", "3", 3)
    with closing(open_store(store_path())) as store:
        assert [key for _, key, _, _ in store.documents()] == ["3"]


def test_a_file_is_locked_for_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_store(store_path())):
        with pytest.raises(StoreError, match="in use by another agentgraph"):
            open_store(store_path())
        with pytest.raises(StoreError, match="in use by another agentgraph"):
            remove_store(store_path())
        assert main(["reset", "--yes"]) == 1
        assert "in use by another agentgraph" in capsys.readouterr().err
    open_store(store_path()).close()


def break_by_words(path: Path) -> None:
    path.write_text("these are no documents " * 500)


def break_by_holes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def make_older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("damage", [break_by_words, break_by_holes, make_older])
def test_an_unusable_file_is_reported_in_one_line(
    damage: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "0")
    with closing(open_store(store_path())) as store:
        store.put("a", "1", "x" * 20000)
    damage(store_path())  # type: ignore[operator]
    assert main(["serve"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.endswith("Start afresh with: agentgraph reset\n")
    assert main(["reset", "--yes"]) == 0
    assert capsys.readouterr().out == f"Deleted {store_path()}\n"
    assert list(store_path().parent.iterdir()) == []
    open_store(store_path()).close()


async def test_reset_without_a_terminal_needs_yes() -> None:
    assert main(["reset"]) == 0
    open_store(store_path()).close()
    status, said = await command("reset")
    assert (status, "confirm with --yes" in said) == (1, True)
    assert store_path().exists()


@pytest.mark.parametrize(("answer", "is_gone"), [("y", True), ("", False)])
def test_reset_asks_for_confirmation(monkeypatch: pytest.MonkeyPatch, answer: str, is_gone: bool) -> None:
    open_store(store_path()).close()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(["reset"]) == (0 if is_gone else 1)
    assert store_path().exists() is not is_gone


def test_an_unusable_data_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert main(["embedded", "--port", "0"]) == 1
    assert capsys.readouterr().err.startswith("agentgraph: cannot use the data folder")


async def test_an_agent_deleted_during_a_turn_is_not_restored() -> None:
    async with embedded(open_store(store_path())) as services:
        agent_id = services.agent_ids()[0]
        conversation = (await services.letta.get(f"/v1/conversations/?agent_id={agent_id}")).json()[0]
        body = {"messages": [{"role": "user", "content": "[[tokens=9 delay=5]]"}]}
        async with services.letta.stream("POST", f"/v1/conversations/{conversation['id']}/messages", json=body) as turn:
            lines = turn.aiter_lines()
            await anext(lines)
            assert (await services.ams.delete(f"/agents/{agent_id}")).status_code == 204
            rest = [line async for line in lines]
            assert "cancelled" in rest[-2]
    async with embedded(open_store(store_path())) as services:
        assert agent_id not in services.platform.state.agents
        assert agent_id not in services.agent_ids()


async def test_acknowledged_changes_survive_sigkill(tmp_path: Path) -> None:
    query = """{ viewer { agents(first: 50) { nodes { id name version memoryBlocks { label value }
      messages(last: 5) { nodes { __typename id text } }
      conversations(first: 10) { nodes { id summary messages(last: 5) { nodes { __typename id text } } } } } } } }"""

    async def ask(url: str, token: str, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        async with http_client.client(timeout=20) as client:
            answer = await client.post(
                f"{url}/graphql",
                json={"query": document, "variables": variables or {}},
                headers={"authorization": f"Bearer {token}"},
            )
        assert "errors" not in answer.json(), answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async with serving(tmp_path, keeps=True) as gateway:
        first = await ask(gateway.url, gateway.token, query)
        agent_id = first["viewer"]["agents"]["nodes"][0]["id"]
        await ask(
            gateway.url,
            gateway.token,
            "mutation($i: CreateConversationInput!) { createConversation(input: $i) { conversationEdge { cursor } } }",
            {"i": {"agentId": agent_id, "summary": "Before the fall"}},
        )
        send = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } } }"
        given = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=4 delay=0]]"}], "idempotencyKey": "k"}
        await ask(gateway.url, gateway.token, send, {"i": given})

        async def said() -> bool:
            now = await ask(gateway.url, gateway.token, query)
            return "tok0 tok1 tok2 tok3" in str(now["viewer"]["agents"]["nodes"][0]["messages"])

        await until(said, seconds=20)
        before = await ask(gateway.url, gateway.token, query)
        gateway.process.send_signal(signal.SIGKILL)
        await gateway.process.wait()
    async with serving(tmp_path, keeps=True) as gateway:
        after = await ask(gateway.url, gateway.token, query)
    assert after == before
    assert "Before the fall" in str(after)


async def test_a_second_process_cannot_use_the_file(tmp_path: Path) -> None:
    async with serving(tmp_path, keeps=True):
        for arguments in (("serve",), ("embedded", "--port", "0"), ("reset", "--yes")):
            status, said = await command(*arguments)
            assert (status, len(said.splitlines())) == (1, 1)
            assert "in use by another agentgraph" in said


async def test_every_kind_of_change_is_restored() -> None:
    async with embedded(open_store(store_path())) as services:
        options = services.platform.options
        agent_id = services.agent_ids()[0]
        core = f"/v1/agents/{agent_id}/core-memory/blocks"
        await services.letta.patch(f"{core}/human", json={"value": "Ada likes tea."})
        await services.letta.post(f"/v1/agents/{agent_id}/archival-memory", json={"text": "the sky is blue"})
        await services.letta.patch(f"/v1/agents/{agent_id}", json={"name": "Renamed", "system": "Be kind."})
        conversation = (
            await services.letta.post(f"/v1/conversations/?agent_id={agent_id}", json={"summary": "s"})
        ).json()
        path = f"/v1/conversations/{conversation['id']}/messages"
        asked = await services.tell(path, "refund 12 please [[tokens=2 tool=issue_refund]]")
        assert asked["stop_reason"]["stop_reason"] == "requires_approval"
        await services.ams.post("/agents/create", json={"template_id": "researcher"}, headers={"idempotency-key": "k"})
        body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi [[tokens=3 delay=0]]"}]}
        assert (await services.litellm.post("/v1/chat/completions", json=body)).status_code == 200
        doomed = services.agent_ids()[-1]
        await services.ams.delete(f"/agents/{doomed}")

        async def seen() -> list[Any]:
            runs = (await services.letta.get(f"/v1/runs/?agent_ids={agent_id}")).json()
            return [
                (await services.ams.get("/me")).json(),
                (await services.letta.get(f"/v1/agents/{agent_id}?include=agent.blocks&include=agent.tools")).json(),
                (await services.letta.get(f"/v1/agents/{agent_id}/messages?limit=100")).json(),
                (await services.letta.get(f"/v1/agents/{agent_id}/archival-memory")).json(),
                (await services.letta.get(f"/v1/conversations/?agent_id={agent_id}")).json(),
                (await services.letta.get("/v1/agents/")).json(),
                runs,
                (await services.letta.get(f"/v1/runs/{runs[0]['id']}/steps")).json(),
                (await services.litellm.get("/key/info")).json(),
                services.platform.state.spend,
                (await services.ams.get("/templates")).json(),
            ]

        before = await seen()
    async with embedded(open_store(store_path())) as services:
        restored = services.platform.options
        for name in ("ams_key", "letta_key", "user_key"):
            assert getattr(restored, name) == getattr(options, name)
        assert await seen() == before
        assert doomed not in str(before)
        again = await services.ams.post(
            "/agents/create", json={"template_id": "researcher"}, headers={"idempotency-key": "k"}
        )
        assert again.json()["agent"]["id"] == before[0]["agents"][0]["agent_id"]
        call_id = asked["messages"][-1]["tool_call"]["tool_call_id"]
        decision = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": call_id, "approve": True}]}
        answer = await services.letta.post(path, json={"messages": [decision], "streaming": False})
        assert [message["message_type"] for message in answer.json()["messages"]] == [
            "tool_return_message",
            "assistant_message",
        ]


@asynccontextmanager
async def embedded_process() -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    """Run ``agentgraph embedded``, with a client of its Letta."""
    async with running("embedded", "--port", "0", folder=Path.cwd(), environment=os.environ) as process:
        assert process.stdout is not None
        said: dict[str, str] = {}
        while "# Page for injecting faults" not in said:
            line = (await process.stdout.readline()).decode().strip()
            name, _, value = line.partition(": " if line.startswith("#") else "=")
            said[name] = value
        headers = {"authorization": f"Bearer {said['LETTA_API_KEY']}"}
        async with http_client.client(base_url=said["LETTA_BASE_URL"], headers=headers) as letta:
            yield process, letta


async def test_a_run_interrupted_by_sigkill_is_failed() -> None:
    async with embedded_process() as (process, letta):
        agent_id = (await letta.get("/v1/agents/?limit=1")).json()[0]["id"]
        core, archival = f"/v1/agents/{agent_id}/core-memory/blocks/human", f"/v1/agents/{agent_id}/archival-memory"
        await letta.patch(core, json={"value": "Grace likes tea."})
        await letta.post(archival, json={"text": "the sky is blue"})
        said = [{"role": "user", "content": "hi [[tokens=3 delay=0]]"}]
        await letta.post(f"/v1/agents/{agent_id}/messages", json={"messages": said})
        paths = (core, archival, f"/v1/agents/{agent_id}/messages", "/v1/agents/?include=agent.blocks")
        before = [(await letta.get(path)).json() for path in paths]
        body = {"messages": [{"role": "user", "content": "hi [[tokens=500 delay=1]]"}], "background": True}
        async with letta.stream("POST", f"/v1/agents/{agent_id}/messages/stream", json=body) as answer:
            await anext(answer.aiter_lines())
            process.kill()
            await process.wait()
    async with embedded(open_store(store_path())) as services:
        assert [(await services.letta.get(path)).json() for path in paths] == before
        run = (await services.letta.get(f"/v1/runs/?agent_ids={agent_id}")).json()[0]
        assert (run["status"], run["stop_reason"]) == ("failed", "error")
        events = await services.events(f"/v1/runs/{run['id']}/stream", {"starting_after": 1})
        assert [event["message_type"] for event in events] == ["stop_reason", "error_message"]
        assert (await services.letta.get(f"/v1/runs/?agent_ids={agent_id}&active=true")).json() == []
        assert (await services.tell(f"/v1/agents/{agent_id}/messages", "[[tokens=1]]"))["messages"]


async def test_a_platform_in_memory_writes_no_file() -> None:
    async with embedded() as services:
        assert services.agent_ids()
    assert not store_path().exists()


async def test_rows_are_stored_separately_for_a_real_letta() -> None:
    async with embedded() as real:
        options = {"letta_url": real.platform.urls["letta"], "letta_api_key": real.platform.options.letta_key}
        strangers = len(real.agent_ids())
        async with embedded(open_store(store_path()), **options) as services:
            made = (await services.ams.post("/agents/create", json={"template_id": "support-bot"})).json()["agent"]
            assert len(services.agent_ids()) == strangers + 1
        async with embedded(open_store(store_path())) as services:
            assert made["id"] not in services.agent_ids()
            assert len(services.agent_ids()) == strangers
        async with embedded(open_store(store_path()), **options) as services:
            row = services.platform.state.users[services.ams.headers["x-user-id"]].rows[0]
            assert (row["agent_id"], row["template_id"]) == (made["id"], "support-bot")


async def test_a_queued_upgrade_is_applied_after_a_restart() -> None:
    store = open_store(store_path())
    async with embedded(store) as services:
        agent_id = services.agent_ids()[2]
        await services.page.put("faults", json={"service": "letta", "status": 503})
        body = {"use_latest": True, "dry_run": False, "use_queue": True}
        assert (await services.ams.post(f"/agents/{agent_id}/upgrade", json=body)).status_code == 200
    async with embedded(open_store(store_path())) as services:

        async def is_applied() -> bool:
            rows = (await services.ams.get(f"/agents?ids={agent_id}")).json()["agents"]
            return bool(rows[0]["version"] == "1.2.0")

        await until(is_applied)
        assert services.platform.state.upgrades == {}
