"""The texts of an agent's answer."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rest.agents.pieces import Pieces, failure_in
from clients.codes import Reason
from clients.errors import Conflict
from clients.letta.messages import ApprovalRequestMessage, UserMessage
from resolvers.messages import message_node_id
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded, TurnStarted
from resolvers.streams.events import Ended, FinishReason, StreamFailure, StreamOutcome, ToolCallDelta
from tests.support.agent_events import COMPLETED, WHERE, assistant, deltas


@given(st.text(min_size=1), st.integers(0, 50))
def test_a_stored_message_adds_only_what_the_deltas_lacked(text: str, cut: int) -> None:
    message = assistant(1, text)
    events = [*(deltas(message, text[:cut]) if text[:cut] else []), MessageAdded(message=message)]
    assert "".join(piece.text for piece in Pieces().all(events)) == text


def test_a_stored_message_that_differs_from_its_deltas_adds_nothing() -> None:
    events = [*deltas(assistant(1, " hello"), " hello "), MessageAdded(message=assistant(1, "hello again"))]
    assert [piece.text for piece in Pieces().all(events)] == [" hello "]


def test_only_the_agents_own_texts_are_pieces() -> None:
    user = UserMessage(otid="u", read_in=WHERE, content="hi")
    call = ToolCallDelta(name="roll", arguments_delta="{}")
    assert Pieces().all([TurnStarted(user_message=user), call, MessageAdded(message=user), COMPLETED]) == []


@pytest.mark.parametrize("known", [None, "message:x"])
def test_an_approval_names_the_mutation(known: str | None) -> None:
    ended = msgspec.structs.replace(COMPLETED, finish_reason=FinishReason.REQUIRES_APPROVAL, run_id="run-1")
    failure = failure_in(ended, known)
    assert isinstance(failure, Conflict)
    assert failure.reason is Reason.APPROVAL_PENDING
    assert not failure.retryable
    assert "`respondToApproval`" in failure.message
    assert (known or "ApprovalRequestMessage") in failure.message


def test_the_approval_request_is_remembered() -> None:
    pieces, request = Pieces(), ApprovalRequestMessage(letta_id="message-9", otid="o", read_in=WHERE)
    assert pieces.of(ApprovalRequested(message=request)) is None
    assert pieces.approval_id == message_node_id(request)


def test_how_a_turn_ends() -> None:
    assert failure_in(COMPLETED) is None
    cancelled = failure_in(Ended(outcome=StreamOutcome.CANCELLED))
    assert cancelled is not None
    assert cancelled.reason is Reason.CANCELLED
    failed = StreamFailure.of(Conflict("so", reason=Reason.RUN_BUSY))
    error = failure_in(Ended(outcome=StreamOutcome.FAILED, error=failed))
    assert error is not None
    assert error.reason is Reason.RUN_BUSY
