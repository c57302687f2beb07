"""The names of all keys and channels in Redis. ``docs/state.md`` lists the keys.

A key's name is ``agentgraph:1:KIND:{TAG}…``. Redis Cluster stores the keys with one tag on one node, so that a script
can use these keys together. ``1`` is the version of the stored values.
"""

from dataclasses import dataclass
from urllib.parse import quote

PREFIX = "agentgraph:1:"

KINDS: list["KeyKind"] = []
"""All kinds of keys, in the order of ``docs/state.md``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyKind:
    """A kind of keys in Redis.

    Attributes:
        name: the kind's name in each key.
        type: the type of the Redis value.
        tag: what the tag in braces is.
        rest: the pattern after the tag.
        holds: what a value holds.
        size: how large a value can be.
        life: when a key expires, as a sentence.
        milliseconds: the time to live in milliseconds, if the time is constant.
    """

    name: str
    type: str
    tag: str
    rest: str = ""
    holds: str
    size: str
    life: str
    milliseconds: int = 0

    def __post_init__(self) -> None:
        KINDS.append(self)

    def key(self, tag: str, *rest: str) -> str:
        """Return the key for a tag, such as a user's id. Characters with a meaning in keys are escaped."""
        text = f"{PREFIX}{self.name}:{{{_safe(tag)}}}"
        return ":".join([text, *map(_safe, rest)]) if rest else text

    @property
    def pattern(self) -> str:
        """The keys' pattern in the documentation."""
        return f"{PREFIX}{self.name}:{{{self.tag}}}{self.rest}"


def channel(database: int, topic: str) -> str:
    """Return the name of a channel for news between replicas that use one database."""
    return f"{PREFIX}news:{database}:{topic}"


def _safe(text: str) -> str:
    return text if text.isascii() and text.isalnum() else quote(text, safe="-_.~@")


PROBE = KeyKind(
    name="probe",
    type="string",
    tag="random id of a process",
    holds="`1`; shows that Redis accepts writes",
    size="1 byte",
    life="10 seconds after each check",
    milliseconds=10_000,
)

CACHE_TAGS = KeyKind(
    name="cache-tags",
    type="hash",
    tag="user id",
    holds="the versions of the user's cache tags",
    size="at most 250 bytes",
    life="1 to 2 hours after the user's last operation",
    milliseconds=7_200_000,
)
CACHE_RECORDS = KeyKind(
    name="cache",
    type="hash",
    tag="user id",
    holds="the user's [cached records](cache.md), without the virtual key",
    size="at most 4 MiB",
    life="10 minutes after the last record",
    milliseconds=600_000,
)
CACHE_CLAIM = KeyKind(
    name="cache-claim",
    type="string",
    tag="user id",
    rest=":<digest of the record's name>",
    holds="the name of a call that reads a record for all replicas",
    size="32 bytes",
    life="5 seconds, or until the call has ended",
    milliseconds=5_000,
)

COUNTERS = KeyKind(
    name="limits",
    type="hash",
    tag="user id",
    holds="for each rate limit: the number of the minute, and what counts in this minute and in the minute before",
    size="at most 4 fields of 60 bytes",
    life="at most 2 minutes after the last request that counted",
)

REVOKED = KeyKind(
    name="revoked",
    type="sorted set",
    tag="sessions",
    holds="the ids of revoked sign-in sessions, by the time when their last token has expired",
    size="at most 100,000 ids of 36 bytes",
    life="8 days after the last revocation",
)

OPEN_BREAKERS = KeyKind(
    name="breakers",
    type="sorted set",
    tag="service",
    holds="a service's open breakers (part and user id), by the time when the breaker admits a trial call",
    size="at most 1,000 breakers of about 150 bytes",
    life="30 seconds after the last breaker admits a trial call",
)

BREAKER_TRIAL = KeyKind(
    name="breaker-trial",
    type="string",
    tag="service",
    rest=":<part>:<user id>",
    holds="the replica that makes the trial call of a half-open breaker",
    size="about 50 bytes",
    life="5 seconds after the beginning of the trial call, or at its end",
    milliseconds=5_000,
)

KEYS = KeyKind(
    name="key",
    type="hash",
    tag="user id",
    rest=":<SHA-256 of the mutation and the idempotency key>",
    holds="whether the mutation is in flight, done or unknown; the fingerprint of its input; its answer",
    size="at most 4 MiB; larger answers are not stored",
    life="`STREAM_RETENTION_SECONDS` after the mutation",
)

KEY_ANSWERS = KeyKind(
    name="answers",
    type="sorted set and hash",
    tag="user id",
    rest=":sizes, …:bytes",
    holds="the sizes of the user's stored answers, and their sum; at most 16 MiB of answers are stored",
    size="100 bytes for each answer",
    life="`STREAM_RETENTION_SECONDS` after the newest answer",
)

_STREAM_TAG = "digest of a user"
_RUNNING = "15 minutes, or twice `STREAM_RETENTION_SECONDS` if this is longer,"
_STREAM_RUNS = f"{_RUNNING} after the holder's last renewal. After the stream's end: "
_STREAM_ENDED = "`STREAM_RETENTION_SECONDS`, or 10 seconds if the stream is not retained"

STREAM = KeyKind(
    name="stream",
    type="hash",
    tag=_STREAM_TAG,
    rest=":<stream id>",
    holds="a stream's request, holder, fencing token, state and outcome",
    size="about 1 KiB, and what another replica needs to continue the stream",
    life=_STREAM_RUNS + _STREAM_ENDED,
)
STREAM_LOG = KeyKind(
    name="stream-log",
    type="stream",
    tag=_STREAM_TAG,
    rest=":<stream id>",
    holds="a stream's events; an entry's id begins with the event's cursor",
    size="at most 16 MiB of events (`docs/limits.md`); a user's streams together at most 1/8 of `STREAM_MEMORY_BYTES`",
    life=_STREAM_RUNS + _STREAM_ENDED,
)
STREAM_READERS = KeyKind(
    name="stream-readers",
    type="set",
    tag=_STREAM_TAG,
    rest=":<stream id>",
    holds="the replicas with readers of a stream that another replica holds",
    size="36 bytes for each replica",
    life="as the stream",
)
STREAM_KEY = KeyKind(
    name="stream-key",
    type="string",
    tag=_STREAM_TAG,
    rest=":<digest of the key>",
    holds="the id of the stream with a stream key or idempotency key",
    size="45 bytes",
    life="as the stream",
)
STREAMS = KeyKind(
    name="streams",
    type="sorted set",
    tag=_STREAM_TAG,
    holds="the ids of a user's streams",
    size="at most 500 ids",
    life=f"{_RUNNING} after the user's last new or renewed stream",
)
REPLICAS = KeyKind(
    name="replicas",
    type="sorted set",
    tag="all",
    holds="the ids of replicas; the score is the time when the replica's heartbeat expires",
    size="60 bytes for each replica",
    life=f"{_RUNNING} after the last heartbeat",
)
STREAM_LOSS = KeyKind(
    name="stream-loss",
    type="string",
    tag="all",
    holds="`1`; shows that Redis has lost its data, so that keys can be missing",
    size="1 byte",
    life="`STREAM_RETENTION_SECONDS` after a replica has noticed the loss",
)
HELD_STREAMS = KeyKind(
    name="held-streams",
    type="set",
    tag="all",
    rest=":<replica id>",
    holds="the running streams that a replica holds; without a replica id: the streams that drains have released",
    size="about 100 bytes for each stream",
    life=f"{_RUNNING} after the replica's last heartbeat",
)
STREAM_WAKE = KeyKind(
    name="stream-wake",
    type="stream",
    tag="all",
    rest=":<replica id>",
    holds="ends the replica's blocking read, so that the replica can read another stream too",
    size="one entry",
    life="60 seconds after the last use",
    milliseconds=60_000,
)
