"""Adds the metrics of several processes.

Counters and histograms include the counts of ended workers, so that they never decrease. Gauges are the sums of the
running workers' gauges. A counter's ``_created`` sample is the earliest time of all workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name, and its labels in the order in which the process has reported the labels."""

_CUMULATIVE = frozenset({"counter", "histogram", "summary"})


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric with its samples. ``kind`` is the metric's type in ``prometheus_client``, such as ``counter``."""

    name: str
    about: str
    kind: str
    samples: list[tuple[Key, float]]


Snapshot: TypeAlias = list[Family]


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """Return the current values of all metrics of a process."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [((sample.name, tuple(sample.labels.items())), sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def cumulative(families: Snapshot) -> Snapshot:
    """Return the metrics that must not decrease when their worker ends."""
    return [family for family in families if family.kind in _CUMULATIVE]


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Add the metrics of several processes."""
    families: dict[str, Family] = {}
    totals: dict[str, dict[Key, float]] = {}
    for family in (one for each in snapshots for one in each):
        families.setdefault(family.name, family)
        total = totals.setdefault(family.name, {})
        begun = f"{family.name}_created"
        for key, value in family.samples:
            known = total.get(key)
            if known is None:
                total[key] = value
            else:
                total[key] = min(known, value) if key[0] == begun else known + value
    return [
        Family(family.name, family.about, family.kind, list(totals[family.name].items()))
        for family in families.values()
    ]


def exposition(families: Snapshot) -> bytes:
    """Return metrics in Prometheus' text format."""
    return generate_latest(_Collected(families))


class _Collected(Collector):
    def __init__(self, families: Snapshot) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.about, family.kind)
            for (name, labels), value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric
