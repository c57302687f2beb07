"""Calls services for records, once for equal reads in the process and across replicas."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from clients.codes import Reason
from clients.errors import GatewayError, QueryTooComplex, UpstreamTimeout
from clients.failures import of_wire
from clients.state.cache import CacheStore, Claim, Place
from clients.stored import Stored, Unreadable
from resolvers.cache.entries import Entries, Entry
from resolvers.cache.flights import Flights
from resolvers.cache.reads import Load, Loaded, Outcome, Read, Source, Wanted

V = TypeVar("V")

CLAIM_POLL_SECONDS = (0.005, 0.1)
"""The shortest and the longest interval at which a replica looks for another replica's record."""

CLAIM_SECONDS = 5.0
"""How long a replica waits for another replica's call, in seconds."""


class Calls:
    """Calls services, and stores the records in the process's memory and in the store.

    The versions of the user's tags are part of a call's key. So a reader never joins a call from before a mutation that
    has answered.
    """

    def __init__(self, store: CacheStore, entries: Entries, clock: Callable[[], float]) -> None:
        self._store = store
        self._entries = entries
        self._clock = clock
        self._flights = Flights()
        self._writes: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Wait for the writes, so that no other replica waits for a record of this one."""
        while self._writes:
            await asyncio.wait(self._writes)

    def write(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Write to the store in the background."""
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    def is_loading(self, place: Place) -> bool:
        """Return whether a record is being read from its service."""
        return (place, "load") in self._flights

    async def fetched(self, wanted: Wanted[V]) -> Entry | None:
        """Return a record from the store. The process's memory gets a copy."""

        async def fetch() -> Entry | None:
            record = await self._store.get(wanted.place)
            return None if record is None else self._kept(wanted, record.value, self._clock() - record.age)

        return await self._flights.join((wanted.place, "get"), fetch)

    async def loaded(self, wanted: Wanted[V], load: Load[V]) -> tuple[Loaded[V], Outcome]:
        """Call the service, or join an equal call. A call's error is also the error of the readers that have joined.

        A reader that has joined waits at most until its own deadline. If the call failed because the caller's operation
        ended, such a reader makes the next call.
        """
        flight, work = (wanted.place, "load"), partial(self._load, wanted, load)
        while flight in self._flights:
            try:
                async with asyncio.timeout_at(wanted.source.deadline):
                    return await self._flights.join(flight, work), Outcome.JOINED
            except TimeoutError as error:
                raise of_wire(wanted.kind.service, error) from error
            except GatewayError as error:
                if not _is_of_one_operation(error):
                    raise
        return await self._flights.join(flight, work), Outcome.LOADED

    def decoded(self, place: Place, entry: Entry, stored: Stored[V]) -> Read[V] | None:
        """Return an entry's record. If the record is unreadable, remove the entry."""
        try:
            return Read(self._entries.decoded(place.owner, place.name, entry, stored), entry.began)
        except Unreadable:
            self._entries.remove(place.owner, place.name)
            return None

    def _kept(self, wanted: Wanted[V], value: bytes, began: float) -> Entry:
        """Store an encoded record in the process's memory."""
        place = wanted.place
        entry = Entry(place.version, value, began, began + wanted.kind.longest)
        self._entries.put(place.owner, place.name, entry)
        return entry

    async def _load(self, wanted: Wanted[V], load: Load[V]) -> Loaded[V]:
        """Call the service, as the only replica, and store the record."""
        place, token = wanted.place, uuid.uuid4().hex
        try:
            if wanted.is_shared and (other := await self._others(wanted, token)) is not None:
                return Loaded(other.value, other.began)
            loaded = await load()
        except BaseException:  # a cancellation also ends the claim
            if wanted.is_shared:
                self.write(self._store.release(place, token))
            raise
        value = _encoded(wanted.source, loaded.value)
        if value is not None:
            entry = self._kept(wanted, value, loaded.began)
            self._entries.keep(place.owner, place.name, entry, wanted.source.stored, loaded.value)
        if wanted.is_shared and value is not None:
            self.write(self._store.put(place, value, self._clock() - loaded.began, token))
        elif wanted.is_shared:
            self.write(self._store.release(place, token))
        return loaded

    async def _others(self, wanted: Wanted[V], token: str) -> Read[V] | None:
        """Wait for another replica's record. Return ``None`` if this replica must call the service."""
        place, end = wanted.place, self._clock() + CLAIM_SECONDS
        pause, longest = CLAIM_POLL_SECONDS
        while True:
            claim = await self._claimed(place, token)
            if claim.found is not None and claim.found.age < wanted.fresh:
                entry = self._kept(wanted, claim.found.value, self._clock() - claim.found.age)
                if (found := self.decoded(place, entry, wanted.source.stored)) is not None:
                    if claim.is_granted:
                        self.write(self._store.release(place, token))
                    return found
            if claim.is_granted or self._clock() > end:
                return None
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(1.6 * pause, longest)

    async def _claimed(self, place: Place, token: str) -> Claim:
        """Claim a record. If the caller is cancelled, end the claim after the store has granted the claim."""
        claiming = asyncio.ensure_future(self._store.claim(place, token))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self.write(self._unclaimed(place, token, claiming))
            raise

    async def _unclaimed(self, place: Place, token: str, claiming: Awaitable[Claim]) -> None:
        if (await claiming).is_granted:
            await self._store.release(place, token)


def _encoded(source: Source[V], value: V) -> bytes | None:
    """Encode a record. Return ``None`` if the record cannot be cached."""
    if not source.keeps(value):
        return None
    try:
        return source.stored.encoded(value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return None


def _is_of_one_operation(error: GatewayError) -> bool:
    """Return whether a call failed because its operation's deadline or budget of calls ended."""
    late = isinstance(error, UpstreamTimeout) and error.reason is Reason.DEADLINE
    return late or isinstance(error, QueryTooComplex)
