"""Programs that compute an operation's cost from a request's variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Variables = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A step of a ``Program``. The step computes a number from a request's variables."""

    index: int


Amount = int | Step


class Program:
    """A sequence of steps that compute numbers from a request's variables."""

    def __init__(self) -> None:
        self._steps: list[Callable[[list[int], Variables], int]] = []

    def of_variables(self, read: Callable[[Variables], int]) -> Amount:
        """Add a step whose result is ``read(variables)``."""
        return self._step(lambda _, variables: read(variables))

    def sum(self, parts: Iterable[Amount]) -> Amount:
        """Return the sum of ``parts`` if all parts are constants. Otherwise, add a step that computes the sum."""
        constants, steps = _split(parts)
        total = sum(constants)
        return self._step(lambda results, _: total + sum(results[at] for at in steps)) if steps else total

    def most(self, parts: Iterable[Amount]) -> Amount:
        """Return the maximum of ``parts`` if all parts are constants. Otherwise, add a step that computes the maximum.

        If ``parts`` is empty, the maximum is 0.
        """
        constants, steps = _split(parts)
        least = max(constants, default=0)
        return self._step(lambda results, _: max(least, *(results[at] for at in steps))) if steps else least

    def product(self, count: Amount, each: Amount) -> Amount:
        """Return the product of two numbers if both are constants. Otherwise, add a step that computes the product."""
        if isinstance(count, int):
            if isinstance(each, int):
                return count * each
            count, each = each, count
        first = count.index
        if isinstance(each, int):
            factor = each
            return self._step(lambda results, _: results[first] * factor)
        second = each.index
        return self._step(lambda results, _: results[first] * results[second])

    def run(self, amount: Amount, variables: Variables) -> int:
        """Return ``amount`` if it is a constant. If it is a step, compute the step's number from ``variables``."""
        if isinstance(amount, int):
            return amount
        results: list[int] = []
        for step in self._steps:
            results.append(step(results, variables))
        return results[amount.index]

    def _step(self, run: Callable[[list[int], Variables], int]) -> Step:
        self._steps.append(run)
        return Step(len(self._steps) - 1)


def _split(parts: Iterable[Amount]) -> tuple[list[int], list[int]]:
    constants, steps = list[int](), list[int]()
    for part in parts:
        if isinstance(part, int):
            constants.append(part)
        else:
            steps.append(part.index)
    return constants, steps
