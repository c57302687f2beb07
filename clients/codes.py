"""The codes and reasons of errors: the values of ``code`` and ``reason`` that the gateway can answer with.

``docs/limits.md`` has them all; ``python -m app.bounds.page`` writes its table of reasons from this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """The values of ``extensions.code``."""

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


class Reason(StrEnum):
    """The values of ``extensions.reason``: the cause of an error, within its code.

    Attributes:
        meanings: what the reason means, for each code that it occurs with.
    """

    meanings: Mapping[ErrorCode, str]

    def __new__(cls, value: str, *meanings: tuple[ErrorCode, str]) -> Self:
        """Make a member from its value, and pairs of a code and a meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meanings = dict(meanings)
        return member

    # authentication and permissions
    TOKEN_MISSING = "TOKEN_MISSING", (_UNAUTHENTICATED, "The request has no bearer token.")
    TOKEN_INVALID = "TOKEN_INVALID", (_UNAUTHENTICATED, "The token, or a claim in it, is not valid.")
    TOKEN_EXPIRED = "TOKEN_EXPIRED", (_UNAUTHENTICATED, "The token has expired.")
    ANONYMOUS = "ANONYMOUS", (_FORBIDDEN, "The token is of an anonymous user, who has not signed up.")
    ROLE = "ROLE", (_FORBIDDEN, "The user's role does not allow the operation.")
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED", (_FORBIDDEN, "The user's key does not allow the model.")

    # the form of a request
    BODY_TIMEOUT = "BODY_TIMEOUT", (_INPUT, "The request's body did not arrive in time.")
    CONTAINERS = "CONTAINERS", (ErrorCode.PAYLOAD_TOO_LARGE, "The JSON has too many objects and arrays.")
    CONTENT_ENCODING = (
        "CONTENT_ENCODING",
        (_INPUT, "The body cannot be decoded, or its encoding is not supported (415)."),
    )
    JSON = "JSON", (_INPUT, "The body is not a JSON object.")
    REQUEST = "REQUEST", (_INPUT, "The request does not have the form of its protocol.")
    ROUTE = "ROUTE", (_NOT_FOUND, "The API has no such path.")
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER", (_INPUT, "The request has a parameter that the endpoint does not take.")

    # the content of a request
    ADDRESS = "ADDRESS", (_INPUT, "An address is not a public https URL, or none is allowed there.")
    CONTENT_FILTER = "CONTENT_FILTER", (_INPUT, "A content filter or guardrail of the model refused the content.")
    CONTEXT_LENGTH = "CONTEXT_LENGTH", (_INPUT, "The messages are longer than the model's context.")
    CURSOR = "CURSOR", (_INPUT, "The cursor does not belong to this list, stream or conversation.")
    CURSOR_EXPIRED = "CURSOR_EXPIRED", (_INPUT, "The turn of the cursor cannot be replayed any more.")
    DEFAULT_CONVERSATION = (
        "DEFAULT_CONVERSATION",
        (_INPUT, "A default conversation allows no change, fork or deletion."),
    )
    EMPTY = "EMPTY", (_INPUT, "A required text, list or change is empty.")
    IMAGE = "IMAGE", (_INPUT, "An image has neither a public https URL nor a data URL, or could not be fetched.")
    KEY = "KEY", (_INPUT, "A stream key or idempotency key is missing or not valid.")
    MESSAGE = "MESSAGE", (_INPUT, "A message's fields do not fit its role or each other.")
    MODEL = (
        "MODEL",
        (_INPUT, "The value is not the name of a model that can be used for this."),
        (_UNAVAILABLE, "The model's breaker is open: its calls keep failing."),
        (_ERROR, "The model failed, or its provider refused the call."),
    )
    NAME = "NAME", (_INPUT, "An agent's name is empty, too long, or has invalid characters.")
    NESTED = "NESTED", (_INPUT, "The input is nested too deeply.")
    NO_APPROVAL = "NO_APPROVAL", (_INPUT, "The message is not an approval request.")
    PAGING = "PAGING", (_INPUT, "The pagination arguments contradict each other, or the page is too large.")
    RANGE = "RANGE", (_INPUT, "A number, or the length of a list, is outside its range.")
    REPRESENTATION = "REPRESENTATION", (_INPUT, "A federation representation does not name an entity and its key.")
    RESPONSE_FORMAT = "RESPONSE_FORMAT", (_INPUT, "The response format is not valid.")
    SCHEMA = "SCHEMA", (_INPUT, "A JSON schema refers to another document.")
    STOP = "STOP", (_INPUT, "There are too many stop sequences, or one is empty.")
    TAG = "TAG", (_INPUT, "A tag is not valid or is reserved, or there are too many.")
    TEMPLATE_INVALID = "TEMPLATE_INVALID", (_INPUT, "AMS refused to publish the Agent File.")
    TEXT = "TEXT", (_INPUT, "A text is too long, or contains the character NUL.")
    TOO_LONG = "TOO_LONG", (_INPUT, "A message, passage, query, input, file or JSON value is too long.")
    TOO_MANY = "TOO_MANY", (_INPUT, "Too many objects are requested by id.")
    TOOLS = "TOOLS", (_INPUT, "A tool is not valid, or its type is not allowed.")
    TOOL_CHOICE = "TOOL_CHOICE", (_INPUT, "The tool choice does not name one of the tools.")
    VARIABLES = (
        "VARIABLES",
        (_INPUT, "A template's `variables` are not a JSON object, or are nested too deeply."),
        (_COMPLEX, "An operation declares too many variables."),
    )
    VARIABLES_INVALID = "VARIABLES_INVALID", (_INPUT, "The variables do not fit the template.")
    VERSION = "VERSION", (_INPUT, "The value is not a SemVer version.")
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND", (_NOT_FOUND, "The model does not exist.")

    # conflicts
    ANSWER_DROPPED = "ANSWER_DROPPED", (_CONFLICT, "The answer under this key was evicted from memory.")
    APPROVAL_PENDING = "APPROVAL_PENDING", (_CONFLICT, "The conversation waits for an approval.")
    CANCELLED = "CANCELLED", (_CONFLICT, "The stream was cancelled.")
    KEY_REUSED = "KEY_REUSED", (_CONFLICT, "The key was already used with different input.")
    LOCKED = "LOCKED", (_CONFLICT, "AMS or Letta has locked an object that the request needs: retry.")
    NO_MIGRATION_PATH = "NO_MIGRATION_PATH", (_CONFLICT, "No migrations lead from the agent's version to that version.")
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN", (_CONFLICT, "It is not known whether the service carried out the request.")
    RUN_BUSY = "RUN_BUSY", (_CONFLICT, "The conversation is busy with another run; `runId` names it if it is known.")
    VERSION_EXISTS = "VERSION_EXISTS", (_CONFLICT, "The template's version has been published before.")

    # rate limits, quotas and load
    BODIES = (
        "BODIES",
        (_LIMITED, "The user's request bodies use up the user's share of memory."),
        (_OVERLOADED, "The request bodies of all users use up the memory for them."),
    )
    BUSY = "BUSY", (_OVERLOADED, "Load shedding did not admit the request in time.")
    DRAINING = "DRAINING", (_OVERLOADED, "The gateway is stopping.")
    FOLLOWS = "FOLLOWS", (_LIMITED, "The user follows too many conversations at a time.")
    KEYS = (
        "KEYS",
        (_LIMITED, "The user has too many requests with idempotency keys under way, or answers kept under them."),
        (_OVERLOADED, "The answers of all users kept under idempotency keys use up the memory for them."),
    )
    MODEL_RATE_LIMIT = "MODEL_RATE_LIMIT", (_LIMITED, "The model's rate limit was reached during a turn.")
    OPERATIONS = (
        "OPERATIONS",
        (_LIMITED, "The WebSocket runs too many operations at a time."),
        (_COMPLEX, "The document has too many operations."),
    )
    RATE_LIMIT_GENERAL = "RATE_LIMIT_GENERAL", (_LIMITED, "The user's rate limit `GENERAL` is reached.")
    RATE_LIMIT_LLM = "RATE_LIMIT_LLM", (_LIMITED, "The user's rate limit `LLM` is reached.")
    RATE_LIMIT_PROXY = "RATE_LIMIT_PROXY", (_LIMITED, "The user's rate limit `PROXY` is reached.")
    READERS = "READERS", (_LIMITED, "The user reads too many streams at a time.")
    REQUESTS = (
        "REQUESTS",
        (_LIMITED, "The user, or the address, has too many requests under way."),
        (_OVERLOADED, "The gateway has too many requests under way."),
    )
    SOCKETS = (
        "SOCKETS",
        (_LIMITED, "The user has too many WebSockets open; the new one closes with 4429."),
        (_OVERLOADED, "The gateway has too many WebSockets open."),
    )
    STREAMS = (
        "STREAMS",
        (_LIMITED, "The user has too many streams running."),
        (_OVERLOADED, "The gateway has too many streams running."),
    )
    STREAM_MEMORY = (
        "STREAM_MEMORY",
        (_LIMITED, "The user's streams use up the user's share of memory."),
        (_OVERLOADED, "The streams of all users use up the memory for them."),
    )
    UNREAD = (
        "UNREAD",
        (_LIMITED, "The user does not read the answers on the user's WebSockets fast enough."),
        (_OVERLOADED, "Too much memory holds answers that clients have not read from their WebSockets."),
    )

    # the size of an operation
    ALIASES = "ALIASES", (_COMPLEX, "A field is requested under too many aliases.")
    ANSWER_SIZE = "ANSWER_SIZE", (_COMPLEX, "The response is larger than `MAX_ANSWER_BYTES`.")
    COST = "COST", (_COMPLEX, "The operation's cost is over `MAX_QUERY_COST`.")
    DEPTH = "DEPTH", (_COMPLEX, "The document is nested too deeply.")
    DIRECTIVES = "DIRECTIVES", (_COMPLEX, "One location of the document has too many directives.")
    ERRORS = "ERRORS", (_COMPLEX, "Too many fields failed.")
    FIELDS = "FIELDS", (_COMPLEX, "The operation has too many fields.")
    FRAGMENTS = "FRAGMENTS", (_COMPLEX, "The document has too many fragments.")
    INTROSPECTION = "INTROSPECTION", (_COMPLEX, "The introspection query requests too much.")
    SIZE = "SIZE", (_COMPLEX, "The document has too many tokens.")
    UPSTREAM_CALLS = "UPSTREAM_CALLS", (_COMPLEX, "The operation needs more than `MAX_UPSTREAM_CALLS` upstream calls.")

    # upstream failures
    BREAKER_OPEN = "BREAKER_OPEN", (_UNAVAILABLE, "The breaker of the service, or of one kind of call, is open.")
    BULKHEAD_FULL = "BULKHEAD_FULL", (_UNAVAILABLE, "Too many calls to the service are under way or queued.")
    CONNECT = "CONNECT", (_UNAVAILABLE, "The gateway cannot connect to the service.")
    CREDENTIAL = "CREDENTIAL", (_ERROR, "The service refused the gateway's credential, or no key is set up.")
    CUT = "CUT", (_ERROR, "The connection broke before the answer was complete.")
    DEADLINE = "DEADLINE", (_TIMEOUT, "The service did not answer within the deadline of the call.")
    DECODE = "DECODE", (_ERROR, "The service's answer cannot be decoded.")
    FIRST_TOKEN = "FIRST_TOKEN", (_TIMEOUT, "The model did not begin to answer in time.")
    IDLE = "IDLE", (_TIMEOUT, "The model stopped sending before the end of its answer.")
    INVALID_LLM_RESPONSE = "INVALID_LLM_RESPONSE", (_ERROR, "Letta could not read the model's answer.")
    INVALID_TOOL_CALL = "INVALID_TOOL_CALL", (_ERROR, "The model made a tool call that is not valid.")
    MAX_STEPS = "MAX_STEPS", (_ERROR, "The turn reached its maximum number of steps.")
    MAX_TOKENS_EXCEEDED = "MAX_TOKENS_EXCEEDED", (_ERROR, "The turn passed the model's token limit.")
    NO_TOOL_CALL = "NO_TOOL_CALL", (_ERROR, "The model did not call a tool although one was required.")
    STATE_MISSING = "STATE_MISSING", (_ERROR, "AMS has the agent, and Letta has no state for it.")
    STATUS = "STATUS", (_ERROR, "The service answered with an unexpected HTTP status.")
    STOP_REASON = "STOP_REASON", (_ERROR, "Letta stopped the turn for a reason that the gateway does not know.")
    TOO_LARGE = "TOO_LARGE", (_ERROR, "The service's answer is too large.")
    TOTAL = "TOTAL", (_TIMEOUT, "The answer was not complete in time.")
