"""Arithmetic on amounts that may depend on variables: the others are constants of the compiled program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Variables = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """An amount that depends on variables: the result of a program's step."""

    index: int


Amount = int | Step


class Program:
    """A program that computes sums, products and maxima of amounts."""

    def __init__(self) -> None:
        self._steps: list[Callable[[list[int], Variables], int]] = []

    def of_variables(self, read: Callable[[Variables], int]) -> Amount:
        """Return an amount that ``read`` computes from the variables of a request."""
        return self._step(lambda _, variables: read(variables))

    def sum(self, parts: Iterable[Amount]) -> Amount:
        """Return the sum of amounts."""
        known, steps = _split(parts)
        total = sum(known)
        return self._step(lambda done, _: total + sum(done[at] for at in steps)) if steps else total

    def most(self, parts: Iterable[Amount]) -> Amount:
        """Return the largest amount; 0 if there is none."""
        known, steps = _split(parts)
        least = max(known, default=0)
        return self._step(lambda done, _: max(least, *(done[at] for at in steps))) if steps else least

    def product(self, count: Amount, each: Amount) -> Amount:
        """Return the product of two amounts."""
        if isinstance(count, int):
            if isinstance(each, int):
                return count * each
            count, each = each, count
        first = count.index
        if isinstance(each, int):
            factor = each
            return self._step(lambda done, _: done[first] * factor)
        second = each.index
        return self._step(lambda done, _: done[first] * done[second])

    def run(self, amount: Amount, variables: Variables) -> int:
        """Compute an amount for the variables of a request. Every step runs once."""
        if isinstance(amount, int):
            return amount
        done: list[int] = []
        for step in self._steps:
            done.append(step(done, variables))
        return done[amount.index]

    def _step(self, run: Callable[[list[int], Variables], int]) -> Step:
        self._steps.append(run)
        return Step(len(self._steps) - 1)


def _split(parts: Iterable[Amount]) -> tuple[list[int], list[int]]:
    """Split amounts into known numbers and the indexes of steps."""
    known, steps = list[int](), list[int]()
    for part in parts:
        if isinstance(part, int):
            known.append(part)
        else:
            steps.append(part.index)
    return known, steps
