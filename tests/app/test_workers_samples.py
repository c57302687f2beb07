from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, generate_latest

from app.workers.samples import Snapshot, cumulative, exposition, merged, snapshot

LABELS = st.sampled_from(["a", "b", "c"])
OBSERVED = st.floats(0, 20, allow_subnormal=False)


class Process:
    """The metrics of one process, of each kind that the gateway has."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls.", ["kind"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", ["kind"], buckets=(1, 10), registry=self.registry)
        self.slots = Gauge("slots", "Slots.", registry=self.registry)
        self.state = Enum("state", "State.", states=["ok", "down"], registry=self.registry)

    def does(self, acts: list[tuple[str, float]]) -> Snapshot:
        for kind, value in acts:
            self.calls.labels(kind).inc()
            self.seconds.labels(kind).observe(value)
            self.slots.inc()
        return snapshot(self.registry)


ACTS = st.lists(st.tuples(LABELS, OBSERVED), max_size=8)


def values(families: Snapshot) -> dict[object, float]:
    return {key: value for family in families for key, value in family.samples if not key[0].endswith("_created")}


@given(st.lists(ACTS, min_size=1, max_size=4))
def test_merged_metrics_are_those_of_one_process_that_did_everything(acts: list[list[tuple[str, float]]]) -> None:
    together = merged([Process().does(some) for some in acts])
    alone = values(Process().does([act for some in acts for act in some]))
    alone[("state", (("state", "ok"),))] = len(acts)  # the number of processes in the state
    found = values(together)
    assert found.keys() == alone.keys()
    assert all(abs(found[key] - alone[key]) < 1e-6 for key in alone)


@given(ACTS, ACTS, ACTS)
def test_no_counter_decreases_when_a_process_ends(
    first: list[tuple[str, float]], second: list[tuple[str, float]], third: list[tuple[str, float]]
) -> None:
    ended, other = Process().does(first), Process()
    before = merged([ended, other.does(second)])
    after = values(merged([cumulative(ended), other.does(third), Process().does([])]))
    assert all(after[key] >= value for key, value in values(cumulative(before)).items())


@given(ACTS)
def test_the_text_of_one_process_is_that_of_the_library(acts: list[tuple[str, float]]) -> None:
    process = Process()
    process.does(acts)
    assert exposition(merged([snapshot(process.registry)])) == generate_latest(process.registry)


def test_a_counter_began_when_its_first_process_did() -> None:
    one, other = Process().does([("a", 1)]), Process().does([("a", 1)])
    created = {key: value for family in one for key, value in family.samples if key[0] == "calls_created"}
    later = {key: value for family in merged([other, one]) for key, value in family.samples}
    assert [later[key] for key in created] == list(created.values())
