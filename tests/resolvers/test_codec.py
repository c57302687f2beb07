from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.codes import ErrorCode, Reason
from clients.errors import Service
from clients.owned import ConversationRef
from clients.usage import Usage
from resolvers.owned import conversation_of_stream
from resolvers.sources.turn_rows import TURN_KINDS
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import (
    Ended,
    Event,
    FinishReason,
    Raw,
    ReasoningDelta,
    Started,
    StreamFailure,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)

CODEC = EventCodec(TURN_KINDS)
AGENT = "agent-00000000-0000-4000-8000-000000000001"
CONVERSATION = conversation_of_stream(AGENT, "conv-00000000-0000-4000-8000-000000000002")


def again(event: Event, raw: bytes = b"", mark: int = 0) -> Event:
    """Encode and decode an event."""
    entry = CODEC.decode(7, CODEC.encode(event, raw, mark), CONVERSATION)
    assert (entry.seq, entry.raw, entry.mark) == (7, raw, mark)
    assert type(entry.event) is type(event)
    return entry.event


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DELTAS: st.SearchStrategy[Any] = st.one_of(
    st.builds(TextDelta, message_id=st.none() | TEXTS, text=TEXTS),
    st.builds(ReasoningDelta, message_id=st.none() | TEXTS, text=TEXTS),
    st.builds(ToolCallDelta, index=st.integers(0, 9), name=st.none() | TEXTS, arguments_delta=TEXTS),
    st.builds(Started, run_id=st.none() | TEXTS, resumable=st.booleans()),
    st.just(Raw()),
)


@given(DELTAS, st.binary(), st.integers(0, 2**40))
def test_every_delta_comes_back(event: Event, raw: bytes, mark: int) -> None:
    assert again(event, raw, mark) == event


def test_an_end_comes_back_with_its_conversation() -> None:
    failure = StreamFailure(
        code=ErrorCode.UPSTREAM_ERROR, message="m", reason=Reason.CUT, service=Service.LETTA, details={"cause": "CUT"}
    )
    for ended in (
        Ended(outcome=StreamOutcome.COMPLETED, finish_reason=FinishReason.END_TURN),
        Ended(outcome=StreamOutcome.FAILED, error=failure, usage=Usage(cost_usd=Decimal("0.1")), run_id="run-1"),
        Ended(outcome=StreamOutcome.CANCELLED, conversation=CONVERSATION),
    ):
        found = again(ended)
        assert found == ended
        assert isinstance(found, Ended)
        assert type(found.conversation) is type(ended.conversation)
    conversation = getattr(found, "conversation", None)
    assert isinstance(conversation, ConversationRef)
    assert (str(conversation.agent_id), conversation.conversation_id) == (AGENT, str(CONVERSATION))


def test_an_entry_of_another_version_is_refused() -> None:
    for row in (b"", b"\xc1", msgspec.msgpack.encode([{"type": "Novel"}, b"", 0])):
        with pytest.raises(msgspec.MsgspecError):
            CODEC.decode(1, row, None)
    novel = msgspec.msgpack.encode([None, b"", 0, "Novel", b""])
    with pytest.raises(KeyError):
        CODEC.decode(1, novel, None)
