"""Slots of a request: whose they are, when they become a stream's, and that they are given back."""

from __future__ import annotations

import pytest

from app.callers import address_of
from app.shedding import Shedder
from app.slots import BODIES, Slots
from clients.errors import Overloaded, RateLimited
from clients.origin import Origin, Owner


def made(requests: int = 16, streams: int = 8) -> Slots:
    return Slots(requests, streams, Shedder(requests), largest_body=LARGEST)


async def test_a_request_holds_one_place_to_its_end() -> None:
    slots = made()
    slot = slots.take(Owner("ada"))
    await slot.enter()
    assert (slots.pools[Origin.USER].requests.taken, slots.shedder.under_way) == (1, 1)
    slot.leave()
    slot.leave()
    assert (slots.pools[Origin.USER].requests.taken, slots.shedder.under_way) == (0, 0)


async def test_a_stream_holds_a_place_of_another_kind() -> None:
    slots = made()
    slot = slots.take(Owner("ada"))
    await slot.enter()
    slot.lengthen()
    slot.lengthen()
    assert (
        slots.pools[Origin.USER].requests.taken,
        slots.shedder.under_way,
        slots.pools[Origin.USER].streams.taken,
    ) == (0, 0, 1)
    slot.leave()
    assert slots.pools[Origin.USER].streams.taken == 0
    slot.lengthen()  # of a request that has ended
    assert slots.pools[Origin.USER].streams.taken == 0


async def test_a_stream_that_finds_no_place_keeps_that_of_its_request() -> None:
    slots = made(streams=4)
    first, second = (slots.take(Owner("ada")) for _ in range(2))
    first.lengthen()
    with pytest.raises(RateLimited) as refused:
        second.lengthen()
    assert refused.value.reason == "STREAMS"
    assert slots.pools[Origin.USER].requests.taken == 1
    second.leave()
    assert slots.pools[Origin.USER].requests.taken == 0


@pytest.mark.bound("all-streams")
def test_as_many_streams_as_there_are_places_for_and_no_more() -> None:
    slots = made(streams=8)
    for owner in "abcd":
        for _ in range(2):
            slots.take(Owner(owner)).lengthen()
    with pytest.raises(Overloaded) as refused:
        slots.take(Owner("e")).lengthen()
    assert refused.value.reason == "STREAMS"
    for _ in range(2):
        slots.take(Owner("a", Origin.LETTA)).lengthen()  # what comes back from Letta has slots of its own
    with pytest.raises(RateLimited):
        slots.take(Owner("a", Origin.LETTA)).lengthen()


async def test_what_letta_sends_back_never_waits_for_the_loop() -> None:
    slots = made(requests=4)
    for owner in "abcd":
        slot = slots.take(Owner(owner))
        await slot.enter()
    for owner in "abcd":
        await slots.take(Owner(owner, Origin.LETTA)).enter()
    assert slots.shedder.under_way == 4


LARGEST = 1000
EACH = BODIES * LARGEST


@pytest.mark.bound("bodies")
@pytest.mark.parametrize("origin", [Origin.USER, Origin.LETTA])
def test_the_bodies_of_one_owner_have_so_many_bytes(origin: Origin) -> None:
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
def test_the_bodies_of_all_users_have_so_many_bytes() -> None:
    slots = made(requests=400)
    for owner in "abcd":
        slots.take(Owner(owner)).hold_body(EACH)
    with pytest.raises(Overloaded) as refused:
        slots.take(Owner("e")).hold_body(1)
    assert refused.value.reason == "BODIES"
    slots.take(Owner("203.0.113.1", Origin.ANONYMOUS)).hold_body(1)
    slots.take(Owner("e", Origin.LETTA)).hold_body(1)


@pytest.mark.bound("anonymous-bodies")
def test_the_bodies_of_anonymous_clients_have_so_many_bytes() -> None:
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
def test_an_anonymous_client_is_known_by_the_address_of_its_network(client: tuple[str, int] | None, owner: str) -> None:
    assert address_of({"type": "http", "client": client}) == owner
