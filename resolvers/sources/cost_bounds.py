"""Enforces ``maxCostUsd``: an upper limit on the cost of one answer (decision 0053)."""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from clients.codes import Reason
from clients.errors import BadUserInput, BudgetExceeded, GatewayError, NotFound
from clients.litellm import ModelRecord
from resolvers.context import RequestContext
from resolvers.sources.billing import billing_scope, model_record
from resolvers.tokens import MAX_TOKENS, Need

_MILLION = 1_000_000


class CostBound:
    """The upper limit on an answer's cost, and the model's prices. ``prompt_tokens`` is known before the answer."""

    __slots__ = ("_max_usd", "_model", "_output_usd", "_prompt_usd")

    def __init__(self, model: ModelRecord, max_usd: Decimal, prompt_tokens: int) -> None:
        prompt, output = prices_of(model)
        self._model = model
        self._max_usd = max_usd
        self._prompt_usd = prompt_tokens * prompt
        self._output_usd = output

    def check(self, output_tokens: int) -> None:
        """Raise BudgetExceeded if the cost after a number of output tokens exceeds the limit."""
        cost = self._prompt_usd + output_tokens * self._output_usd
        if cost > self._max_usd:
            raise over_bound(cost, self._max_usd)

    def check_prompt(self) -> None:
        """Raise BudgetExceeded if the cost of the prompt and one output token exceeds the limit."""
        least = self._prompt_usd + self._output_usd
        if least > self._max_usd:
            raise BudgetExceeded(
                f"The prompt and one output token cost about {_written(least)} US dollars: `maxCostUsd` is "
                f"{_written(self._max_usd)}. Shorten the prompt, or increase `maxCostUsd`.",
                reason=Reason.MAX_COST,
            )

    def capped(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Limit the request's output tokens to one more than the bound permits.

        The model then stops even if the model's provider does not stream the tokens, as with hidden reasoning. The
        request is unchanged if it has a lower limit, or if the model's own limit is unknown or lower.
        """
        if not self._output_usd or self._model.max_output_tokens is None:
            return dict(request)
        most = int((self._max_usd - self._prompt_usd) / self._output_usd) + 1
        limit = next((name for name in MAX_TOKENS if request.get(name) is not None), "max_tokens")
        if most >= (request.get(limit) or self._model.max_output_tokens):
            return dict(request)
        return {**request, limit: most}


async def cost_bound(
    context: RequestContext, key: str, request: Mapping[str, Any], need: Need, max_usd: Decimal
) -> CostBound:
    """Read the model's prices, and count the prompt's tokens.

    Raises:
        NotFound: the user cannot call the model.
        BadUserInput: reason ``NO_PRICE``.
        BudgetExceeded: reason ``MAX_COST``, if the prompt alone exceeds the bound.
    """
    model = await priced_model(context, key, request["model"])
    bound = CostBound(model, max_usd, await _prompt_tokens(context, key, request, need))
    bound.check_prompt()
    return bound


async def priced_model(context: RequestContext, key: str, name: str) -> ModelRecord:
    """Read a model that has prices. Raises NotFound, or BadUserInput with the reason ``NO_PRICE``."""
    model = await model_record(context.resources.litellm, context.renewed().scope, key, name)
    if model is None:
        raise NotFound("The model does not exist. Choose a model from `models`.", reason=Reason.MODEL_NOT_FOUND)
    prices_of(model)
    return model


def prices_of(model: ModelRecord) -> tuple[Decimal, Decimal]:
    """Return the prices of a prompt token and of an output token. Raises BadUserInput (``NO_PRICE``)."""
    prompt, output = model.input_usd_per_million_tokens, model.output_usd_per_million_tokens
    if prompt is None or output is None:
        raise no_price(model.name)
    return prompt / _MILLION, output / _MILLION


def no_price(model: str | None) -> BadUserInput:
    """Return the error for a model without prices."""
    return BadUserInput(
        f"LiteLLM has no price for the model {model!r}, so the gateway cannot enforce `maxCostUsd`. Remove "
        "`maxCostUsd`, or choose a model that has prices in `models`.",
        reason=Reason.NO_PRICE,
    )


def over_bound(cost: Decimal, max_usd: Decimal) -> BudgetExceeded:
    """Return the error for an answer whose estimated cost exceeds ``maxCostUsd``."""
    return BudgetExceeded(
        f"The answer's estimated cost is {_written(cost)} US dollars: `maxCostUsd` is {_written(max_usd)}. The gateway "
        "has stopped the model. To get a longer answer, use a new key and increase `maxCostUsd`.",
        reason=Reason.MAX_COST,
    )


async def _prompt_tokens(context: RequestContext, key: str, request: Mapping[str, Any], need: Need) -> int:
    """Count the prompt's tokens, or estimate the tokens if LiteLLM does not count them."""
    with suppress(GatewayError):
        return await context.resources.litellm.count_tokens(
            billing_scope(context), key, request["model"], messages=request["messages"], tools=request.get("tools")
        )
    return need.prompt


def _written(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
