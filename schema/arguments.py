"""GraphQL arguments that several fields share."""

from typing import Annotated

from strawberry import ID, argument

First = Annotated[
    int | None,
    argument(
        description="How many nodes to return, counted from the cursor `after` or from the start: 0 to 100. Default: "
        "20."
    ),
]
After = Annotated[str | None, argument(description="The cursor of an edge. Only nodes after this edge are returned.")]
Last = Annotated[
    int | None,
    argument(
        description="How many nodes to return, counted back from the cursor `before` or from the end: 0 to 100. "
        "Default: 20."
    ),
]
Before = Annotated[str | None, argument(description="The cursor of an edge. Only nodes before this edge are returned.")]
_LAST = "The cursor of the last event that the client received. Only later events are sent."
EventCursor = Annotated[
    str | None,
    argument(description=f"{_LAST} Without a cursor, all events are sent."),
]
FollowCursor = Annotated[
    str | None,
    argument(description=f"{_LAST} Without a cursor, events of the current turn (if any) and of later turns are sent."),
]
StreamKey = Annotated[
    ID,
    argument(
        description="A key that the client chooses: 1 to 200 characters, such as a UUID. The first "
        "subscription with a key starts a stream, and later subscriptions with the same key read this stream."
    ),
]
