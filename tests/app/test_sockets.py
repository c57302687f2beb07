"""The slots of anonymous sockets, and the total of unread answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import sockets
from app.sockets import MAX_ALL_UNREAD, MAX_ANONYMOUS, MAX_ANONYMOUS_PER_ADDRESS, MAX_UNREAD, AnonymousSockets, Sockets
from clients.errors import Overloaded, RateLimited


def shared() -> Sockets:
    return Sockets(total=10, per_user=5, messages_per_second=10)


@pytest.mark.bound("anonymous-sockets-per-address")
def test_a_socket_past_the_bound_of_an_address_evicts_its_oldest() -> None:
    gone, anonymous = list[int](), AnonymousSockets()
    anonymous.join("other", lambda: gone.append(-1))
    for number in range(MAX_ANONYMOUS_PER_ADDRESS):
        anonymous.join("one", partial(gone.append, number))
    assert gone == []
    for _ in range(2):
        anonymous.join("one", lambda: None)
    assert gone == [0, 1]
    assert len(anonymous) == MAX_ANONYMOUS_PER_ADDRESS + 1


@pytest.mark.bound("anonymous-sockets")
def test_a_socket_past_the_bound_of_all_evicts_the_oldest() -> None:
    gone, anonymous = list[int](), AnonymousSockets()
    for number in range(MAX_ANONYMOUS):
        anonymous.join(str(number), partial(gone.append, number))
    assert gone == []
    anonymous.join("another", lambda: None)
    assert (gone, len(anonymous)) == ([0], MAX_ANONYMOUS)


ARRIVALS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60)


@given(ARRIVALS, st.integers(1, 6), st.integers(1, 4))
def test_anonymous_sockets_are_evicted_only_at_their_bounds(
    arrivals: list[tuple[str, bool]], total: int, per_address: int
) -> None:
    anonymous = AnonymousSockets(total, per_address)
    there: dict[int, str] = {}
    leave: dict[int, Callable[[], None]] = {}
    for number, (address, leaves) in enumerate(arrivals):
        if leaves and there:
            oldest = next(iter(there))
            leave[oldest]()
            leave[oldest]()
            there.pop(oldest)
            continue
        before = dict(there)
        leave[number] = anonymous.join(address, partial(there.__delitem__, number))
        there[number] = address
        needs = len(before) >= total or list(before.values()).count(address) >= per_address
        assert len(there) == len(before) + (0 if needs else 1)
        assert len(anonymous) == len(there) <= total
        assert all(list(there.values()).count(one) <= per_address for one in "abc")


@pytest.mark.bound("socket-unread")
def test_unread_answers_of_one_user_are_bounded() -> None:
    held = shared()
    with held.unread("ada", MAX_UNREAD - 10), held.unread("ada", 10):
        with pytest.raises(RateLimited, match=f"{MAX_UNREAD:,} bytes") as refused, held.unread("ada", 1):
            pass
        assert refused.value.reason == "UNREAD"
        with held.unread("grace", MAX_UNREAD):
            pass
    with held.unread("ada", 2 * MAX_UNREAD):  # one alone
        pass


@pytest.mark.bound("socket-unread-all")
def test_unread_answers_of_all_users_are_bounded_except_a_users_first() -> None:
    held = shared()
    with ExitStack() as stack:
        for number in range(MAX_ALL_UNREAD // MAX_UNREAD - 1):
            stack.enter_context(held.unread(str(number), MAX_UNREAD))
        stack.enter_context(held.unread("ada", MAX_UNREAD - 10))
        stack.enter_context(held.unread("ada", 10))
        stack.enter_context(held.unread("grace", 5))
        with pytest.raises(Overloaded) as refused, held.unread("grace", 1):
            pass
    assert refused.value.reason == "UNREAD"


def test_users_without_unread_answers_are_forgotten() -> None:
    held = shared()
    with held.unread("ada", 10):
        pass
    assert not held.unread_bytes
    assert sockets.MAX_ALL_UNREAD > sockets.MAX_UNREAD
