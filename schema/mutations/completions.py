"""Mutations that call a model directly: completions and embeddings."""

import strawberry

from clients.letta.tools import ToolCall as ToolCallRecord
from clients.litellm import EmbeddingRecord
from clients.usage import Usage as UsageRecord
from resolvers import completing
from resolvers.info import Info
from resolvers.streams.stream import Stream as StreamRecord
from schema import outcomes
from schema.access import SIGNED_IN
from schema.base import described, optional, shows
from schema.chat import CompletionInput
from schema.costs import assumed
from schema.inputs import ANSWER_STREAM, OPTIONAL_KEY, required_key
from schema.message import ToolCall
from schema.model import Model, called_model
from schema.outcomes import Payload, PayloadRecord, done_by, payload
from schema.stream import Stream, Usage
from schema.stream_enums import FinishReason


@strawberry.input(description="The texts for which `embed` creates embeddings.")
class EmbedInput:
    model: str = described("The name of a model with the mode `EMBEDDING`.")
    inputs: list[str] = described("1 to 100 texts, with at most 200,000 characters in total.")
    dimensions: int | None = optional(
        "Length of the vectors, 1 to 4,096. Some models do not support this field. Default: the model's default length."
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


@payload(_Started)
class StartCompletionPayload(Payload):
    stream: Stream | None = described(ANSWER_STREAM)


@shows("The result of `complete`: the whole answer of the model.", _Completed)
class CompletePayload(Payload):
    text: str | None = described("The answer's text. Empty if the model only requests tool calls.")
    reasoning: str | None = described("The model's reasoning. Null if the model returns no reasoning.")
    tool_calls: list[ToolCall] | None = described(
        "Tool calls that the model requests. Answer each call with a `TOOL` message.", costs=[assumed(5)]
    )
    finish_reason: FinishReason | None = described("Why the model stopped, such as `STOP`, `LENGTH` or `TOOL_CALLS`.")
    usage: Usage | None = described("The request's token counts and cost. Unknown values are null.")
    model: Model | None = called_model("The model that was called.")
    stream: Stream | None = described("The stream of the answer. Clients can replay the stream until `expiresAt`.")


@shows("The embedding of one text.", EmbeddingRecord)
class Embedding:
    index: int = described("The zero-based position of the text in `inputs`.")
    vector: list[float] = described("The embedding vector.")


@payload(_Embedded)
class EmbedPayload(Payload):
    embeddings: list[Embedding] | None = described(
        "One embedding per text, in the order of `inputs`.", costs=[assumed(100)]
    )
    usage: Usage | None = described("The request's token counts and cost. Unknown values are null.")
    model: Model | None = called_model("The model that was called.")


async def _start_completion(info: Info, input: CompletionInput) -> _Started:
    key = required_key(input.idempotency_key)
    attached = await completing.start_completion(
        info.context,
        body=input.body(),
        on_disconnect=input.when_left(),
        key=key,
        max_cost=input.max_cost(),
        reads=False,
    )
    async with attached as stream:
        return _Started(stream=stream)


async def _complete(info: Info, input: CompletionInput) -> _Completed:
    key = required_key(input.idempotency_key)
    done = await completing.complete(
        info.context,
        body=input.body(),
        on_disconnect=input.when_left(),
        key=key,
        max_cost=input.max_cost(),
    )
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
        "Starts a completion (a model's answer without an agent). Read the answer with the `stream` subscription.",
        outcomes.BudgetExceeded,
        access=SIGNED_IN,
        calls=4,
    )
    complete: CompletePayload = done_by(
        _Completed,
        _complete,
        "Runs a completion and returns the model's whole answer. A repeated request with the same `idempotencyKey` "
        "returns the first request's answer. If the first request failed, a repeated request calls the model again.",
        outcomes.BudgetExceeded,
        access=SIGNED_IN,
        calls=6,
    )
    embed: EmbedPayload = done_by(
        _Embedded, _embed, "Creates embeddings of texts.", outcomes.BudgetExceeded, access=SIGNED_IN, calls=4
    )
