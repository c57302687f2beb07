"""Encodes several results in one response body.

An event stream can be resumed (HTML, 9.2): each event has its cursor as ``id``, which clients send back as
``Last-Event-ID``. ``retry`` tells clients when to reconnect (decision 0059).
"""

from __future__ import annotations

import random
from typing import Protocol

import orjson

from app.graphql.media import EVENT_STREAM, MULTIPART
from app.graphql.results import Refused, Result

RECONNECT_MILLISECONDS = (1000, 3000)
"""A client reconnects after a random number of milliseconds in this range, so that few clients reconnect together."""

GIVE_UP_MILLISECONDS = 24 * 60 * 60 * 1000
"""After a refusal that no retry can change, ``EventSource`` reconnects after this number of milliseconds.

``EventSource`` always reconnects after a response with status 200. At a different status, the client cannot read the
error.
"""


class Framing(Protocol):
    """A format for several results in one response body."""

    content_type: str
    heartbeat: bytes

    def begin(self, *, subscribes: bool) -> bytes:
        """Return the bytes before the first result. ``subscribes`` is whether the results are a subscription's."""

    def result(self, result: Result) -> bytes:
        """Encode one result."""

    def end(self, reason: str | None = None, *, completes: bool = True) -> bytes:
        """Return the bytes at the end of a response body.

        Args:
            reason: why the gateway ended the operation. Some formats include the reason.
            completes: whether the client must not continue the operation by itself.
        """


class ServerSentEvents:
    """Encodes results in the distinct connections mode of GraphQL over Server-Sent Events.

    Lines end with LF, which every client accepts. Only events have a blank line, because httpx-sse and openai-python
    take a blank line after an ``id`` for an event.
    """

    content_type = f"{EVENT_STREAM}; charset=utf-8"
    heartbeat = b":\n"

    def begin(self, *, subscribes: bool) -> bytes:
        """Return the line that tells a subscription's client when to reconnect."""
        return _retry(random.randint(*RECONNECT_MILLISECONDS)) if subscribes else b""  # noqa: S311 - not a secret

    def result(self, result: Result) -> bytes:
        """Encode a result as a ``next`` event."""
        if isinstance(result, Refused):
            fields = _retry(_milliseconds(result))
        else:
            fields = self.begin(subscribes=result.is_detached)
            if result.cursor is not None:
                fields += b"id: %s\n" % result.cursor.encode()
        return fields + b"event: next\ndata: " + orjson.dumps(result.body()) + b"\n\n"

    def end(self, reason: str | None = None, *, completes: bool = True) -> bytes:
        """Encode a ``complete`` event. If ``reason`` is not ``None``, a comment before the event contains it."""
        comment = b"" if reason is None else f": {reason}\n".encode()
        return comment + b"event: complete\ndata:\n\n" if completes else comment


class MultipartSubscription:
    """Encodes results in version 1.0 of Apollo's multipart protocol for subscriptions over HTTP.

    Each part is sent with its closing boundary, because clients wait for the boundary.
    """

    content_type = f'{MULTIPART}; boundary="graphql"; subscriptionSpec="1.0"'
    heartbeat = b"\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql"

    def begin(self, *, subscribes: bool) -> bytes:  # noqa: ARG002 - clients of this format do not reconnect
        """Return the first boundary."""
        return b"\r\n--graphql"

    def result(self, result: Result) -> bytes:
        """Encode a result as one part of the multipart body."""
        body = orjson.dumps({"payload": result.body()})
        return b"\r\nContent-Type: application/json\r\n\r\n" + body + b"\r\n--graphql"

    def end(self, reason: str | None = None, *, completes: bool = True) -> bytes:  # noqa: ARG002 - never included
        """Return the bytes that close the multipart body."""
        return b"--\r\n"


FRAMINGS: dict[str, Framing] = {EVENT_STREAM: ServerSentEvents(), MULTIPART: MultipartSubscription()}
"""The formats for several results in one body, by media type."""


def _retry(milliseconds: int) -> bytes:
    return b"retry: %d\n" % milliseconds


def _milliseconds(refused: Refused) -> int:
    """Return when a client may repeat a refused request."""
    if not any(error["extensions"]["retryable"] for error in refused.errors):
        return GIVE_UP_MILLISECONDS
    shortest, longest = RECONNECT_MILLISECONDS
    delay = int(1000 * (refused.retry_after_seconds or 0))
    return max(delay, shortest) + random.randint(0, longest - shortest)  # noqa: S311 - not a secret
