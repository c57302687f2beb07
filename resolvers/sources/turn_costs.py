"""Enforces ``maxCostUsd`` during a turn.

Letta reports tokens only for model calls that have ended. The cost of a turn is therefore the cost of the ended steps,
plus an estimate for the current step (decision 0053).
"""

from contextlib import suppress
from decimal import Decimal

from clients.errors import BudgetExceeded, GatewayError
from clients.letta.records import StepRecord
from clients.owned import ConversationRef, OwnedRunId
from resolvers.context import RequestContext
from resolvers.sources.billing import model_record
from resolvers.sources.cost_bounds import no_price, over_bound, prices_of
from resolvers.streams.events import Event
from resolvers.tokens import Tally


class TurnCost:
    """The estimated cost of one turn, and the turn's maximum cost in US dollars.

    In the estimate, the current step's prompt is as long as the last step's prompt. The first step's prompt counts when
    the step has ended.
    """

    def __init__(self, max_usd: Decimal, prompt_usd: Decimal, output_usd: Decimal) -> None:
        self._max_usd = max_usd
        self._prices = prompt_usd, output_usd
        self._step_id: str | None = None
        self._ended_usd = Decimal(0)
        self._prompt_usd = Decimal(0)
        self._tally = Tally()

    def count(self, step_id: str | None, deltas: list[Event]) -> bool:
        """Add deltas of a step. Return whether the deltas begin a new step, so that the last step has ended.

        Until ``report``, the estimate of the ended step counts.
        """
        has_ended = step_id is not None and self._step_id is not None and step_id != self._step_id
        if has_ended:
            self._ended_usd = self._usd
            self._tally = Tally()
        self._step_id = step_id or self._step_id
        self._tally.add(deltas)
        return has_ended

    def report(self, steps: list[StepRecord]) -> None:
        """Replace the estimate for the ended steps by the numbers of tokens that Letta reports."""
        ended = [self._step_usd(step) for step in steps if step.completion_tokens]
        if not ended:
            return
        self._prompt_usd = ended[-1][0]
        self._ended_usd = sum((prompt + output for prompt, output in ended), Decimal(0))

    @property
    def excess(self) -> BudgetExceeded | None:
        """The error for a turn whose estimated cost exceeds the maximum; ``None`` for a cheaper turn."""
        return over_bound(self._usd, self._max_usd) if self._usd > self._max_usd else None

    @property
    def _usd(self) -> Decimal:
        return self._ended_usd + self._prompt_usd + self._tally.tokens * self._prices[1]

    def _step_usd(self, step: StepRecord) -> tuple[Decimal, Decimal]:
        prompt, output = self._prices
        return (step.prompt_tokens or 0) * prompt, (step.completion_tokens or 0) * output


async def turn_cost(context: RequestContext, conversation: ConversationRef, max_usd: Decimal) -> TurnCost:
    """Read the prices of the agent's model. Raises BadUserInput (``NO_PRICE``)."""
    context = context.renewed()
    name = (await context.loaders.agent_state.load(conversation.agent_id)).model_name
    if name is None:
        raise no_price(name)
    key = await context.access.model_key()
    model = await model_record(context.resources.litellm, context.scope, key, name)
    if model is None:
        raise no_price(name)
    return TurnCost(max_usd, *prices_of(model))


async def ended_steps(context: RequestContext, run_id: OwnedRunId) -> list[StepRecord]:
    """Read a run's steps. Returns no steps if Letta does not answer."""
    with suppress(GatewayError):
        return await context.resources.letta.run_steps(context.renewed().scope, run_id)
    return []
