from __future__ import annotations

import pytest
from graphql.pyutils import Path

from clients.errors import Service
from resolvers.cache.stale import FIELD, MAX_LISTED, Stale, StaleReads


def stale(age: float, service: Service = Service.AMS) -> Stale:
    return Stale(service, age, "CONNECT")


def at(*keys: str | int) -> None:
    path = None
    for key in keys:
        path = Path(path, key, None)
    FIELD.set(path)


async def test_a_report_has_the_oldest_record_of_each_field() -> None:
    reads = StaleReads()
    assert reads.report() is None
    at("viewer", "agents", 0, "name")
    for age in (5, 7.04, 6):
        reads.note(stale(age))
    at("models")
    reads.note(stale(1, Service.LITELLM))
    assert reads.report() == [
        {"path": ["viewer", "agents", 0, "name"], "ageSeconds": 7.0, "service": "ams", "reason": "CONNECT"},
        {"path": ["models"], "ageSeconds": 1, "service": "litellm", "reason": "CONNECT"},
    ]


async def test_a_read_without_a_field_concerns_the_whole_answer() -> None:
    reads = StaleReads()
    at()
    reads.note(stale(1))
    assert [one["path"] for one in reads.report() or ()] == [[]]


@pytest.mark.bound("stale-fields")
async def test_too_many_fields_are_one_item() -> None:
    reads = StaleReads()
    for number in range(MAX_LISTED):
        at("a", number)
        reads.note(stale(number))
    assert len(reads.report() or ()) == MAX_LISTED
    at("b")
    reads.note(stale(0.5))
    at("c")
    reads.note(stale(9999))
    assert reads.report() == [{"path": [], "ageSeconds": 9999, "service": "ams", "reason": "CONNECT"}]
