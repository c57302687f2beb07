"""One connection to Redis, through redis-py and hiredis."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, RedisError, ResponseError

from clients.state.errors import StateCause, StateUnavailable

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = tuple[Argument, ...]
Reply: TypeAlias = Any
"""A reply as hiredis decodes the reply: bytes, int, list or ``None``."""

CONNECT_SECONDS = 1.0
"""The timeout for connecting and signing in, in seconds."""

_TICKS = 5
"""The number of parts of a timeout."""

_CAUSES = {
    "OOM": StateCause.FULL,
    "READONLY": StateCause.READ_ONLY,
    "LOADING": StateCause.LOADING,
    "BUSY": StateCause.LOADING,
    "MASTERDOWN": StateCause.READ_ONLY,
    "NOREPLICAS": StateCause.READ_ONLY,
    "MISCONF": StateCause.READ_ONLY,
}


class ErrorReply(Exception):
    """Redis answered a command with an error. ``word`` is the error's first word, such as ``NOSCRIPT``."""

    def __init__(self, error: ResponseError) -> None:
        super().__init__(str(error))
        name = type(error).__name__
        self.word = _WORDS.get(name) or str(error).partition(" ")[0]

    def unavailable(self) -> StateUnavailable:
        """Return the error for callers of the shared state."""
        return StateUnavailable(_CAUSES.get(self.word, StateCause.REFUSED), str(self))


_WORDS = {
    "NoScriptError": "NOSCRIPT",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "MasterDownError": "MASTERDOWN",
}
"""redis-py removes the first word from the messages of these errors."""


def link_pool(url: str, password: str | None) -> ConnectionPool:
    """Return a factory of connections. Raises RedisError, TypeError or ValueError if redis-py refuses the URL."""
    pool = ConnectionPool.from_url(
        url, password=password, socket_connect_timeout=CONNECT_SECONDS, retry=Retry(NoBackoff(), 0), driver_info=None
    )
    pool.connection_kwargs |= {"protocol": 2, "socket_timeout": None}  # options in the URL would change the replies
    return pool


def is_usable(url: str) -> bool:
    """Return whether redis-py accepts a URL. The function opens no connection."""
    try:
        link_pool(url, None).make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, TypeError, ValueError):
        return False
    return True


def pack(command: Command) -> bytes:
    """Encode a command for the wire."""
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]


class _Patience:
    """Ends a timeout after several ticks of the event loop's clock.

    If the event loop was late, the reply may have arrived without being read. Between two ticks, the loop reads it.
    """

    __slots__ = ("_handle", "_limit", "_loop", "_seconds", "_ticks")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds / _TICKS
        self._ticks = _TICKS
        self._limit: asyncio.Timeout | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, limit: asyncio.Timeout) -> None:
        """Begin to count."""
        self._limit = limit
        self._handle = self._loop.call_later(self._seconds, self._tick)

    def stop(self) -> None:
        """Stop counting."""
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        self._ticks -= 1
        if self._ticks:
            self._handle = self._loop.call_later(self._seconds, self._tick)
        elif self._limit is not None:
            self._limit.reschedule(self._loop.time())


class Link:
    """One connection to Redis. Only one task uses the connection at a time.

    If ``exchange`` or ``read`` raises, the connection is closed. No later command can receive an earlier reply.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return bool(self._connection.is_connected)

    async def connect(self, seconds: float = CONNECT_SECONDS) -> None:
        """Connect and sign in, within ``seconds``. Raises StateUnavailable."""
        try:
            async with asyncio.timeout(seconds):
                await self._connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError as error:
            await self.close()
            raise StateUnavailable(StateCause.TIMEOUT, "Redis did not accept the connection in time.") from error
        except Exception as error:  # redis-py raises errors of many classes for malformed replies
            await self.close()
            raise _failure(error) from error
        except BaseException:  # a cancellation leaves the sign-in incomplete
            await self.close()
            raise

    async def is_stale(self) -> bool:
        """Return whether Redis has closed the connection, or has sent data without a command."""
        try:
            return not self.is_open or bool(await self._connection.can_read())
        except (RedisError, OSError):
            return True

    async def exchange(self, packed: Sequence[bytes], seconds: float) -> list[Reply | ErrorReply]:
        """Send encoded commands, and read a reply for each command. Raises StateUnavailable."""
        patience = _Patience(seconds)
        try:
            async with asyncio.timeout(None) as limit:
                patience.start(limit)
                await self.send(packed)
                return [await self._read() for _ in packed]
        except TimeoutError as error:
            await self.close()
            raise StateUnavailable(StateCause.TIMEOUT, f"Redis did not answer within {seconds:.2g} seconds.") from error
        except BaseException:  # a cancellation leaves replies on the wire
            await self.close()
            raise
        finally:
            patience.stop()

    async def send(self, packed: Sequence[bytes]) -> None:
        """Send encoded commands. Raises StateUnavailable."""
        try:
            await self._connection.send_packed_command(packed, check_health=False)
        except (RedisError, OSError) as error:
            raise StateUnavailable(StateCause.CONNECTION, str(error)) from error

    async def read(self) -> Reply | ErrorReply:
        """Wait for a reply or a message, without a timeout. Raises StateUnavailable."""
        try:
            return await self._read()
        except BaseException:  # a cancellation can leave a part of a reply on the connection
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect(nowait=True)

    async def _read(self) -> Reply | ErrorReply:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return ErrorReply(error)
        except Exception as error:  # redis-py raises errors of many classes for malformed replies
            raise _failure(error) from error


def _failure(error: Exception) -> StateUnavailable:
    """Return the error for a connection that cannot be used.

    If the server is not Redis, redis-py can raise any exception, for example ValueError.
    """
    cause = StateCause.CONNECTION
    if isinstance(error, BusyLoadingError):
        cause = StateCause.LOADING
    elif isinstance(error, AuthenticationError | NoPermissionError):
        cause = StateCause.REFUSED
    return StateUnavailable(cause, str(error))
