from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.litellm.toolcalls import CallNumbers, CallPiece

Joined = list[tuple[str | None, str | None, str]]


def joined(*chunks: list[CallPiece]) -> Joined:
    """Join the calls as a client does: by index, with one id and one name each."""
    numbers, calls = CallNumbers(), dict[int, list[Any]]()
    for chunk in chunks:
        for piece in numbers.numbered(chunk):
            assert piece.index is not None
            call = calls.setdefault(piece.index, [None, None, ""])
            assert piece.id is None or call[0] is None
            assert piece.name is None or call[1] is None
            call[0], call[1], call[2] = call[0] or piece.id, call[1] or piece.name, call[2] + piece.arguments
    return [(call[0], call[1], call[2]) for _, call in sorted(calls.items())]


def piece(
    arguments: str = "", *, call: str | None = None, name: str | None = None, index: int | None = None
) -> CallPiece:
    return CallPiece(index=index, id=call, name=name, arguments=arguments)


ROLL, FLIP = '{"sides":6}', '{"times":2}'
START = '{"sides":'
A, B = ("a", "roll", ROLL), ("b", "flip", FLIP)
LOST_IDS: Joined = [(None, "roll", ROLL), (None, "flip", FLIP)]


def roll(arguments: str = ROLL, *, index: int | None = None) -> CallPiece:
    return piece(arguments, call="a", name="roll", index=index)


def flip(arguments: str = FLIP, *, index: int | None = None) -> CallPiece:
    return piece(arguments, call="b", name="flip", index=index)


CASES: dict[str, tuple[list[list[CallPiece]], Joined]] = {
    "two calls under one index": ([[roll(index=0)], [flip(index=0)]], [A, B]),
    "two calls under one index, in pieces": (
        [[roll(START, index=0)], [piece("6}", index=0)], [flip('{"times":', index=0)], [piece("2}", index=0)]],
        [A, B],
    ),
    "two calls under one index, without ids": (
        [[piece(ROLL, name="roll", index=0)], [piece(FLIP, name="flip", index=0)]],
        LOST_IDS,
    ),
    "two calls of one tool under one index, without ids": (
        [[piece('{"a":1}', name="f", index=0)], [piece('{"a":2}', name="f", index=0)]],
        [(None, "f", '{"a":1}'), (None, "f", '{"a":2}')],
    ),
    "two calls under one index in one chunk": ([[roll(index=0), flip(index=0)]], [A, B]),
    "no index": ([[roll()], [flip()]], [A, B]),
    "no index, in pieces": ([[roll(START)], [piece("6}")], [flip('{"times":')], [piece("2}", call="b")]], [A, B]),
    "no index and no id": ([[piece(ROLL, name="roll")], [piece(FLIP, name="flip")]], LOST_IDS),
    "no index and no id, in one chunk": ([[piece(ROLL, name="roll"), piece(FLIP, name="flip")]], LOST_IDS),
    "no index and no id, twice the same in one chunk": (
        [[piece(ROLL, name="roll"), piece(ROLL, name="roll")]],
        [(None, "roll", ROLL), (None, "roll", ROLL)],
    ),
    "no index and no id, pieces at the same places": (
        [[roll(START), flip('{"times":')], [piece("6}"), piece("2}")]],
        [A, B],
    ),
    "pieces by id alone, interleaved": (
        [[roll(START)], [flip('{"times":')], [piece("6}", call="a")], [piece("2}", call="b")]],
        [A, B],
    ),
    "an id that comes late": ([[piece(START, name="roll", index=0)], [piece("6}", call="a", index=0)]], [A]),
    "an id that comes late, without an index": ([[piece(START, name="roll")], [piece("6}", call="a")]], [A]),
    "a name that comes late": ([[piece("", call="a", index=0)], [piece(ROLL, name="roll", index=0)]], [A]),
    "an index that comes late": ([[roll(START)], [piece("6}", index=0)]], [A]),
    "id and name with every piece": ([[roll(START, index=0)], [roll("6}", index=0)]], [A]),
    "an id of two calls": (
        [
            [roll(index=0)],
            [piece("", call="a", name="flip", index=1), piece(FLIP, call="a", index=1)],
            [roll("\n", index=0)],
        ],
        [("a", "roll", ROLL + "\n"), ("a", "flip", FLIP)],
    ),
    "an id in each piece": ([[roll(START, index=0)], [piece("6}", call="x", index=0)]], [A]),
    "a whole call sent again": ([[roll(index=0)]] * 3, [A]),
    "a whole call sent again without its id": ([[roll(index=0)], [piece(ROLL, name="roll", index=0)]], [A]),
    "a third call at an index that a second one was moved to": (
        [[roll(index=0)], [flip(index=0)], [piece("{}", call="c", name="stop", index=1)]],
        [A, B, ("c", "stop", "{}")],
    ),
    "indexes that come out of order": ([[flip(index=1)], [roll(index=0)]], [A, B]),
    "an index that no list has": ([[roll(index=2_000_000_000)]], [A]),
    "arguments that are no JSON": (
        [[piece("SELECT", call="a", name="sql", index=0)], [piece(" 1", index=0)]],
        [("a", "sql", "SELECT 1")],
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_pieces_belong_to_the_right_calls(name: str) -> None:
    chunks, calls = CASES[name]
    assert joined(*chunks) == calls


def test_the_upstreams_index_is_kept_if_one_call_has_it() -> None:
    numbers = CallNumbers()
    indexes = [numbers.numbered([piece("{}", call=str(index), index=index)])[0].index for index in (3, 0, 1)]
    assert indexes == [3, 0, 1]


calls_in_pieces = st.lists(
    st.tuples(st.sampled_from(["roll", "flip", "sql"]), st.lists(st.text(max_size=4), min_size=1, max_size=5)),
    min_size=1,
    max_size=4,
)


@given(calls_in_pieces, st.sampled_from(["id", "index", "both", "id under one index"]), st.data())
def test_interleaved_pieces_are_joined(calls: list[tuple[str, list[str]]], by: str, data: st.DataObject) -> None:
    waiting = [list(enumerate(pieces)) for _, pieces in calls]
    chunks: list[list[CallPiece]] = []
    first_seen: list[int] = []
    while left := [number for number, pieces in enumerate(waiting) if pieces]:
        number = data.draw(st.sampled_from(left))
        place, text = waiting[number].pop(0)
        if number not in first_seen:
            first_seen.append(number)
        id_ = f"call_{number}" if by != "index" else None
        index = {"id": None, "id under one index": 0}.get(by, number)
        named = calls[number][0] if place == 0 else None
        chunks.append([piece(text, call=id_, name=named, index=index)])
    order = sorted(first_seen) if by in {"index", "both"} else first_seen
    ids = [f"call_{number}" if by != "index" else None for number in order]
    assert joined(*chunks) == [
        (id_, calls[number][0], "".join(calls[number][1])) for id_, number in zip(ids, order, strict=True)
    ]


def test_an_event_with_many_calls_is_numbered_in_linear_time() -> None:
    calls = [CallPiece(id=str(number), name="f") for number in range(100_000)]
    found = CallNumbers().numbered(calls)
    assert [piece.index for piece in found] == list(range(100_000))
