"""The daily usage of a key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal

import msgspec

from clients.decode import Records


class Counts(msgspec.Struct, kw_only=True):
    """Sums over calls. ``spend`` is in US dollars; ``api_requests`` includes failed ones."""

    api_requests: int = 0
    failed_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    spend: Decimal = Decimal(0)


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one model on one day. ``model`` is ``None`` for calls of an unknown model."""

    day: date
    model: str | None
    counts: Counts


def summed(counts: Iterable[Counts]) -> Counts:
    """The sum of counts."""
    total = Counts()
    for one in counts:
        _add(total, one, 1)
    return total


def hashed(key: str) -> str:
    """The hash by which LiteLLM names a key in its answers."""
    return hashlib.sha256(key.encode()).hexdigest()


class _ByKey(msgspec.Struct):
    metrics: Counts = msgspec.field(default_factory=Counts)


class _Group(msgspec.Struct):
    api_key_breakdown: dict[str, _ByKey] = {}


class _Breakdown(msgspec.Struct):
    model_groups: dict[str, _Group] = {}
    api_keys: dict[str, _ByKey] = {}


class _Day(msgspec.Struct):
    day: date = msgspec.field(name="date")
    breakdown: _Breakdown = msgspec.field(default_factory=_Breakdown)


class _Metadata(msgspec.Struct):
    has_more: bool


class Activity(msgspec.Struct):
    """A page of ``/user/daily/activity``."""

    results: Records[_Day]
    metadata: _Metadata


ACTIVITY = msgspec.json.Decoder(Activity)


def lines(activity: Activity, key_hash: str) -> Iterator[UsageLine]:
    """The lines of one key on a page. A day, and a model on it, can continue on the next page."""
    for day in activity.results:
        rest = summed(one.metrics for name, one in day.breakdown.api_keys.items() if name == key_hash)
        for model, group in day.breakdown.model_groups.items():
            counts = group.api_key_breakdown.get(key_hash)
            if counts is not None and model:
                yield UsageLine(day=day.day, model=model, counts=counts.metrics)
                _add(rest, counts.metrics, -1)
        if rest.api_requests > 0:
            yield UsageLine(day=day.day, model=None, counts=rest)


def _add(total: Counts, one: Counts, sign: int) -> None:
    for name in Counts.__struct_fields__:
        setattr(total, name, getattr(total, name) + sign * getattr(one, name))
