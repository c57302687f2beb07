"""Counters and histograms that cost the event loop a tenth of prometheus_client's, which lock and check each call.

Only one thread may add to them. Any thread may collect them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

L = TypeVar("L", bound="tuple[str, ...]")


class Tally(Collector, Generic[L]):
    """A counter for each combination of labels.

    Args:
        name: the metric's name, without ``_total``.
        text: the metric's description.
        labels: the names of the labels.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: dict[L, float] = {}
        registry.register(self)

    def add(self, labels: L, count: float = 1) -> None:
        """Add to the counter of the labels' values."""
        self._counts[labels] = self._counts.get(labels, 0) + count

    def collect(self) -> Iterator[Metric]:
        """Return the metric for prometheus_client."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


class Spread(Collector, Generic[L]):
    """A histogram for each combination of labels. ``bounds`` are the upper bounds of its buckets.

    ``Tally`` documents the other arguments.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, list(bounds)
        # the library has no types
        self._shown = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]
        self._counts: dict[L, list[int]] = {}
        self._sums: dict[L, float] = {}
        registry.register(self)

    def add(self, labels: L, value: float) -> None:
        """Add a value to the histogram of the labels' values."""
        counts = self._counts.get(labels)
        if counts is None:
            self._sums[labels] = 0.0  # first, because a thread that collects the counts then reads the sum
            counts = self._counts[labels] = [0] * len(self._shown)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def add_zeros(self, labels: L, count: int) -> None:
        """Add the value 0 several times. The labels' values must have another value."""
        self._counts[labels][0] += count

    def collect(self) -> Iterator[Metric]:
        """Return the metric for prometheus_client."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in list(self._counts.items()):
            buckets = list(zip(self._shown, accumulate(list(counts)), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=self._sums[labels])
        yield family
