"""Slots of requests, streams and request bodies: their owners, and their release."""

from __future__ import annotations

import pytest

from app.identity import address_of
from app.shedding import Shedder
from app.slots import BODIES, Slots
from clients.errors import Overloaded, RateLimited
from clients.origin import Origin, Owner


def made(requests: int = 16, streams: int = 8) -> Slots:
    return Slots(requests, streams, Shedder(requests), largest_body=LARGEST)


def taken(slots: Slots) -> tuple[int, int, int]:
    """Return the taken slots of users: of requests, of requests in flight, and of streams."""
    pool = slots.pools[Origin.USER]
    return pool.requests.taken, slots.shedder.in_flight, pool.streams.taken


@pytest.mark.parametrize("streams", [False, True])
async def test_a_request_or_its_stream_holds_one_slot_until_its_end(streams: bool) -> None:
    slots = made()
    slot = slots.take(Owner("ada"))
    await slot.enter()
    assert taken(slots) == (1, 1, 0)
    if streams:
        slot.lengthen()
        slot.lengthen()
        assert taken(slots) == (0, 0, 1)
    slot.leave()
    slot.leave()
    assert taken(slots) == (0, 0, 0)
    slot.lengthen()  # the request has ended
    assert taken(slots) == (0, 0, 0)


async def test_a_request_keeps_its_slot_if_there_is_none_for_its_stream() -> None:
    slots = made(streams=4)
    first, second = (slots.take(Owner("ada")) for _ in range(2))
    first.lengthen()
    with pytest.raises(RateLimited) as refused:
        second.lengthen()
    assert refused.value.reason == "STREAMS"
    assert taken(slots) == (1, 0, 1)
    second.leave()
    assert taken(slots) == (0, 0, 1)


@pytest.mark.bound("all-streams")
def test_streams_past_the_bound_are_refused() -> None:
    slots = made(streams=8)
    for owner in "abcd":
        for _ in range(2):
            slots.take(Owner(owner)).lengthen()
    with pytest.raises(Overloaded) as refused:
        slots.take(Owner("e")).lengthen()
    assert refused.value.reason == "STREAMS"
    for _ in range(2):
        slots.take(Owner("a", Origin.LETTA)).lengthen()  # requests of Letta have their own slots
    with pytest.raises(RateLimited):
        slots.take(Owner("a", Origin.LETTA)).lengthen()


async def test_requests_of_letta_are_not_queued() -> None:
    slots = made(requests=4)
    for owner in "abcd":
        slot = slots.take(Owner(owner))
        await slot.enter()
    for owner in "abcd":
        await slots.take(Owner(owner, Origin.LETTA)).enter()
    assert slots.shedder.in_flight == 4


LARGEST = 1000
EACH = BODIES * LARGEST


@pytest.mark.bound("bodies")
@pytest.mark.parametrize("origin", [Origin.USER, Origin.LETTA])
def test_the_bodies_of_one_owner_are_bounded(origin: Origin) -> None:
    slots = made(requests=400)
    first, second = (slots.take(Owner("ada", origin)) for _ in range(2))
    for size in (1, LARGEST, EACH - LARGEST):
        first.hold_body(size)
    second.hold_body(LARGEST)
    with pytest.raises(RateLimited) as refused:
        second.hold_body(LARGEST + 1)
    assert refused.value.reason == "BODIES"
    slots.take(Owner("grace", origin)).hold_body(EACH)
    first.leave()
    second.hold_body(LARGEST + 1)
    second.lengthen()
    assert slots.pools[origin].bodies.taken == EACH + LARGEST + 1
    second.leave()
    assert slots.pools[origin].bodies.taken == EACH


@pytest.mark.bound("all-bodies")
def test_the_bodies_of_all_users_are_bounded() -> None:
    slots = made(requests=400)
    for owner in "abcd":
        slots.take(Owner(owner)).hold_body(EACH)
    with pytest.raises(Overloaded) as refused:
        slots.take(Owner("e")).hold_body(1)
    assert refused.value.reason == "BODIES"
    slots.take(Owner("203.0.113.1", Origin.ANONYMOUS)).hold_body(1)
    slots.take(Owner("e", Origin.LETTA)).hold_body(1)


@pytest.mark.bound("anonymous-bodies")
def test_the_bodies_of_anonymous_clients_are_bounded() -> None:
    slots = made(requests=400)
    for address in "abcd":
        slots.take(Owner(address, Origin.ANONYMOUS)).hold_body(EACH // 4)
        with pytest.raises(RateLimited):
            slots.take(Owner(address, Origin.ANONYMOUS)).hold_body(1)
    with pytest.raises(Overloaded):
        slots.take(Owner("e", Origin.ANONYMOUS)).hold_body(1)
    slots.take(Owner("ada")).hold_body(EACH)


@pytest.mark.parametrize(
    ("client", "owner"),
    [
        (("203.0.113.7", 4711), "203.0.113.7"),
        (("2001:db8:1:2:3:4:5:6", 4711), "20010db800010002"),
        (("2001:db8:1:2:ffff::1", 4712), "20010db800010002"),
        (("fe80::1%eth0", 1), "fe80000000000000"),
        (("not:an:address", 1), "not:an:address"),
        (("x" * 1000, 1), "x" * 64),
        (None, ""),
    ],
)
def test_an_anonymous_client_is_identified_by_its_network(client: tuple[str, int] | None, owner: str) -> None:
    assert address_of({"type": "http", "client": client}) == owner
