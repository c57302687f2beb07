"""Models whose providers have no Responses API."""

from __future__ import annotations

from resolvers.responses.bridged import KEPT_SECONDS, MAX_MODELS, BridgedModels
from tests.support.clock import Clock


def test_a_model_is_kept_for_a_time() -> None:
    clock = Clock()
    marks = BridgedModels(clock)
    marks.add("m")
    clock.now = KEPT_SECONDS - 1
    assert "m" in marks
    clock.now = KEPT_SECONDS
    assert "m" not in marks
    marks.add("m")
    marks.discard("m")
    assert "m" not in marks


def test_the_oldest_of_too_many_models_is_removed() -> None:
    marks = BridgedModels(Clock())
    for number in range(MAX_MODELS):
        marks.add(str(number))
    marks.add("0")
    marks.add("new")
    assert ("0" in marks, "1" in marks, "2" in marks) == (True, False, True)
