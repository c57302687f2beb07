"""Arguments that several fields have, each described once."""

from __future__ import annotations

from typing import Annotated

from strawberry import ID, argument

First = Annotated[
    int | None, argument(description="How many, from the front or from `after` on: 0 to 100, 20 by default.")
]
After = Annotated[str | None, argument(description="The cursor of an edge: the page begins behind it.")]
Last = Annotated[
    int | None, argument(description="How many, from the end or from `before` back: 0 to 100, 20 by default.")
]
Before = Annotated[str | None, argument(description="The cursor of an edge: the page ends in front of it.")]
EventCursor = Annotated[
    str | None,
    argument(description="The cursor of the last event that you have: what follows it comes. From the start without."),
]
FollowCursor = Annotated[
    str | None,
    argument(
        description="The cursor of the last event that you have: what follows it comes. Without it, the turn that is "
        "active comes from its start."
    ),
]
StreamKey = Annotated[
    ID,
    argument(
        description="1 to 200 characters of your choice, such as a UUID: a new key starts, the same one attaches."
    ),
]
