"""The GraphQL enums for streams. Import the enums from this module, which adds them to the schema."""

from clients.codes import ErrorCode
from resolvers.streams.events import DetachReason, FinishReason, OnDisconnect, StreamOutcome, StreamStatus
from schema.base import enum

__all__ = ["DetachReason", "ErrorCode", "FinishReason", "OnDisconnect", "StreamOutcome", "StreamStatus"]

enum(
    ErrorCode,
    "The codes of errors, in `extensions.code`.",
    UNAUTHENTICATED="The token is missing, invalid or expired. Sign in again.",
    FORBIDDEN="The user's role or LiteLLM key does not permit the request.",
    NOT_FOUND="The object does not exist, or belongs to another user.",
    BAD_USER_INPUT="The input is invalid. `reason` names the problem.",
    CONFLICT="The request conflicts with the current state. `reason` names the conflict.",
    RATE_LIMITED="The user has exceeded a rate limit or quota. Retry after `retryAfterSeconds` seconds.",
    BUDGET_EXCEEDED="The budget for the user's model calls is exhausted.",
    QUERY_TOO_COMPLEX="The operation exceeds a limit on depth, tokens, cost, upstream calls or answer size. Request "
    "less at once.",
    GRAPHQL_PARSE_FAILED="The document has a GraphQL syntax error.",
    GRAPHQL_VALIDATION_FAILED="The document is not valid against the schema.",
    OPERATION_RESOLUTION_FAILURE=(
        "The document has no operation, or the request does not select one of several operations. Set `operationName`."
    ),
    PERSISTED_QUERY_NOT_FOUND="The hash of the persisted query is unknown. Send the document with the hash.",
    PERSISTED_QUERY_NOT_SUPPORTED="The gateway does not support persisted queries. Send documents without hashes.",
    PAYLOAD_TOO_LARGE="The request body or the message is too large.",
    UPSTREAM_UNAVAILABLE="The gateway cannot reach a service, and made no call to the service. Retry the request.",
    UPSTREAM_TIMEOUT="A service did not answer in time. Retry with the same idempotency key or stream key.",
    UPSTREAM_ERROR="A service returned an invalid answer or an error. Retry if `retryable` is true.",
    OVERLOADED="The gateway is at capacity or is shutting down. Retry if `retryable` is true.",
    INTERNAL_ERROR="The gateway failed. Report the error's `requestId` to the operator.",
)
enum(
    StreamStatus,
    "The status of a stream.",
    RUNNING="The answer is not complete: more events follow.",
    COMPLETED="The answer is complete, or the turn waits for a decision on tool calls.",
    FAILED="The stream failed. The `StreamEnded` event has the error.",
    CANCELLED="The stream was cancelled.",
)
enum(
    StreamOutcome,
    "How a stream ended.",
    COMPLETED="The answer is complete, or the turn waits for a decision on tool calls. `finishReason` distinguishes "
    "the two cases.",
    FAILED="The stream failed. `error` has the reason.",
    CANCELLED="The stream was cancelled.",
)
enum(
    FinishReason,
    "Why the model or the turn stopped.",
    STOP="The model completed the answer, or reached a stop sequence.",
    LENGTH="The answer reached `maxTokens` or the model's output limit.",
    TOOL_CALLS="The model requests tool calls.",
    FUNCTION_CALL="The model requests a function call, in OpenAI's deprecated format.",
    CONTENT_FILTER="The provider's content filter withheld part of the answer.",
    END_TURN="The agent ended its turn.",
    REQUIRES_APPROVAL="The turn waits for a decision on tool calls. Answer with `respondToApproval`.",
    CANCELLED="The run was cancelled.",
    MAX_STEPS="The turn reached its maximum number of steps.",
    MAX_TOKENS_EXCEEDED="The model's token limit was exceeded.",
    TOOL_RULE="One of the agent's tool rules ended the turn after a tool call.",
    NO_TOOL_CALL="The model did not make a required tool call.",
    INVALID_TOOL_CALL="The model made an invalid tool call.",
    INVALID_LLM_RESPONSE="The model's answer could not be parsed.",
    LLM_API_ERROR="The model's provider failed.",
    CONTEXT_WINDOW_OVERFLOW_IN_SYSTEM_PROMPT="The agent's system prompt exceeds the model's context window.",
    INSUFFICIENT_CREDITS="The account that pays for the agent's model has no credit left.",
    ERROR="The turn failed.",
    UNKNOWN="Letta or LiteLLM reported a reason that the gateway does not know.",
)
enum(
    DetachReason,
    "Why the gateway ended a subscription to a stream that continues.",
    SLOW="The client read too slowly. Subscribe again.",
    DRAINING="The gateway process is shutting down. Connect and subscribe again.",
    SIGNED_OUT="The token expired, or its session was revoked. Sign in again.",
)
enum(
    OnDisconnect,
    "What happens to a stream when no client reads the stream any more.",
    CANCEL="The gateway cancels the stream at once. In a completion, the model stops. In a turn, the run continues.",
    CONTINUE="After the stream has had no reader for STREAM_GRACE_SECONDS, the gateway cancels the stream. In a turn, "
    "the run continues.",
)
