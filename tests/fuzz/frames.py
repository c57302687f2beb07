"""Strategies for WebSocket frames as bytes: almost valid ones, and ones that RFC 6455 forbids."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.requests import QUERIES, texts, values

TYPES = ("connection_init", "subscribe", "complete", "ping", "pong", "next", "start", "")
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
)
_MASK = b"\x01\x02\x03\x04"


def frame(payload: bytes, opcode: int = 1, *, first: int = 0x80, masked: bool = True, width: int = 0) -> bytes:
    """Return a frame. ``first`` has FIN and the reserved bits; ``width`` may make the length longer than needed."""
    length = len(payload)
    if length < 126 and width == 0:
        size, rest = length, b""
    elif length < 65536 and width <= 2:
        size, rest = 126, struct.pack("!H", length)
    else:
        size, rest = 127, struct.pack("!Q", length)
    head = bytes([first | opcode, size | (0x80 if masked else 0)]) + rest
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(payload))


def init(token: str) -> bytes:
    """Return the frame that signs a socket in."""
    return frame(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}).encode())


def _message(kind: str, operation: Any, payload: Any) -> bytes:
    return json.dumps({"type": kind, "id": operation, "payload": payload}).encode()


_payloads = values | st.builds(
    lambda query, given: {"query": query, "variables": given}, st.sampled_from(QUERIES), values
)
_messages = (
    st.builds(_message, st.sampled_from(TYPES) | texts, st.sampled_from(("1", "2")) | values, _payloads)
    | st.just(b'{"type":"ping","payload":' + b'{"a":' * 900 + b"1" + b"}" * 901)
    | values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=130)
)
_usual = st.builds(frame, _messages)
_odd = st.builds(
    frame,
    _messages | st.binary(max_size=5),
    st.integers(0, 15),
    first=st.sampled_from((0x80, 0x80, 0, 0, 0x40, 0xC0, 0xF0)),
    masked=st.sampled_from((True, True, True, False)),
    width=st.sampled_from((0, 0, 2, 8)),
)
frames = st.lists(_usual | _usual | _odd, min_size=1, max_size=8)
"""What a client sends on one socket."""
