"""Mutations that call a model directly: completions and embeddings."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import Parent

from clients.letta.tools import ToolCall as ToolCallRecord
from clients.litellm import EmbeddingRecord, ModelRecord
from clients.usage import Usage as UsageRecord
from resolvers import completing, models
from resolvers.info import Info
from resolvers.streams.stream import Stream as StreamRecord
from schema import outcomes
from schema.base import answered_by, described, optional, reads
from schema.chat import CompletionInput
from schema.costs import SHARED, assumed
from schema.inputs import OPTIONAL_KEY, required_key
from schema.message import ToolCall
from schema.model import Model
from schema.outcomes import Payload, PayloadRecord, done_by
from schema.stream import Stream, Usage
from schema.stream_enums import FinishReason


@strawberry.input(description="The texts to embed.")
class EmbedInput:
    model: str = described("The name of a model with the mode `EMBEDDING`.")
    inputs: list[str] = described("Texts to embed: 1 to 100, with at most 200,000 characters in total.")
    dimensions: int | None = optional(
        "Length of the vectors, 1 to 4,096, on models that support it. Default: the model's."
    )
    idempotency_key: str | None = optional(OPTIONAL_KEY)


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


@strawberry.type(description="The result of `startCompletion`.")
@reads(_Started)
class StartCompletionPayload(Payload):
    stream: Stream | None = described("The stream of the answer. Subscribe to it with `stream`.")


@strawberry.type(description="The result of `complete`: the whole answer of the model.")
@reads(_Completed)
class CompletePayload(Payload):
    text: str | None = described("The answer's text. Empty if the model only calls tools.")
    reasoning: str | None = described("The model's reasoning. Null if the model does not return it.")
    tool_calls: list[ToolCall] | None = described(
        "Tool calls that the model requests. Answer each with a `TOOL` message.", costs=[assumed(5)]
    )
    finish_reason: FinishReason | None = described("Why the model stopped, such as `STOP`, `LENGTH` or `TOOL_CALLS`.")
    usage: Usage | None = described("Token counts and cost, as far as known.")
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _model,
        "The model that was called. Null if the user's key has no permission to call it.",
        optional=True,
        costs=[SHARED],
    )
    stream: Stream | None = described("The stream of the answer, which can be replayed until it expires.")


@strawberry.type(description="The embedding of one text.")
@reads(EmbeddingRecord)
class Embedding:
    index: int = described("The zero-based position of the text in `inputs`.")
    vector: list[float] = described("The embedding vector.")


@strawberry.type(description="The result of `embed`.")
@reads(_Embedded)
class EmbedPayload(Payload):
    embeddings: list[Embedding] | None = described("One embedding per input, in the same order.", costs=[assumed(100)])
    usage: Usage | None = described("Token counts and cost, as far as known.")
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _model,
        "The model that was called. Null if the user's key has no permission to call it.",
        optional=True,
        costs=[SHARED],
    )


async def _start_completion(info: Info, input: CompletionInput) -> _Started:
    key = required_key(input.idempotency_key)
    attached = await completing.start_completion(
        info.context, body=input.body(), on_disconnect=input.when_left(), key=key, reads=False
    )
    async with attached as stream:
        return _Started(stream=stream)


async def _complete(info: Info, input: CompletionInput) -> _Completed:
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


async def _embed(info: Info, input: EmbedInput) -> _Embedded:
    done = await completing.embed(
        info.context, model=input.model, inputs=input.inputs, dimensions=input.dimensions, key=input.idempotency_key
    )
    return _Embedded(embeddings=done.embeddings, usage=done.usage, model_name=done.model)


@strawberry.type
class CompletionMutations:
    start_completion: StartCompletionPayload = done_by(
        _Started,
        _start_completion,
        "Starts a completion and returns its stream. Read the answer with the `stream` subscription.",
        outcomes.BudgetExceeded,
        calls=2,
    )
    complete: CompletePayload = done_by(
        _Completed,
        _complete,
        "Runs a completion and returns the whole answer. A repeated request with the same "
        "`idempotencyKey` returns the first request's answer, or runs it again if that failed.",
        outcomes.BudgetExceeded,
        calls=4,
    )
    embed: EmbedPayload = done_by(_Embedded, _embed, "Creates embeddings of texts.", outcomes.BudgetExceeded, calls=4)
