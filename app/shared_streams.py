"""Shares the streams of this process with other replicas, if there is a Redis."""

import uuid
from contextlib import AsyncExitStack
from functools import partial

from app.settings import Settings
from clients.state.shared import SharedState
from clients.state.streams.backend import LogLimits
from clients.state.streams.store import StreamStore
from resolvers.owned import conversation_of_stream
from resolvers.resources import Resources
from resolvers.sources.resuming import resumed_source
from resolvers.sources.turn_rows import TURN_KINDS
from resolvers.streams.codec import EventCodec
from resolvers.streams.limits import OWNERS


def share_streams(resources: Resources, state: SharedState, settings: Settings, stack: AsyncExitStack) -> None:
    """Share the streams with other replicas, if there is a Redis. Closing ``stack`` ends the streams.

    Args:
        resources: the shared objects of this process, with the streams.
        state: the state that the replicas share.
        settings: the settings, with the limits on stored streams.
        stack: closes the streams before the store.
    """
    streams = resources.streams
    if state.connection is not None:
        from clients.state.streams.redis_backend import RedisLogs  # noqa: PLC0415 - redis-py is imported only if it is used

        owner_bytes = settings.stream_memory_bytes // OWNERS
        limits = LogLimits(retention=settings.stream_retention_seconds, owner_bytes=owner_bytes)
        store = StreamStore(RedisLogs(state.connection, str(uuid.uuid4()), limits), state.news)
        stack.push_async_callback(store.aclose)
        streams.share(store, EventCodec(TURN_KINDS, conversation_of_stream), partial(resumed_source, resources))
    stack.push_async_callback(streams.aclose)
