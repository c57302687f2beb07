"""Tallies and spreads: the same text for a scrape as the counters and histograms of prometheus_client."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app.tallies import Spread, Tally

BOUNDS = (0.005, 0.1, 1, 60)
LABELS = st.tuples(st.sampled_from(["a", 'quoted "b"']), st.sampled_from(["GET", "POST"]))
VALUES = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100, allow_nan=False))


def shown(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode()
    return sorted(line for line in text.splitlines() if not re.search(r"_created\b", line))


@given(st.lists(st.tuples(LABELS, VALUES), max_size=30))
def test_a_scrape_shows_what_prometheus_client_would_show(added: list[tuple[tuple[str, str], float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally[tuple[str, str]]("n", "Number.", ["x", "method"], ours)
    spread = Spread[tuple[str, str]]("s", "Seconds.", ["x", "method"], BOUNDS, ours)
    counter = Counter("n", "Number.", ["x", "method"], registry=theirs)
    histogram = Histogram("s", "Seconds.", ["x", "method"], buckets=BOUNDS, registry=theirs)
    for labels, value in added:
        tally.add(labels)
        tally.add(labels, value)
        counter.labels(*labels).inc()
        counter.labels(*labels).inc(value)
        spread.add(labels, value)
        spread.add_zeros(labels, 3)
        histogram.labels(*labels).observe(value)
        for _ in range(3):
            histogram.labels(*labels).observe(0.0)
    assert shown(ours) == shown(theirs)


class _Collecting(str):
    """A label that collects a metric each time the metric looks for the label, as a second thread can."""

    __slots__ = ("metric",)
    metric: Spread[tuple[str]] | None

    def __hash__(self) -> int:
        if (metric := self.metric) is not None:
            self.metric = None
            list(metric.collect())
            self.metric = metric
        return super().__hash__()


def test_a_scrape_can_run_while_labels_are_added() -> None:
    spread = Spread[tuple[str]]("s", "Seconds.", ["x"], BOUNDS, CollectorRegistry())
    label = _Collecting("a")
    label.metric = spread
    spread.add((label,), 1.0)
    label.metric = None
    (family,) = spread.collect()
    assert {sample.name: sample.value for sample in family.samples}["s_sum"] == 1.0
