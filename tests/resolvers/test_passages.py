"""The order of passages that are created at the same time."""

from __future__ import annotations

from datetime import UTC, datetime

from clients.letta.records import PassageRecord
from resolvers.passages import newest_first


def test_passages_are_sorted_by_time_and_id() -> None:
    times = {"passage-b": 1, "passage-a": 2, "passage-d": 1, "passage-c": 3}
    made = [
        PassageRecord(id=name, text="", created_at=datetime(2026, 1, 1, second=second, tzinfo=UTC))
        for name, second in times.items()
    ]
    ordered = [passage.id for passage in sorted([*made, PassageRecord(id="passage-e", text="")], key=newest_first)]
    assert ordered == ["passage-c", "passage-a", "passage-b", "passage-d", "passage-e"]
