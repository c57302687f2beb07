"""News between replicas. A message reaches every replica that is connected at the time, and may be lost.

A subscriber therefore also reads the state again after each connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscription to a topic.

    Attributes:
        hear: receives each message.
        connected: called after each connection, when messages may have been lost.
    """

    hear: Callable[[bytes], None]
    connected: Callable[[], None]


class News(Protocol):
    """Sends messages to all replicas, including this one."""

    def publish(self, topic: str, message: bytes) -> None:
        """Send a message. A message is lost if Redis is not available."""

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Receive the messages of a topic. ``subscriber.connected`` is called when messages arrive from now on."""


class MemoryNews:
    """News within one process."""

    def __init__(self) -> None:
        self._subscribers: dict[str, list[Subscriber]] = {}

    def publish(self, topic: str, message: bytes) -> None:
        """Send a message to the topic's subscribers in this process."""
        for subscriber in self._subscribers.get(topic, ()):
            asyncio.get_running_loop().call_soon(subscriber.hear, message)

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Receive the messages of a topic."""
        self._subscribers.setdefault(topic, []).append(subscriber)
        subscriber.connected()
