"""Remembers the models whose providers have no Responses API. LiteLLM translates requests to chat completions."""

import time
from collections import OrderedDict
from collections.abc import Callable

KEPT_SECONDS = 600.0
"""How long an observation is valid. An operator may change a model's deployment."""

MAX_MODELS = 1000


class BridgedModels:
    """A set of models. Each model is removed ``KEPT_SECONDS`` after it was added, or if there are too many models."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, model: str) -> bool:
        return self._until.get(model, 0.0) > self._clock()

    def add(self, model: str) -> None:
        """Add a model, or extend its time."""
        self._until[model] = self._clock() + KEPT_SECONDS
        self._until.move_to_end(model)
        if len(self._until) > MAX_MODELS:
            self._until.popitem(last=False)

    def discard(self, model: str) -> None:
        """Remove a model, if it is present."""
        self._until.pop(model, None)
