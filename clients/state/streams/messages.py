"""The messages about streams that replicas send to each other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import msgspec

from clients.state.news import News, Subscriber
from clients.state.streams.listeners import TurnNews

TOPIC = "streams"


class Attended(msgspec.Struct, frozen=True, tag=True):
    """For the stream's holder: the set of replicas with readers has changed."""

    stream_id: str
    may_return: bool


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """For the stream's holder: a client has cancelled the stream."""

    stream_id: str


class Released(msgspec.Struct, frozen=True, tag=True):
    """For all replicas: a draining replica has released streams."""

    replica: str


class Turned(msgspec.Struct, frozen=True, tag=True):
    """For all replicas: a replica has opened a stream of a conversation."""

    replica: str
    turn: TurnNews


Message: TypeAlias = Attended | Cancelled | Released | Turned

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class LogNews:
    """Sends and receives the replicas' messages about streams. Messages can be lost."""

    def __init__(self, news: News, replica: str) -> None:
        self._news = news
        self._replica = replica

    def tell(self, replica: str, message: Message) -> None:
        """Send a message to one replica."""
        self._news.publish(f"{TOPIC}-{replica}", _ENCODER.encode(message))

    def tell_all(self, message: Message) -> None:
        """Send a message to all replicas, including this one."""
        self._news.publish(TOPIC, _ENCODER.encode(message))

    def subscribe(self, hear: Callable[[Message], None], connected: Callable[[], None]) -> None:
        """Receive messages. ``connected`` is called after each connection, when messages may have been lost."""

        def received(message: bytes) -> None:
            with suppress(msgspec.MsgspecError):  # a replica with another version of the gateway
                hear(_DECODER.decode(message))

        self._news.subscribe(f"{TOPIC}-{self._replica}", Subscriber(received, connected))
        self._news.subscribe(TOPIC, Subscriber(received, lambda: None))
