"""Types for the limits, the spend and the daily usage of LiteLLM's virtual keys."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal

import msgspec

from clients.decode import Records
from clients.litellm.fields import dollars


class KeyInfo(msgspec.Struct, kw_only=True):
    """The spend, limits and expiry of a virtual key."""

    spend: Decimal
    max_budget: Decimal | None = None
    budget_reset_at: datetime | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    expires: datetime | None = None

    @property
    def spend_usd(self) -> Decimal:
        """The key's spend so far, in US dollars."""
        return dollars(self.spend)

    @property
    def max_usd(self) -> Decimal | None:
        """The key's budget, in US dollars."""
        return None if self.max_budget is None else dollars(self.max_budget)

    @property
    def remaining_usd(self) -> Decimal | None:
        """The US dollars that remain in the key's budget. The number is never negative."""
        return None if self.max_budget is None else max(Decimal(0), dollars(self.max_budget - self.spend))


class _WireKey(msgspec.Struct):
    info: KeyInfo


KEY = msgspec.json.Decoder(_WireKey)


class Counts(msgspec.Struct, kw_only=True):
    """The number of tokens and requests, and the cost, of several model calls.

    ``spend`` is in US dollars, and ``api_requests`` includes failed calls.
    """

    api_requests: int = 0
    failed_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    spend: Decimal = Decimal(0)


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual key's usage of one model on one day. ``model`` is ``None`` if LiteLLM does not name the model."""

    day: date
    model: str | None
    counts: Counts


def summed(counts: Iterable[Counts]) -> Counts:
    """Add up several ``Counts``."""
    total = Counts()
    for one in counts:
        _add(total, one, 1)
    return total


def hashed(key: str) -> str:
    """Return a virtual key's hash. LiteLLM's answers identify keys by hash."""
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
    """A page of daily usage from LiteLLM's ``/user/daily/activity``."""

    results: Records[_Day]
    metadata: _Metadata


ACTIVITY = msgspec.json.Decoder(Activity)


def lines(activity: Activity, key_hash: str) -> Iterator[UsageLine]:
    """Yield a virtual key's usage from one page of daily usage.

    The next page can have further usage for the same day and model.
    """
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
