"""A client that reads one stream to its end through any replica, as an application does: it resumes by cursor."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.support.cluster import Cluster
from tests.support.stack import GraphQLSocket
from tests.support.websocket import connecting

EVENTS = """
  cursor __typename
  ... on StreamStarted { stream { id } replayed }
  ... on TextDelta { text }
  ... on StreamEnded { outcome error { code reason } }
"""
_STARTING = """subscription($key: ID!, $input: {kind}Input!) {{
  {field}(streamKey: $key, input: $input) {{ {events} }}
}}"""
MESSAGE = _STARTING.format(kind="SendMessage", field="message", events=EVENTS)
COMPLETION = _STARTING.format(kind="Completion", field="completion", events=EVENTS)
RESUME = f"subscription($id: ID!, $after: String) {{ stream(id: $id, after: $after) {{ {EVENTS} }} }}"

MAX_REFUSALS = 3
"""After so many errors that are not retryable, the client stops."""

PAUSE_SECONDS = 0.05
"""The pause before a reconnection, in seconds."""


class _Retry(Exception):
    """The client connects again and resumes."""


@dataclass
class ResumingReader:
    """Reads a stream. ``start`` is ``MESSAGE`` or ``COMPLETION``.

    Attributes:
        texts: the texts that have arrived, by cursor. A cursor that arrives twice is in ``doubled``.
        ends: the outcomes and the reasons of all ``StreamEnded`` events with different cursors.
        resumed: how often the client has resumed.
        refused: the errors of refused operations.
    """

    cluster: Cluster
    start: str
    key: str
    given: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    ends: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    resumed: int = 0
    refused: list[str] = field(default_factory=list)
    stream_id: str | None = None
    after: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    async def read(self) -> None:
        """Read until the stream's end. Connect again after each lost connection."""
        while not self.ends and len(self.refused) < MAX_REFUSALS:
            try:
                await self._connected()
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, EOFError, TimeoutError, _Retry):
                self.resumed += 1
                await asyncio.sleep(PAUSE_SECONDS)

    async def _connected(self) -> None:
        async with asyncio.timeout(30), connecting(self.cluster.url) as connection:
            socket = GraphQLSocket(connection)
            await socket.tell(type="connection_init", payload=self.cluster.headers())
            assert (await socket.hear())["type"] == "connection_ack"
            if self.stream_id is None:
                await socket.subscribe(self.start, {"key": self.key, "input": self.given})
            else:
                await socket.subscribe(RESUME, {"id": self.stream_id, "after": self.after})
            while (message := await socket.hear())["type"] != "complete":
                if message["type"] != "ping":
                    self._took(message)
            if not self.ends:
                raise _Retry

    def _took(self, message: dict[str, Any]) -> None:
        if message["type"] == "error" or "errors" in message["payload"]:
            errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
            facts = errors[0]["extensions"]
            if not facts.get("retryable"):
                self.refused.append(f"{facts['code']} {facts.get('reason')}: {errors[0]['message']}")
            raise _Retry
        event = next(iter(message["payload"]["data"].values()))
        match event["__typename"]:
            case "ReaderDetached":
                return
            case "StreamStarted":
                self.stream_id = event["stream"]["id"]
            case "TextDelta":
                if self.after is not None and _number(event["cursor"]) <= _number(self.after):
                    self.doubled.append(event["cursor"])
                self.texts.append(event["text"])
            case "StreamEnded":
                error = event["error"] or {}
                self.ends[event["cursor"]] = (event["outcome"], error.get("reason"))
        self.after = event["cursor"]


def _number(cursor: str) -> int:
    """Return the position in a cursor. With Redis, a cursor also names the replica."""
    return int(cursor.partition("~")[0])
