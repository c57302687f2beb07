"""The subprotocol of GraphQL over WebSocket."""

from __future__ import annotations

from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("graphql-transport-ws")
