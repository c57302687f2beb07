"""Computes the bill of an answer that the gateway has cut off, or that the model has broken off.

In both cases, LiteLLM counts the tokens of the messages and of the streamed answer with LiteLLM's own tokenizer, and
charges them (LiteLLM contract). LiteLLM then sends no usage. The gateway asks LiteLLM for the same counts (decisions
0053 and 0082).
"""

import asyncio
import time
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from clients.calls import CallScope
from clients.errors import GatewayError
from clients.litellm import LiteLLM, ModelRecord, dollars
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.streams.events import Event, ReasoningDelta, TextDelta
from resolvers.streams.merging import joined_calls

BILL_SECONDS = 5.0
"""The time that computing a bill may take. Meanwhile, readers wait for the stream's end."""

_MILLION = 1_000_000


async def bill(context: RequestContext, key: str, model: str, messages: list[Any], events: list[Event]) -> Usage | None:
    """Return the token counts and the cost that LiteLLM charges for an incomplete answer.

    Args:
        context: the context of the completion.
        key: the LiteLLM key that pays for the completion.
        model: the name of the model.
        messages: the request's messages, in the format of chat completions.
        events: the events of the answer.

    Returns:
        The usage, or ``None`` if LiteLLM did not count the tokens in time. If only the price is missing, the usage has
        no cost.
    """
    litellm, usage = context.resources.litellm, None
    scope = billing_scope(context)
    with suppress(GatewayError):
        prompt, answer, reasoning = await asyncio.gather(
            litellm.count_tokens(scope, key, model, messages=messages),
            _count_text(litellm, scope, key, model, answer_text(events)),
            _count_text(litellm, scope, key, model, _text(events, ReasoningDelta)),
        )
        output = answer + reasoning
        usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=output,
            total_tokens=prompt + output,
            reasoning_tokens=reasoning,
        )
        record = await model_record(litellm, scope, key, model)
        usage.cost_usd = None if record is None else cost_of(record, usage)
    return usage


def billing_scope(context: RequestContext) -> CallScope:
    """Return a ``CallScope`` for the calls that compute a bill, with one deadline for all calls.

    The deadline is the calls' own, so that the circuit breaker sees a token counter that does not answer.
    """
    return replace(context.renewed().model_scope(), deadline=time.monotonic() + BILL_SECONDS)


async def model_record(litellm: LiteLLM, scope: CallScope, key: str, name: str) -> ModelRecord | None:
    """Read a model's record, with prices, from LiteLLM. Returns ``None`` if the key cannot call the model."""
    return next((record for record in await litellm.models(scope, key) if record.name == name), None)


async def _count_text(litellm: LiteLLM, scope: CallScope, key: str, model: str, text: str) -> int:
    return await litellm.count_tokens(scope, key, model, text=text) if text else 0


def cost_of(model: ModelRecord, usage: Usage) -> Decimal | None:
    """Compute the cost of tokens in US dollars. Returns ``None`` if LiteLLM has no price for the model."""
    prompt, output = model.input_usd_per_million_tokens, model.output_usd_per_million_tokens
    if prompt is None or output is None:
        return None
    return dollars(((usage.prompt_tokens or 0) * prompt + (usage.completion_tokens or 0) * output) / _MILLION)


def answer_text(events: list[Event]) -> str:
    """Return the text that LiteLLM counts for an answer: the text, then each tool call as JSON."""
    calls = (
        msgspec.json.encode(
            {
                "function": {"arguments": call.arguments_delta, "name": call.name},
                "id": call.tool_call_id,
                "type": "function",
            }
        ).decode()
        for call in joined_calls(events)
    )
    return _text(events, TextDelta) + "".join(calls)


def _text(events: list[Event], kind: type[TextDelta]) -> str:
    return "".join(event.text for event in events if type(event) is kind)
