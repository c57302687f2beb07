from __future__ import annotations

from decimal import Decimal

from clients.letta.records import StepRecord
from resolvers.sources.turn_costs import TurnCost
from resolvers.streams.events import Event, TextDelta


def step(prompt: int, output: int | None) -> StepRecord:
    return StepRecord(id="step-1", prompt_tokens=prompt, completion_tokens=output)


def cost(most: int) -> TurnCost:
    """Return the cost of a turn in millionths of a dollar, with the prices 1 and 2."""
    return TurnCost(Decimal(most) / 1_000_000, Decimal("0.000001"), Decimal("0.000002"))


def deltas(*texts: str) -> list[Event]:
    return [TextDelta(text=text) for text in texts]


def test_the_first_steps_deltas_count_at_once() -> None:
    turn = cost(6)
    for _ in range(3):
        assert not turn.count("step-1", deltas("a"))
        assert turn.excess is None
    assert not turn.count(None, deltas("a"))
    assert turn.excess is not None
    assert turn.excess.reason == "MAX_COST"


def test_the_reported_tokens_replace_the_estimate_of_ended_steps() -> None:
    turn = cost(250)
    turn.count("step-1", deltas("a" * 300))  # 100 tokens by the estimate
    assert turn.excess is None
    assert turn.count("step-2", [])
    turn.report([step(90, 10), step(0, None)])
    assert turn.excess is None, "90 + 20, and 90 for the next prompt"
    assert not turn.count("step-2", deltas(*"a" * 25))
    assert turn.excess is None
    turn.count("step-2", deltas("a"))
    assert turn.excess is not None


def test_the_estimate_remains_without_a_report() -> None:
    turn = cost(20)
    turn.count("step-1", deltas("a" * 15))
    turn.count("step-2", deltas(*"a" * 5))
    turn.report([])
    assert turn.excess is None
    turn.count("step-2", deltas("a"))
    assert turn.excess is not None
