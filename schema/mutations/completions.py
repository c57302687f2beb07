"""What a model is asked outright: completions and embeddings."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import Parent

from clients.letta.tools import ToolCall as ToolCallRecord
from clients.litellm import EmbeddingRecord, ModelRecord
from clients.usage import Usage as UsageRecord
from resolvers import completing, models, turns
from resolvers.info import Info
from resolvers.streams.events import FinishReason
from resolvers.streams.stream import Stream as StreamRecord
from schema import outcomes
from schema.base import answered_by, described, reads
from schema.chat import CompletionInput
from schema.costs import SHARED, assumed
from schema.inputs import required_key
from schema.message import ToolCall
from schema.model import Model
from schema.outcomes import Payload, PayloadRecord, done_by
from schema.stream import Stream, Usage


@strawberry.input(description="Texts to make vectors of.")
class EmbedInput:
    """OpenAI's embeddings request, as far as the graph offers it."""

    model: str = strawberry.field(description="The name of a model whose mode is `EMBEDDING`.")
    inputs: list[str] = strawberry.field(description="The texts: at most 100, and 200,000 characters in all.")
    dimensions: int | None = strawberry.field(
        default=None, description="How many numbers a vector is to have, 4,096 at most, where the model can do that."
    )
    idempotency_key: str | None = strawberry.field(default=None, description="With the same key, the same answer.")


class _Started(PayloadRecord, kw_only=True):
    stream: StreamRecord | None = None


class _Completed(PayloadRecord, kw_only=True):
    text: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallRecord] | None = None
    finish_reason: FinishReason | None = None
    usage: UsageRecord | None = None
    model_name: str | None = None
    stream: StreamRecord | None = None


class _Embedded(PayloadRecord, kw_only=True):
    embeddings: list[EmbeddingRecord] | None = None
    usage: UsageRecord | None = None
    model_name: str | None = None


async def _model(record: Parent[_Completed | _Embedded], info: Info) -> ModelRecord | None:
    return await models.model_if_callable(info.context, record.model_name)


@strawberry.type(description="A completion was begun.")
@reads(_Started)
class StartCompletionPayload(Payload):
    """Payload of ``startCompletion``."""

    stream: Stream | None = described("Where the answer comes: subscribe to it.")


@strawberry.type(description="A model's whole answer.")
@reads(_Completed)
class CompletePayload(Payload):
    """Payload of ``complete``."""

    text: str | None = described("What the model said; empty where it only calls tools.")
    reasoning: str | None = described("What it thought before, where it tells.")
    tool_calls: list[ToolCall] | None = described(
        "The tools it calls. Answer each by a `TOOL` message.", costs=[assumed(5)]
    )
    finish_reason: FinishReason | None = described("Why it stopped, such as `STOP`, `LENGTH` or `TOOL_CALLS`.")
    usage: Usage | None = described("Tokens and cost, as far as known.")
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _model, "The model that was asked.", optional=True, costs=[SHARED]
    )
    stream: Stream | None = described("The stream that the answer came by; it can be read again for a while.")


@strawberry.type(description="One text as a vector.")
@reads(EmbeddingRecord)
class Embedding:
    """The GraphQL face of EmbeddingRecord."""

    index: int = described("Which of the `inputs` it is of, from 0.")
    vector: list[float] = described("The vector.")


@strawberry.type(description="Vectors were made.")
@reads(_Embedded)
class EmbedPayload(Payload):
    """Payload of ``embed``."""

    embeddings: list[Embedding] | None = described("One for each input, in their order.", costs=[assumed(100)])
    usage: Usage | None = described("Tokens and cost, as far as known.")
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _model, "The model that was asked.", optional=True, costs=[SHARED]
    )


async def _start_completion(info: Info, input: CompletionInput) -> _Started:  # noqa: A002 - the argument's name
    key = required_key(input.idempotency_key)
    attached = await turns.start_completion(
        info.context, body=input.body(), on_disconnect=input.when_left(), key=key, reads=False
    )
    async with attached as stream:
        return _Started(stream=stream)


async def _complete(info: Info, input: CompletionInput) -> _Completed:  # noqa: A002 - the argument's name
    key = required_key(input.idempotency_key)
    done = await completing.complete(info.context, body=input.body(), on_disconnect=input.when_left(), key=key)
    return _Completed(
        text=done.text,
        reasoning=done.reasoning,
        tool_calls=done.tool_calls,
        finish_reason=done.finish_reason,
        usage=done.usage,
        model_name=done.model,
        stream=done.stream,
    )


async def _embed(info: Info, input: EmbedInput) -> _Embedded:  # noqa: A002 - the argument's name
    done = await completing.embed(
        info.context,
        model=input.model,
        inputs=input.inputs,
        dimensions=input.dimensions,
        key=input.idempotency_key,
    )
    return _Embedded(embeddings=done.embeddings, usage=done.usage, model_name=done.model)


@strawberry.type
class CompletionMutations:
    """Part of the root of mutations."""

    start_completion: StartCompletionPayload = done_by(
        _Started,
        _start_completion,
        "Ask a model for a completion; subscribe to its stream.",
        outcomes.BudgetExceeded,
        calls=2,
    )
    complete: CompletePayload = done_by(
        _Completed,
        _complete,
        "Ask a model for a completion and wait for the whole of it. With the `idempotencyKey` of a completion that "
        "was begun before, you get the whole of that; one that failed is begun again.",
        outcomes.BudgetExceeded,
        calls=4,
    )
    embed: EmbedPayload = done_by(
        _Embedded, _embed, "Make vectors of texts, to compare them by meaning.", outcomes.BudgetExceeded, calls=4
    )
