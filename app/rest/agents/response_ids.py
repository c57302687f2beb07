"""The ids of agents' responses, which name the conversation and the turn.

An id proves nothing: the owner of the conversation is checked whenever an id is used.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from clients.owned import ConversationRef
from resolvers.owned import DEFAULT_PREFIX
from resolvers.streams.stream import Stream

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"resp_(?P<place>(?:agent|conv)-{_UUID})_(?P<stream>{_UUID})")
_STREAM = "stream:"


class AgentResponseId(NamedTuple):
    """The parts of a response's id. ``place`` is an agent's id, for its default conversation, or a conversation's."""

    place: str
    stream_id: str

    @property
    def conversation_id(self) -> str:
        """The conversation's GraphQL id."""
        return f"{DEFAULT_PREFIX}{self.place}" if self.place.startswith("agent-") else self.place


def response_id(conversation: ConversationRef, stream: Stream) -> str:
    """Return the id of the response whose turn has this stream."""
    return f"resp_{conversation}_{stream.id.removeprefix(_STREAM)}"


def agent_response(text: str) -> AgentResponseId | None:
    """Return the parts of an agent's response id, or ``None`` for any other id."""
    found = _ID.fullmatch(text)
    return None if found is None else AgentResponseId(found["place"], f"{_STREAM}{found['stream']}")
