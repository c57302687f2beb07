"""The error codes and error reasons that clients receive. ``docs/limits.md`` lists the codes and the reasons."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """The values of a GraphQL error's ``extensions.code``."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    CONFLICT = "CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    UPSTREAM_ERROR = "UPSTREAM_ERROR"
    OVERLOADED = "OVERLOADED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


_FORBIDDEN, _NOT_FOUND, _INPUT = ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND, ErrorCode.BAD_USER_INPUT
_CONFLICT, _LIMITED, _COMPLEX = ErrorCode.CONFLICT, ErrorCode.RATE_LIMITED, ErrorCode.QUERY_TOO_COMPLEX
_UNAVAILABLE, _TIMEOUT, _ERROR = ErrorCode.UPSTREAM_UNAVAILABLE, ErrorCode.UPSTREAM_TIMEOUT, ErrorCode.UPSTREAM_ERROR
_OVERLOADED, _UNAUTHENTICATED = ErrorCode.OVERLOADED, ErrorCode.UNAUTHENTICATED
_BOUND = "The operation exceeds a bound in the [GraphQL table](#graphql)."
_RATE_LIMIT = "The user has exceeded the [rate limit](#rate-limits) that the reason names."


class Reason(StrEnum):
    """The values of a GraphQL error's ``extensions.reason``. ``meanings`` maps error codes to explanations."""

    meanings: Mapping[ErrorCode, str]

    def __new__(cls, value: str, *meanings: tuple[ErrorCode, str]) -> Self:
        """Create an error reason with its explanations."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meanings = dict(meanings)
        return member

    # authentication and permissions
    TOKEN_MISSING = "TOKEN_MISSING", (_UNAUTHENTICATED, "The request has no bearer token.")
    TOKEN_INVALID = "TOKEN_INVALID", (_UNAUTHENTICATED, "The token, or one of its claims, is invalid.")
    TOKEN_EXPIRED = "TOKEN_EXPIRED", (_UNAUTHENTICATED, "The token has expired.")
    TOKEN_REVOKED = "TOKEN_REVOKED", (_UNAUTHENTICATED, "An admin has revoked the token's session.")
    ANONYMOUS = "ANONYMOUS", (_FORBIDDEN, "The token belongs to an anonymous user, who has not signed up.")
    ISSUER = (
        "ISSUER",
        (_UNAVAILABLE, "The gateway cannot fetch the keys that verify the token from the token's issuer."),
        (_OVERLOADED, "Too many requests wait for the keys of the token's issuer."),
    )
    ROLE = "ROLE", (_FORBIDDEN, "The user's role does not allow the operation.")
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED", (_FORBIDDEN, "The user's LiteLLM key does not allow calls to the model.")

    # the form of a request
    BODY_TIMEOUT = "BODY_TIMEOUT", (_INPUT, "The request's body did not arrive in time. The HTTP status is 408.")
    CONTAINERS = (
        "CONTAINERS",
        (ErrorCode.PAYLOAD_TOO_LARGE, "The request's JSON has too many objects and arrays in total."),
    )
    CONTENT_ENCODING = (
        "CONTENT_ENCODING",
        (_INPUT, "The gateway cannot decode the request's body (HTTP 400) or does not support its coding (HTTP 415)."),
    )
    JSON = "JSON", (_INPUT, "The request's body is not a JSON object.")
    PREFLIGHT = (
        "PREFLIGHT",
        (_INPUT, "A GET request without a token lacks a header that makes browsers send a CORS preflight."),
    )
    REQUEST = "REQUEST", (_INPUT, "The request violates a protocol, such as GraphQL over HTTP.")
    ROUTE = "ROUTE", (_NOT_FOUND, "The gateway has no endpoint at this path.")
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER", (_INPUT, "The request has a parameter that the endpoint does not accept.")

    # the content of a request
    ADDRESS = "ADDRESS", (_INPUT, "A URL is not a public https URL, or is in a field that accepts no URLs.")
    CONTENT_FILTER = "CONTENT_FILTER", (_INPUT, "The model's content filter or guardrail refused the content.")
    CONTEXT_LENGTH = "CONTEXT_LENGTH", (_INPUT, "The request's messages do not fit into the model's context window.")
    CURSOR = "CURSOR", (_INPUT, "The cursor does not belong to the requested list, stream or conversation.")
    CURSOR_EXPIRED = "CURSOR_EXPIRED", (_INPUT, "Letta can no longer replay the turn to which the cursor belongs.")
    DEFAULT_CONVERSATION = (
        "DEFAULT_CONVERSATION",
        (_INPUT, "A default conversation cannot be changed, forked or deleted."),
    )
    EMPTY = "EMPTY", (_INPUT, "A required text or list is empty, or an update changes no field.")
    GAP = "GAP", (_INPUT, "Events of the stream were lost when Redis or a gateway process failed, or were evicted.")
    IMAGE = "IMAGE", (_INPUT, "An image's URL is not allowed, or a service could not fetch the image.")
    KEY = "KEY", (_INPUT, "A stream key or idempotency key is missing or invalid.")
    MESSAGE = "MESSAGE", (_INPUT, "A message's fields contradict the message's role or each other.")
    MODEL = (
        "MODEL",
        (_INPUT, "No model with the requested name can serve the request."),
        (_UNAVAILABLE, "Calls to the model have failed repeatedly, and the model's breaker is open."),
        (_ERROR, "The model failed, or the model's provider refused the call."),
    )
    NAME = "NAME", (_INPUT, "An agent's name is empty, too long, or has invalid characters.")
    NESTED = "NESTED", (_INPUT, "The input is nested too deeply.")
    NO_PRICE = "NO_PRICE", (_INPUT, "The request has `maxCostUsd`, but LiteLLM has no price for the model.")
    NO_APPROVAL = "NO_APPROVAL", (_INPUT, "The id does not belong to an approval request.")
    PAGING = "PAGING", (_INPUT, "The pagination arguments contradict each other, or the page is too large.")
    RANGE = "RANGE", (_INPUT, "A number, or a list's length, is too small or too large.")
    REPRESENTATION = (
        "REPRESENTATION",
        (_INPUT, "An item of `_entities(representations:)` has no valid `__typename` or no valid `id`."),
    )
    RESPONSE_FORMAT = "RESPONSE_FORMAT", (_INPUT, "The response format is invalid.")
    SCHEMA = "SCHEMA", (_INPUT, "A `$ref` in a JSON schema refers to another document.")
    STOP = "STOP", (_INPUT, "The request has too many stop sequences, or an empty stop sequence.")
    TAG = "TAG", (_INPUT, "A tag is invalid or reserved, or the request has too many tags.")
    TEMPLATE_INVALID = "TEMPLATE_INVALID", (_INPUT, "AMS refused to publish the Agent File.")
    TEXT = "TEXT", (_INPUT, "A text in the request is too long, or contains the character NUL.")
    TOO_LONG = "TOO_LONG", (_INPUT, "A message, passage, query, input, file or JSON value is too long.")
    TOO_MANY = "TOO_MANY", (_INPUT, "The request has too many ids.")
    TOO_MANY_TOKENS = (
        "TOO_MANY_TOKENS",
        (_INPUT, "The request needs more tokens than a minute's [limit](#rate-limits)."),
    )
    TOOLS = "TOOLS", (_INPUT, "A tool is invalid, or has a type that is not allowed.")
    TOOL_CHOICE = "TOOL_CHOICE", (_INPUT, "The tool choice names none of the request's tools.")
    VARIABLES = (
        "VARIABLES",
        (_INPUT, "An agent's `variables` are not a JSON object, or are nested too deeply."),
        (_COMPLEX, "An operation declares too many variables."),
    )
    VARIABLES_INVALID = "VARIABLES_INVALID", (_INPUT, "The agent's variables do not match the template.")
    VERSION = "VERSION", (_INPUT, "The version number does not follow SemVer.")
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND", (_NOT_FOUND, "The requested model does not exist.")
    PREVIOUS_RESPONSE_NOT_FOUND = (
        "PREVIOUS_RESPONSE_NOT_FOUND",
        (_INPUT, "`previous_response_id` is unknown, belongs to another model, or was not stored by the provider."),
    )
    RESPONSE_NOT_FOUND = "RESPONSE_NOT_FOUND", (_NOT_FOUND, "The response does not exist, or was not stored.")

    # conflicts
    ANSWER_DROPPED = (
        "ANSWER_DROPPED",
        (_CONFLICT, "The gateway has evicted the answer to an earlier request with the same key."),
    )
    APPROVAL_PENDING = "APPROVAL_PENDING", (_CONFLICT, "A tool call in the conversation waits for the user's approval.")
    CANCELLED = "CANCELLED", (_CONFLICT, "The stream was cancelled.")
    KEY_REUSED = "KEY_REUSED", (_CONFLICT, "An earlier request used the same key with different input.")
    LOCKED = "LOCKED", (_CONFLICT, "AMS or Letta has locked an object that the request uses. Retry the request.")
    NO_MIGRATION_PATH = (
        "NO_MIGRATION_PATH",
        (_CONFLICT, "No migrations lead from the agent's version to the requested version."),
    )
    OUTCOME_UNKNOWN = (
        "OUTCOME_UNKNOWN",
        (_CONFLICT, "The gateway does not know whether the service has carried out the request."),
    )
    RUN_BUSY = (
        "RUN_BUSY",
        (
            _CONFLICT,
            "The conversation already has an active run. `extensions.runId` is its id, if the gateway knows it.",
        ),
    )
    VERSION_EXISTS = "VERSION_EXISTS", (_CONFLICT, "The template already has a version with the same number.")

    # rate limits, quotas and load
    BODIES = (
        "BODIES",
        (_LIMITED, "The user's request bodies exceed the user's memory quota."),
        (_OVERLOADED, "The gateway's memory for request bodies is exhausted."),
    )
    BUSY = "BUSY", (_OVERLOADED, "The gateway is overloaded and did not admit the request in time.")
    DRAINING = "DRAINING", (_OVERLOADED, "The gateway is stopping.")
    FOLLOWS = "FOLLOWS", (_LIMITED, "The user follows too many conversations at a time.")
    KEYS = (
        "KEYS",
        (
            _LIMITED,
            "The user has too many requests with idempotency keys in flight, or too many stored answers.",
        ),
        (_OVERLOADED, "The gateway's memory for answers to requests with keys is exhausted."),
    )
    MAX_COST = (
        "MAX_COST",
        (ErrorCode.BUDGET_EXCEEDED, "The answer's estimated cost exceeds `maxCostUsd`. The gateway stopped the model."),
    )
    MODEL_RATE_LIMIT = "MODEL_RATE_LIMIT", (_LIMITED, "A turn exceeded the model's rate limit.")
    OPERATIONS = (
        "OPERATIONS",
        (_LIMITED, "The WebSocket runs too many operations at a time."),
        (_COMPLEX, "The document has too many operations."),
    )
    OWNER_LOST = (
        "OWNER_LOST",
        (_OVERLOADED, "The gateway process that read the model's answer has stopped. The answer is incomplete."),
    )
    RATE_LIMIT_GENERAL = "RATE_LIMIT_GENERAL", (_LIMITED, _RATE_LIMIT)
    RATE_LIMIT_LLM = "RATE_LIMIT_LLM", (_LIMITED, _RATE_LIMIT)
    RATE_LIMIT_PROXY = "RATE_LIMIT_PROXY", (_LIMITED, _RATE_LIMIT)
    RATE_LIMIT_TOKENS = "RATE_LIMIT_TOKENS", (_LIMITED, _RATE_LIMIT)
    RATE_LIMIT_SIGN_IN = (
        "RATE_LIMIT_SIGN_IN",
        (_LIMITED, "Too many sign-ins from the client's IP address have failed. A WebSocket closes with code 1013."),
    )
    READERS = "READERS", (_LIMITED, "The user reads too many streams at a time.")
    REQUESTS = (
        "REQUESTS",
        (_LIMITED, "The user, or the client's IP address, has too many requests in flight."),
        (_OVERLOADED, "The gateway has too many requests in flight."),
    )
    SOCKETS = (
        "SOCKETS",
        (_LIMITED, "The user has too many open WebSockets. The new WebSocket closes with code 4429."),
        (_OVERLOADED, "The gateway has too many open WebSockets."),
    )
    STREAMS = (
        "STREAMS",
        (_LIMITED, "The user has too many running streams."),
        (_OVERLOADED, "The gateway has too many running streams."),
    )
    STREAM_MEMORY = (
        "STREAM_MEMORY",
        (_LIMITED, "The user's streams exceed the user's memory quota."),
        (_OVERLOADED, "The gateway's memory for streams is exhausted."),
    )
    UNREAD = (
        "UNREAD",
        (_LIMITED, "The user's WebSockets have too much unread data."),
        (_OVERLOADED, "All users' WebSockets together have too much unread data."),
    )

    # the size of an operation
    ALIASES = "ALIASES", (_COMPLEX, _BOUND)
    ANSWER_SIZE = "ANSWER_SIZE", (_COMPLEX, _BOUND)
    COST = "COST", (_COMPLEX, _BOUND)
    DEPTH = "DEPTH", (_COMPLEX, _BOUND)
    DIRECTIVES = "DIRECTIVES", (_COMPLEX, _BOUND)
    ERRORS = "ERRORS", (_COMPLEX, _BOUND)
    FIELDS = "FIELDS", (_COMPLEX, _BOUND)
    FRAGMENTS = "FRAGMENTS", (_COMPLEX, _BOUND)
    INTROSPECTION = "INTROSPECTION", (_COMPLEX, _BOUND)
    SIZE = "SIZE", (_COMPLEX, _BOUND)
    UPSTREAM_CALLS = "UPSTREAM_CALLS", (_COMPLEX, _BOUND)

    # upstream failures
    BREAKER_OPEN = "BREAKER_OPEN", (_UNAVAILABLE, "An open breaker refuses the call to the service.")
    BULKHEAD_FULL = "BULKHEAD_FULL", (_UNAVAILABLE, "Too many calls to the service are in flight or queued.")
    CONNECT = (
        "CONNECT",
        (
            _UNAVAILABLE,
            "The gateway could not connect to the service. `CONNECT_TIMEOUT_SECONDS` sets the timeout.",
        ),
    )
    CREDENTIAL = (
        "CREDENTIAL",
        (_ERROR, "The service refused the key for the call, or no key is configured."),
    )
    CUT = "CUT", (_ERROR, "The connection to the service broke before the answer was complete.")
    DEADLINE = "DEADLINE", (_TIMEOUT, "The service did not answer before the call's deadline.")
    DECODE = "DECODE", (_ERROR, "The gateway cannot decode the service's answer.")
    FIRST_TOKEN = "FIRST_TOKEN", (_TIMEOUT, "The model did not begin to answer within `STREAM_FIRST_TOKEN_SECONDS`.")
    IDLE = "IDLE", (_TIMEOUT, "The model paused within its answer for more than `STREAM_IDLE_SECONDS`.")
    INVALID_LLM_RESPONSE = "INVALID_LLM_RESPONSE", (_ERROR, "Letta could not read the model's answer.")
    INVALID_TOOL_CALL = "INVALID_TOOL_CALL", (_ERROR, "The model made an invalid tool call.")
    MAX_STEPS = "MAX_STEPS", (_ERROR, "The turn reached its maximum number of steps.")
    MAX_TOKENS_EXCEEDED = "MAX_TOKENS_EXCEEDED", (_ERROR, "The turn exceeded the model's token limit.")
    NO_TOOL_CALL = "NO_TOOL_CALL", (_ERROR, "The model did not call a tool, although a tool call was required.")
    STATE_MISSING = "STATE_MISSING", (_ERROR, "The agent exists in AMS, but not in Letta.")
    STATUS = "STATUS", (_ERROR, "The service answered with an unexpected HTTP status.")
    STOP_REASON = "STOP_REASON", (_ERROR, "Letta stopped the turn for a reason that the gateway does not know.")
    TOO_LARGE = "TOO_LARGE", (_ERROR, "The service's answer is too large.")
    TOTAL = (
        "TOTAL",
        (_TIMEOUT, "The service's answer was not complete in time. `LLM_TIMEOUT_SECONDS` sets a model's timeout."),
    )
