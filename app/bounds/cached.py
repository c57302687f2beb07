"""Describes the bounds on cached records."""

from app.bounds.bound import Bound, size
from clients.state.cache import MAX_OWNERS
from clients.state.redis_cache import MAX_RECORD_BYTES, MAX_UNSENT, MAX_USER_BYTES
from resolvers.cache.entries import OWNERS
from resolvers.cache.policy import MAX_REFRESHES
from resolvers.cache.stale import MAX_LISTED

CACHE = (
    Bound(
        "cache-memory",
        "the memory of the records that a process has cached",
        "the gateway evicts the oldest records",
        "{} bytes",
        setting="cache_memory_bytes",
    ),
    Bound(
        "cache-memory-user",
        "the memory of one user's records that a process has cached",
        "the gateway evicts the user's oldest records; a larger record is not cached",
        f"1/{OWNERS} of `CACHE_MEMORY_BYTES`",
    ),
    Bound(
        "cache-redis-user",
        "one user's records in Redis",
        "all of the user's records in Redis are evicted",
        size(MAX_USER_BYTES),
    ),
    Bound(
        "cache-redis-record",
        "a record in Redis",
        "the record is cached only in the process's memory",
        size(MAX_RECORD_BYTES),
    ),
    Bound(
        "cache-versions",
        "users whose versions a process stores without Redis",
        "the user's records are read again",
        f"{MAX_OWNERS:,}",
    ),
    Bound(
        "cache-unsent",
        "users whose changes wait until Redis is available again",
        "the oldest change is not repeated, so other replicas use their records until they are no longer fresh",
        f"{MAX_UNSENT:,}",
    ),
    Bound(
        "cache-refreshes",
        "records that a process reads again in the background at a time",
        "the record is read again after a later request",
        str(MAX_REFRESHES),
    ),
    Bound(
        "stale-fields",
        "the fields that `extensions.stale` lists",
        "one item with an empty `path` stands for the whole answer",
        str(MAX_LISTED),
    ),
)
