"""Upstream reads accept owned ids only. One run of mypy over generated calls checks that it refuses other values."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients import owned
from clients.ams import Ams
from clients.letta.client import Letta
from clients.service import ServiceClient
from resolvers.loaders import Loaders
from resolvers.loading import Lazy

ROOT = Path(__file__).parents[2]
ROOMS = ("app", "schema", "resolvers", "clients")
PRELUDE = """
from datetime import date

from clients.ams import Ams
from clients.calls import CallScope
from clients.letta.client import Letta
from clients.letta.records import RunRecord
from clients.letta.sending import FollowedRun, SentMessage
from clients.owned import *
from resolvers.access import Access
from resolvers.loader_keys import *
from resolvers.loaders import *
from resolvers.owned import *

ams: Ams
letta: Letta
loaders: Loaders
scope: CallScope
sent: SentMessage
record: RunRecord
text: str
position: Position
conversation: ConversationRef
"""
IDS = {
    "agent": "OwnedAgentId",
    "conversation_id": "OwnedConversationId",
    "run": "OwnedRunId",
    "passage": "OwnedPassageId",
    "block": "OwnedBlockId",
    "claimed_conversation": "ClaimedConversationId",
    "claimed_run": "ClaimedRunId",
    "claimed_step": "ClaimedStepId",
    "claimed_block": "ClaimedBlockId",
}
VALUES = [*IDS, "conversation", "position", "text"]

# Each parameter that takes an id stands in braces, with the value that is right for it.
CALLS = [
    "await ams.agent_facts(scope, 'u', [{agent}])",
    "await ams.upgrade_plan(scope, 'u', {agent}, None)",
    "await ams.upgrade_agent(scope, 'u', {agent}, version=None, queue=False, key=None)",
    "await ams.delete_agent(scope, 'u', {agent}, None)",
    "await letta.agent(scope, {agent})",
    "await letta.agents_by_tag(scope, 'tag', limit=1, after={position})",
    "await letta.search_agents(scope, [], search=None, limit=1, after={position})",
    "await letta.agent_to_change(scope, {agent})",
    "await letta.update_agent(scope, {agent}, {{}})",
    "await letta.delete_agent(scope, {agent})",
    "await letta.conversation(scope, {claimed_conversation})",
    "await letta.conversations(scope, {agent}, limit=1, after={position})",
    "await letta.create_conversation(scope, {agent}, None)",
    "await letta.update_conversation(scope, {conversation_id}, 's')",
    "await letta.fork_conversation(scope, {conversation_id})",
    "await letta.delete_conversation(scope, {conversation_id})",
    "await letta.messages(scope, {conversation}, limit=1, newest_first=True, before={position}, after={position})",
    "await letta.run(scope, {run|claimed_run})",
    "await letta.run_messages(scope, {run}, {conversation})",
    "await letta.active_runs(scope, [{agent}])",
    "await letta.runs(scope, [{agent}], limit=1)",
    "await letta.agent_runs(scope, {agent}, limit=1, over=False, before={position})",
    "await letta.run_usage(scope, {run})",
    "await letta.run_steps(scope, {run})",
    "await letta.step(scope, {claimed_step})",
    "await letta.cancel(scope, {agent}, {run})",
    "await letta.block_agents(scope, {claimed_block})",
    "await letta.update_block(scope, {block}, 'v')",
    "await letta.passages(scope, {agent}, limit=1, newest_first=True, before={position}, after={position})",
    "await letta.search_passages(scope, {agent}, 'q', 1)",
    "await letta.insert_passage(scope, {agent}, 't', None)",
    "await letta.delete_passage(scope, {agent}, {passage})",
    "letta.send(scope, {conversation}, sent, opens_within=1)",
    "letta.resume(scope, {conversation}, {run}, opens_within=1)",
    "FollowedRun(run_id={run}, background=True)",
    "await loaders.agent_state.load({agent})",
    "await loaders.agent_facts.load({agent})",
    "await loaders.upgrade_plan.load(UpgradeKey({agent}, None))",
    "await loaders.conversation.load({claimed_conversation})",
    "await loaders.conversations.load(ConversationWindow({agent}, 1, {position}, None))",
    "await loaders.messages.load(MessageWindow({conversation}, 1, True, {position}, {position}))",
    "await loaders.run.load({claimed_run})",
    "await loaders.run_messages.load(RunStart({run}, {conversation}))",
    "await loaders.active_runs.load({agent})",
    "await loaders.runs.load(RunWindow({agent}, 1, True, {position}))",
    "await loaders.run_usage.load({run})",
    "await loaders.run_steps.load({run})",
    "await loaders.step.load({claimed_step})",
    "await loaders.block_agents.load({claimed_block})",
    "await loaders.passages.load(PassageWindow({agent}, 1, True, {position}, {position}))",
    "await loaders.memory_search.load(MemoryQuery({agent}, 'q', 1))",
    "ConversationRef({agent}, {conversation_id})",
    "OwnedRun(id={run}, agent_id={agent})",
    "default_conversation({agent})",
    "runs_of({agent}, [])",
    "run_named_in({conversation}, text)",
]
OTHERS = [
    *(f"{kind}({argument})" for kind in IDS.values() for argument in ("text", "agent", "")),
    "await loaders.messages.load(PassageWindow(agent, 1))",
    "await loaders.passages.load(MessageWindow(conversation, 1))",
    "await loaders.messages.load((conversation, 1, True, None, None))",
    "await loaders.usage.load(('key', date.min, date.max))",
    "await loaders.run_usage.load(record.id)",
    "FollowedRun(run_id=record.id, background=True)",
]
WITHOUT_OWNER = {"ping", "account", "check_key", "note", "create_agent", "deletes_no_agents"}
WITHOUT_OWNER |= {"templates", "template_page", "template_version", "validate_template", "publish_template"}
LOADED_WITHOUT_OWNER = {"account", "profile", "agents_found", "template", "template_version", "models", "model_details"}
LOADED_WITHOUT_OWNER |= {"key_info", "usage", "streams"}
HOLE = re.compile(r"{([\w|]+)}")


def filled(call: str, at: int = -1, value: str = "") -> str:
    """Return the call with valid arguments, except for one parameter."""
    numbers = iter(range(call.count("{")))
    made = HOLE.sub(lambda hole: value if next(numbers) == at else hole[1].split("|")[0], call)
    return made.replace("{{", "{").replace("}}", "}")


def wrong() -> list[str]:
    made = [
        filled(call, index, value)
        for call in CALLS
        for index, hole in enumerate(HOLE.findall(call))
        for value in VALUES
        if value not in hole.split("|")
    ]
    return [*made, *OTHERS]


def checked(folder: Path, lines: list[str]) -> list[tuple[int, str]]:
    """Run mypy. Return each error's line index and code."""
    parameters = ", ".join(f"{name}: {kind}" for name, kind in IDS.items())
    file = folder / "snippets.py"
    head = PRELUDE.count("\n")
    file.write_text(
        PRELUDE + "".join(f"async def f{n}({parameters}) -> None: {line}\n" for n, line in enumerate(lines))
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-error-summary", "--no-pretty"]
    done = subprocess.run(
        [*command, "--hide-error-context", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(r"snippets\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert len(found) == done.stdout.count("error:"), done.stdout
    return [(int(line) - head - 1, code) for line, code in found]


@pytest.mark.timeout(300)
def test_mypy_refuses_every_id_that_access_has_not_returned(tmp_path: Path) -> None:
    right, refused = [filled(call) for call in CALLS], wrong()
    errors = checked(tmp_path, [*right, *refused])
    assert [[*right, *refused][line] for line, _ in errors] == refused
    assert {code for _, code in errors} <= {"arg-type", "list-item", "call-arg"}


def methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        (r"letta\.", methods(Letta) - methods(ServiceClient) - WITHOUT_OWNER),
        (r"ams\.", methods(Ams) - methods(ServiceClient) - WITHOUT_OWNER),
        (r"loaders\.", {name for name, made in vars(Loaders).items() if isinstance(made, Lazy)} - LOADED_WITHOUT_OWNER),
    ],
)
def test_every_upstream_read_is_checked(prefix: str, names: set[str]) -> None:
    assert names <= set(re.findall(rf"{prefix}(\w+)", "\n".join(CALLS)))


def test_only_access_casts_to_an_owned_type() -> None:
    cast = re.compile(r'cast\(\s*"?(list\[)?(Owned|Claimed|K\b)')
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if cast.search(file.read_text())]
    assert {str(file.relative_to(ROOT)) for file in files} == {"resolvers/access.py", "resolvers/owned.py"}


@pytest.mark.parametrize("kind", IDS.values())
def test_an_id_class_makes_no_value(kind: str) -> None:
    with pytest.raises(TypeError):
        getattr(owned, kind)("agent-1")
