"""The names of the streams' keys in Redis. All keys of one owner's streams have the same tag."""

import hashlib
from functools import lru_cache

from clients.origin import Owner
from clients.state.names import HELD_STREAMS, STREAM, STREAM_KEY, STREAM_LOG, STREAM_READERS, STREAMS

_KEPT = 4096
"""The number of streams and owners whose keys a process stores. The keys of a stream take about 1 KB."""


@lru_cache(_KEPT)
def tag_of(owner: Owner) -> str:
    """Return the tag of an owner's keys."""
    return hashlib.blake2b(f"{owner.origin}:{owner.id}".encode(), digest_size=12).hexdigest()


@lru_cache(_KEPT)
def stream_keys(owner: Owner, stream_id: str) -> tuple[str, str]:
    """Return the keys of a stream's record and log."""
    tag = tag_of(owner)
    return STREAM.key(tag, stream_id), STREAM_LOG.key(tag, stream_id)


def prefixes(owner: Owner) -> tuple[str, str]:
    """Return what the keys of an owner's records and logs begin with."""
    tag = tag_of(owner)
    return STREAM.key(tag, ""), STREAM_LOG.key(tag, "")


def readers_key(owner: Owner, stream_id: str) -> str:
    """Return the key of the set of replicas with readers."""
    return STREAM_READERS.key(tag_of(owner), stream_id)


def index_key(owner: Owner) -> str:
    """Return the key of an owner's index."""
    return STREAMS.key(tag_of(owner))


def key_key(owner: Owner, key: str) -> str:
    """Return the key for a stream key or idempotency key, which clients choose."""
    return STREAM_KEY.key(tag_of(owner), hashlib.blake2b(key.encode(), digest_size=16).hexdigest())


def held_key(replica: str) -> str:
    """Return the key of the set of a replica's streams."""
    return HELD_STREAMS.key("all", replica)
