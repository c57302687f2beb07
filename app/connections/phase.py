"""The phases of a connection."""

from enum import Enum, auto


class Phase(Enum):
    """The part of a request to which the client's next bytes belong."""

    HEAD = auto()
    BODY = auto()
    CHUNKS = auto()
    ANSWER = auto()
    """The client has sent the whole request, and the response is not complete. Further bytes stay unparsed."""
