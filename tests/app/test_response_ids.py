"""The ids of agents' responses."""

from __future__ import annotations

import pytest

from app.rest.agents.response_ids import agent_response

STREAM = "11111111-2222-4333-8444-555555555555"
AGENT, CONVERSATION = f"agent-{STREAM}", f"conv-{STREAM}"
OTHERS = ["", "resp_1", f"resp_{AGENT}", f"resp_{AGENT}_{STREAM}\n", f"resp_run-{STREAM}_{STREAM}", f"{AGENT}_{STREAM}"]


@pytest.mark.parametrize(("place", "conversation"), [(AGENT, f"conversation:{AGENT}"), (CONVERSATION, CONVERSATION)])
def test_an_id_names_the_conversation_and_the_turn(place: str, conversation: str) -> None:
    found = agent_response(f"resp_{place}_{STREAM}")
    assert found is not None
    assert (found.conversation_id, found.stream_id) == (conversation, f"stream:{STREAM}")


@pytest.mark.parametrize("text", OTHERS)
def test_other_ids_are_not_of_agents(text: str) -> None:
    assert agent_response(text) is None
