"""Restores the state of the embedded platform from its store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.embedded.state import Agent, Json, Run, State, User, now


def restore(state: State) -> None:
    """Fill an empty state from the store. A run that was active when the process ended becomes ``failed``."""
    interrupted: list[Run] = []
    rows: dict[str, list[Json]] = {}
    loaders: dict[str, Callable[[str, Any], None]] = {
        "user": lambda key, body: state.users.__setitem__(key, User(**body, litellm_key=None)),
        "rows": rows.__setitem__,
        "mark": state.marks.__setitem__,
        "agent": lambda key, body: state.agents.__setitem__(key, Agent(**body)),
        "conversation": lambda key, body: state.agents[body["agent_id"]].conversations.__setitem__(key, body),
        "message": lambda _, body: _message(state, body),
        "run": lambda _, body: _run(state, body, interrupted),
        "spend": lambda _, body: state.spend.append(body),
        **{kind: records.__setitem__ for kind, records in _records(state).items()},
    }
    for kind, key, _, body in state.store.documents():
        loaders[kind](key, body)
    for user in state.users.values():
        user.rows = rows.get(f"{user.id} {state.letta}", [])
    with state.store.together():
        for run in interrupted:
            state.keep_run(run)


def _records(state: State) -> dict[str, dict[str, Json]]:
    return {
        "template": state.templates,
        "release": state.releases,
        "block": state.blocks,
        "tool": state.tools,
        "passage": state.passages,
        "key": state.keys,
        "provider": state.providers,
        "response": state.responses,
        "created": state.created,
        "upgrade": state.upgrades,
    }


def _message(state: State, body: Json) -> None:
    state.append_group(state.agents[body["agent_id"]], body["scope"], body["group"])


def _run(state: State, body: Json, interrupted: list[Run]) -> None:
    run = Run(**body)
    state.runs[run.id] = run
    if not run.over:
        run.over = run.lost = True
        run.body |= {"status": "failed", "stop_reason": "error", "completed_at": now().rstrip("Z")}
        interrupted.append(run)
