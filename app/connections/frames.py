"""Limits on the frames that a WebSocket's client sends."""

from __future__ import annotations

import logging
from enum import IntEnum

from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from app.asgi import NO_SNIFF
from app.meters import Meter
from app.shares import Holding
from clients.errors import Overloaded, RateLimited

EXTENSION = "agentgraph.frames"
"""The name of the ASGI extension that contains a WebSocket's ``Frames``.

After sign-in, the application replaces the limits of the ``Frames``.
"""

SIGN_IN_BYTES = 64 * 1024
"""Maximum number of payload bytes that a client may send before sign-in. A token has at most 8 KiB."""

SIGN_IN_FRAMES = 100
"""Maximum number of frames that a client may send before sign-in. Control frames count, too."""

MAX_FRAGMENTS = 1_000
"""Maximum number of frames of one message."""

UNIT_BYTES = 16 * 1024
"""A large frame counts as several messages: one more for each ``UNIT_BYTES`` of payload."""

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY})


class Breach(IntEnum):
    """The WebSocket close codes for clients that exceed a bound."""

    TOO_BIG = 1009
    INVALID = 4400
    TOO_MANY = 4429


class _BoundExceeded(Exception):
    pass


class Frames(ServerProtocol):
    """Parses one WebSocket's frames, and limits the frames' number and size."""

    __slots__ = ("_bytes", "_fragments", "_frames", "_max_size", "_memory", "_meter")

    def __init__(self, max_size: int, logger: logging.Logger) -> None:
        super().__init__(max_size=min(max_size, SIGN_IN_BYTES), logger=logger)
        self._max_size = max_size
        self._meter: Meter | None = None
        self._memory: Holding | None = None
        self._frames = self._bytes = self._fragments = 0

    def admit(self, meter: Meter, memory: Holding) -> None:
        """Replace the limits before sign-in with the signed-in user's limits.

        Args:
            meter: the rate limit of the user's messages.
            memory: counts the bytes of incomplete and unprocessed messages against the user's limit.
        """
        self._meter, self._memory = meter, memory
        self.max_message_size = self._max_size

    def count_memory(self, complete: int) -> None:
        """Count the memory of received messages. Close the WebSocket if a limit is exceeded.

        Args:
            complete: the bytes of complete messages that are not processed yet.
        """
        if self._memory is None:
            return
        size = len(self.reader.buffer) + (self.current_size or 0) + complete
        try:
            self._memory.set(size if size > UNIT_BYTES else 0)
        except (RateLimited, Overloaded):
            self._close(
                Breach.TOO_MANY, "The messages and requests in progress have too many bytes. Send fewer at a time."
            )

    def release(self) -> None:
        """Stop counting the WebSocket's memory, because the connection has ended."""
        if self._memory is not None:
            self._memory.set(0)
            self._memory = None

    def reject(self, status: StatusLike, text: str) -> Response:
        """Refuse the WebSocket handshake. The response gets ``X-Content-Type-Options: nosniff``."""
        response = super().reject(status, text)
        response.headers[NO_SNIFF[0]] = NO_SNIFF[1]
        return response

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame. Close the WebSocket if the frame exceeds a bound."""
        size = len(frame.data)
        if self._meter is None:
            self._frames += 1
            self._bytes += size
            if self._frames > SIGN_IN_FRAMES:
                self._close(
                    Breach.INVALID, f"The client sent more than {SIGN_IN_FRAMES} frames before connection_init."
                )
                return
            if self._bytes > SIGN_IN_BYTES:
                self._close(Breach.TOO_BIG, f"The client sent more than {SIGN_IN_BYTES} bytes before connection_init.")
                return
        elif not self._meter.take(1 + size // UNIT_BYTES):
            self._close(Breach.TOO_MANY, "The client sent too many messages. Send fewer messages per second.")
            return
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
        elif frame.opcode in _DATA:
            self._fragments = 1
        if self._fragments > MAX_FRAGMENTS:
            self._close(
                Breach.TOO_BIG, f"A message has more than {MAX_FRAGMENTS} frames. Send the message in fewer frames."
            )
            return
        super().recv_frame(frame)

    def _close(self, code: Breach, reason: str) -> None:
        self.fail(code, reason)
        self.parser_exc = _BoundExceeded(reason)
