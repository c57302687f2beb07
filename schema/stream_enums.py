"""Enums of streams. Other modules import them from here, so that they are registered before a type uses them."""

from __future__ import annotations

from clients.codes import ErrorCode
from resolvers.streams.events import DetachReason, FinishReason, OnDisconnect, StreamOutcome, StreamStatus
from schema.base import enum

__all__ = ["DetachReason", "ErrorCode", "FinishReason", "OnDisconnect", "StreamOutcome", "StreamStatus"]

enum(
    ErrorCode,
    "The values of `extensions.code` of an error.",
    UNAUTHENTICATED="The token is missing, invalid or expired. Sign in again.",
    FORBIDDEN="The user's role or key does not have the permission.",
    NOT_FOUND="The object does not exist, or belongs to another user.",
    BAD_USER_INPUT="The input is invalid. `reason` names the problem.",
    CONFLICT="The request conflicts with the current state. `reason` names the conflict.",
    RATE_LIMITED="The user has exceeded a rate limit or quota. Retry after `retryAfterSeconds`.",
    BUDGET_EXCEEDED="The budget for the user's model calls is exhausted.",
    QUERY_TOO_COMPLEX="The operation exceeds a bound on depth, tokens, cost, upstream calls or "
    "answer size. Request less at once.",
    GRAPHQL_PARSE_FAILED="The document has a GraphQL syntax error.",
    GRAPHQL_VALIDATION_FAILED="The document is not valid against the schema.",
    OPERATION_RESOLUTION_FAILURE="The operation to execute is ambiguous or missing. Set `operationName`.",
    PERSISTED_QUERY_NOT_FOUND="The hash of the persisted query is unknown. Send the document with it.",
    PERSISTED_QUERY_NOT_SUPPORTED="Persisted queries are not enabled. Send documents without hashes.",
    PAYLOAD_TOO_LARGE="The request body or the message is too large.",
    UPSTREAM_UNAVAILABLE="A service cannot be reached. The call was not made: retry.",
    UPSTREAM_TIMEOUT="A service did not answer in time. Retry with the same key.",
    UPSTREAM_ERROR="A service returned an invalid answer or an error. Retry if `retryable` is true.",
    OVERLOADED="The gateway is at capacity or is shutting down. Retry if `retryable` is true.",
    INTERNAL_ERROR="A fault of the gateway. Report the `requestId`.",
)
enum(
    StreamStatus,
    "The status of a stream.",
    RUNNING="More events follow.",
    COMPLETED="The answer is complete, or the turn waits for a decision on tool calls.",
    FAILED="The stream failed. Its `StreamEnded` event has the error.",
    CANCELLED="The stream was cancelled.",
)
enum(
    StreamOutcome,
    "How a stream ended.",
    COMPLETED="The answer is complete, or the turn waits for a decision on tool calls. See `finishReason`.",
    FAILED="The stream failed. See `error`.",
    CANCELLED="The stream was cancelled.",
)
enum(
    FinishReason,
    "Why the model or the turn stopped.",
    STOP="The answer is complete, or a sequence of `stop` was reached.",
    LENGTH="`maxTokens` or the model's own limit was reached.",
    TOOL_CALLS="The model calls tools.",
    FUNCTION_CALL="The model calls a function, in OpenAI's deprecated format.",
    CONTENT_FILTER="The provider's content filter withheld content.",
    END_TURN="The agent ended its turn.",
    REQUIRES_APPROVAL="The turn waits for a decision on tool calls. Answer with `respondToApproval`.",
    CANCELLED="The run was cancelled.",
    MAX_STEPS="The turn reached its maximum number of steps.",
    MAX_TOKENS_EXCEEDED="The model's token limit was exceeded.",
    TOOL_RULE="A tool rule of the agent ended the turn after a tool call.",
    NO_TOOL_CALL="The model did not make a required tool call.",
    INVALID_TOOL_CALL="The model made an invalid tool call.",
    INVALID_LLM_RESPONSE="The model's answer could not be parsed.",
    LLM_API_ERROR="The model's provider failed.",
    CONTEXT_WINDOW_OVERFLOW_IN_SYSTEM_PROMPT="The agent's system prompt exceeds the model's context window.",
    INSUFFICIENT_CREDITS="The account that pays for the agent's model has no credit left.",
    ERROR="The turn failed.",
    UNKNOWN="A reason that the gateway does not know.",
)
enum(
    DetachReason,
    "Why the gateway detached a reader from a stream that continues.",
    SLOW="The client read too slowly. Subscribe again.",
    DRAINING="The gateway process is shutting down. Connect and subscribe again.",
    SIGNED_OUT="The token expired. Sign in again.",
)
enum(
    OnDisconnect,
    "What happens to a stream when its last reader detaches.",
    CANCEL="The stream is cancelled at once. This stops the model of a completion; a run continues.",
    CONTINUE="The stream continues without readers for the gateway's STREAM_GRACE_SECONDS and is "
    "then cancelled. A run continues even then.",
)
