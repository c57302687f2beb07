"""The reports about streams that a replica receives from other replicas and from the store."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from clients.origin import Owner
from clients.state.streams.records import Page, StreamRecord


class TurnNews(msgspec.Struct, frozen=True):
    """Another replica has opened a stream of a conversation."""

    owner: Owner
    conversation: str
    stream_id: str


class StreamListener(Protocol):
    """Receives what other replicas report. The methods return at once, and raise nothing."""

    def turn_opened(self, news: TurnNews) -> None:
        """Another replica has opened a stream of a conversation. News can be lost, see ``available``."""

    def cancel_requested(self, stream_id: str) -> None:
        """A client of another replica has cancelled a stream of this replica. The same stream can be named twice."""

    def readers_changed(self, stream_id: str, replicas: int, *, may_return: bool) -> None:
        """A stream of this replica is read by a different number of other living replicas.

        Args:
            stream_id: the stream's id.
            replicas: the number of other living replicas with readers.
            may_return: whether the last reader was detached by its replica, so that the reader may return.
        """

    def fenced(self, stream_id: str) -> None:
        """A stream of this replica was taken over by another replica. The same stream can be named twice."""

    def orphaned(self, records: Sequence[StreamRecord]) -> None:
        """Running streams have no living holder. Call ``take_over`` for those that this replica can continue.

        Streams that no replica takes over are reported again after a second. All replicas get the same records, in
        different orders. A record can also name a stream of this replica that has no lease, because the answer to
        ``open`` was lost: call ``restore`` for such a stream.
        """

    def missing(self, stream_id: str) -> None:
        """The store has lost a stream of this replica. Call ``restore``, and append from the length that it returns."""

    def broke(self, error: Exception) -> None:
        """Report an internal error. The store continues."""

    def available(self) -> None:
        """The store can be used again, or news may have been lost. Call ``restore`` for streams without a lease."""


class Mirror(Protocol):
    """Receives the entries of a stream that another replica holds. The methods return at once, and raise nothing."""

    def entries_came(self, page: Page) -> None:
        """The stream's next entries have arrived. Pages have no gap and no overlap; the last page has ``outcome``."""

    def entries_lost(self) -> None:
        """The stream's next entries no longer exist, because the stream was evicted or lost. This call is the last."""
