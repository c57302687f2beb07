"""Unsent bytes of connections, with a transport and a clock that the tests control."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.connections.outgoing import MAX_JOINED_BYTES, MIN_STEP_BYTES, Outgoing, Unsent, owner_of
from clients.origin import Owner

bound = pytest.mark.bound
MIB = 2**20


@dataclass
class Transport:
    """A transport whose client reads as many bytes as the test says."""

    waiting: int = 0
    is_reset: bool = False

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def take(self, count: int) -> None:
        self.waiting -= min(count, self.waiting)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return SimpleNamespace(setsockopt=lambda *_: None)

    def is_closing(self) -> bool:
        return self.is_reset

    def abort(self) -> None:
        self.is_reset = True

    def close(self) -> None:
        raise AssertionError


def outgoing(waiting: int = 0) -> tuple[Outgoing, Transport]:
    transport = Transport()
    out = Outgoing(cast("Any", transport), lambda act: act())
    if waiting:
        out.write(b"x" * waiting)
    return out, transport


def longest_stall(waiting: int, rate: int, seconds: int = 600) -> float:
    """Return the longest stall of a client that reads ``rate`` bytes a second, while others read everything."""
    out, transport = outgoing(waiting)
    longest = 0.0
    for second in range(seconds):
        longest = max(longest, out.stalled(float(second))[1])
        transport.take(rate)
    return longest


@pytest.mark.parametrize(
    ("waiting", "rate", "survives"),
    [
        (16 * MIB, 0, False),
        (16 * MIB, 1, False),
        (16 * MIB, 20_000, False),
        (16 * MIB, 60_000, True),
        (100_000, 1, False),
        (100_000, 400, True),
        (1000, 1, False),
        (1000, 40, True),
    ],
)
def test_a_client_must_read_a_tenth_of_its_unread_bytes_or_8_kib(waiting: int, rate: int, survives: bool) -> None:
    assert (longest_stall(waiting, rate) < 30) is survives


@bound("write-time")
def test_a_client_stalls_one_byte_below_its_share() -> None:
    for taken, stalled in ((MIB // 10, 0.0), (MIB // 10 - 1, 29.0)):
        out, transport = outgoing(MIB)
        assert out.stalled(0.0) == (MIB, 0.0)
        transport.take(taken)
        assert out.stalled(29.0) == (MIB - taken, stalled)


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)), max_size=60))
def test_a_client_that_takes_its_share_each_second_never_stalls(steps: list[tuple[int, int]]) -> None:
    """Writes, such as heartbeats, do not count as progress and do not hide it."""
    out, transport = outgoing()
    for second, (written, more) in enumerate(steps):
        out.write(b"x" * written)
        waiting, stalled = out.stalled(float(second))
        assert (waiting, stalled) == (transport.waiting, 0.0)
        transport.take(max(MIN_STEP_BYTES, waiting // 10) + more)


def test_heartbeats_do_not_count_as_taken() -> None:
    out, _ = outgoing(100)
    for second in range(40):
        out.write(b":\n\n")
        assert out.stalled(float(second))[1] == second


@dataclass
class Connection:
    transport: Outgoing
    scope: dict[str, Any] = field(default_factory=dict)


def connection(waiting: int, owner: str | None, address: str = "192.0.2.1") -> Connection:
    out, _ = outgoing(waiting)
    state = {} if owner is None else {"identity": SimpleNamespace(owner=Owner(owner))}
    return Connection(out, {"state": state, "client": (address, 1)})


def is_reset(one: Connection) -> bool:
    return cast("Transport", one.transport.inner).is_reset


@bound("unsent")
async def test_past_the_bound_a_connection_of_the_owner_with_most_unsent_bytes_is_reset() -> None:
    small = [connection(300, "many") for _ in range(4)]
    large, stranger = connection(1000, "one"), connection(100, None)
    connections = [*small, large, stranger]
    Unsent(connections, seconds=30, limit=2300).sweep()
    assert not any(is_reset(one) for one in connections)
    Unsent(connections, seconds=30, limit=2299).sweep()
    assert [is_reset(one) for one in small].count(True) == 1
    assert not is_reset(large)
    assert not is_reset(stranger)


def test_a_connection_belongs_to_its_user_or_address() -> None:
    assert owner_of(connection(0, "ada")) == "ada"
    assert owner_of(connection(0, None)) == "192.0.2.1"
    assert owner_of(SimpleNamespace(cycle=None, scope=None)) == ""


def test_connections_of_one_ipv6_network_have_one_owner() -> None:
    here, there = ({"client": (f"2001:db8::{host}", 1)} for host in ("1", "ffff"))
    assert owner_of(SimpleNamespace(scope=here)) == owner_of(SimpleNamespace(scope=there))


class Sent:
    """A transport that records what it is asked to do."""

    def __init__(self) -> None:
        self.acts: list[Any] = []

    def write(self, data: bytes) -> None:
        self.acts.append(data)

    def close(self) -> None:
        self.acts.append("close")

    def write_eof(self) -> None:
        self.acts.append("eof")

    def is_closing(self) -> bool:
        return "close" in self.acts

    def get_write_buffer_size(self) -> int:
        return 0


def joining() -> tuple[Outgoing, Sent, list[Any]]:
    """Return a connection, its transport, and what the event loop calls in its next iteration."""
    sent, soon = Sent(), list[Any]()
    return Outgoing(cast("Any", sent), soon.append), sent, soon


def test_small_writes_of_one_loop_iteration_are_sent_together() -> None:
    out, sent, soon = joining()
    for part in (b"a", b"b", b"c"):
        out.write(part)
    assert (sent.acts, out.get_write_buffer_size(), len(soon)) == ([], 3, 1)
    soon.pop()()
    assert (sent.acts, out.get_write_buffer_size()) == ([b"abc"], 0)


@given(st.lists(st.one_of(st.just("next"), st.integers(0, 2 * MAX_JOINED_BYTES)), max_size=20))
def test_joined_writes_keep_their_order_and_wait_for_at_most_one_iteration(steps: list[int | str]) -> None:
    out, sent, soon = joining()
    written = b""
    for number, step in enumerate(steps):
        if isinstance(step, int):
            data = bytes([number]) * step
            out.write(data)
            written += data
            assert out.get_write_buffer_size() < MAX_JOINED_BYTES
            continue
        acts, soon[:] = list(soon), []
        for act in acts:
            act()
        assert b"".join(sent.acts) == written
    out.close()
    assert b"".join(sent.acts[:-1]) == written
    assert sent.acts[-1] == "close"


@pytest.mark.parametrize(("act", "last"), [("close", "close"), ("close_inner", "close"), ("write_eof", "eof")])
def test_joined_writes_are_sent_before_the_end(act: str, last: str) -> None:
    out, sent, soon = joining()
    out.write(b"a")
    getattr(out, act)()
    soon.pop()()
    assert sent.acts == [b"a", last]


def test_nothing_is_written_to_a_transport_that_is_closing() -> None:
    out, sent, soon = joining()
    out.write(b"a")
    sent.close()
    soon.pop()()
    assert sent.acts == ["close"]
