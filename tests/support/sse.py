"""A strict reader of event streams, which knows only what HTML (9.2.6) defines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field


@dataclass
class ServerEvent:
    """One event. ``retry`` and ``id`` are ``None`` if no line of the event's block has set them."""

    name: str = "message"
    data: str = ""
    id: str | None = None
    retry: int | None = None
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Interpret a line of the event's block."""
        self.lines.append(line)
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self.data += value
        elif name == "event":
            self.name = value
        elif name == "id":
            self.id = value
        elif name == "retry":
            self.retry = int(value)
        else:
            assert name == "", line


async def server_sent(
    chunks: AsyncIterator[bytes], *, comments_alone: bool = False
) -> AsyncGenerator[ServerEvent, None]:
    """Yield the events of a body.

    A block without data must not exist, because some clients take it for an event. Only with ``comments_alone``, a
    block may have comments alone.
    """
    event, buffer = ServerEvent(), b""
    async for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line:
                event.add(line.decode())
            elif comments_alone and all(one.startswith(":") for one in event.lines):
                event = ServerEvent()
            else:
                assert any(one.startswith("data:") for one in event.lines), event
                yield event
                event = ServerEvent()
    assert buffer == b""


def parsed(text: str) -> list[ServerEvent]:
    """Return the events of a whole body."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        events.append(ServerEvent())
        for line in block.split("\n"):
            events[-1].add(line)
    return events
