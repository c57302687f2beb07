from __future__ import annotations

import sys
import uuid

import pytest

from clients.errors import NotFound
from clients.letta.records import RunRecord, StepRecord
from resolvers import references

MALFORMED = ["", "run-1", "step-1", "run-../admin", "agent-00000000-0000-4000-8000-000000000001"]


def test_messages_of_a_run_share_its_record() -> None:
    run_id, step_id = f"run-{uuid.uuid4()}", f"step-{uuid.uuid4()}"
    assert references.run(run_id) == RunRecord(id=run_id)
    assert references.run(run_id) is references.run(str(run_id.encode(), "ascii"))
    assert references.step(step_id) == StepRecord(id=step_id)
    assert references.step(step_id) is references.step(step_id)
    assert (references.run(None), references.step(None)) == (None, None)


def test_a_shared_record_cannot_be_changed() -> None:
    record = references.run(f"run-{uuid.uuid4()}")
    with pytest.raises(AttributeError):
        record.stop_reason = "error"  # type: ignore[misc, union-attr]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_id_is_refused_each_time(text: str) -> None:
    for _ in range(2):
        with pytest.raises(NotFound):
            references.run(text)
        assert references.step(text) is None


def test_a_malformed_id_is_not_kept_in_memory() -> None:
    text = "x" * 1_000
    held = sys.getrefcount(text)
    with pytest.raises(NotFound):
        references.run(text)
    assert references.step(text) is None
    assert sys.getrefcount(text) == held
