"""Arguments that several fields share."""

from __future__ import annotations

from typing import Annotated

from strawberry import ID, argument

First = Annotated[
    int | None,
    argument(description="Returns the first n nodes, counted from `after` or from the start. 0 to 100, 20 by default."),
]
After = Annotated[str | None, argument(description="Returns nodes after this edge cursor.")]
Last = Annotated[
    int | None,
    argument(
        description="Returns the last n nodes, counted back from `before` or from the end. 0 to 100, 20 by default."
    ),
]
Before = Annotated[str | None, argument(description="Returns nodes before this edge cursor.")]
EventCursor = Annotated[
    str | None,
    argument(
        description="The cursor of the last event that the client has. The events after it are sent; without it, all."
    ),
]
FollowCursor = Annotated[
    str | None,
    argument(
        description="The cursor of the last event that the client has. The events after it are sent; without it, "
        "those of the turn in progress, if there is one, and of later turns."
    ),
]
StreamKey = Annotated[
    ID,
    argument(
        description="A client-chosen key of 1 to 200 characters, such as a UUID. A new key starts a stream; a key that "
        "was used before attaches to its stream."
    ),
]
