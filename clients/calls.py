"""Types for calls to services, limits on calls, and services' answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol

import msgspec

from clients.breaker import BreakerState
from clients.codes import Reason
from clients.errors import QueryTooComplex, Service
from clients.origin import Origin

MAX_NAME = 200
"""The length, in characters, to which model names and ids are truncated.

The truncated names and ids distinguish the parts of a service.
"""


class CallBudget:
    """Counts and limits the upstream calls of one operation."""

    __slots__ = ("limit", "made")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.made = 0

    @property
    def is_spent(self) -> bool:
        """Whether the operation may make no further upstream call."""
        return self.made >= self.limit

    def spend(self) -> None:
        """Count the next upstream call.

        Raises QueryTooComplex (``UPSTREAM_CALLS``) if ``limit`` calls were already made.
        """
        if self.is_spent:
            raise QueryTooComplex(
                f"The operation needs more than {self.limit:,} upstream calls. Request smaller pages with "
                "`first` or `last`, or use several operations.",
                reason=Reason.UPSTREAM_CALLS,
            )
        self.made += 1


class CallScope(msgspec.Struct, frozen=True):
    """The request that causes upstream calls, and the deadline for those calls.

    Attributes:
        deadline: a value of ``time.monotonic()``, in seconds.
        timeout_reason: the error's reason if the deadline passes.
        origin: the request's origin, which selects the bulkhead.
        caller: the id of the user, who has a share of each bulkhead; empty for the gateway's own calls.
    """

    request_id: str
    deadline: float
    traceparent: str | None = None
    timeout_reason: Reason = Reason.DEADLINE
    origin: Origin = Origin.USER
    caller: str = ""
    budget: CallBudget | None = None


class AnswerSize(Enum):
    """The maximum size of a service's answer that is not streamed.

    Decoding takes up to a microsecond per JSON object.

    Attributes:
        share: the maximum size is ``UpstreamLimits.max_bytes`` divided by ``share``.
        objects, values: the maximum number of JSON objects, counted by braces, and of values, counted by commas.
    """

    RECORD = (8, 50_000, 1_000_000)
    LIST = (2, 200_000, 1_000_000)
    VECTORS = (1, 50_000, None)

    def __init__(self, share: int, objects: int, values: int | None) -> None:
        self.share = share
        self.objects = objects
        self.values = values


class Answer(msgspec.Struct, frozen=True):
    """A service's complete HTTP response. The header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamRejected(Exception):
    """A service refused a call. A ``Translation`` replaces this exception with another exception."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.body


Translation = Callable[[UpstreamRejected], Exception]
"""A function that converts a service's refusal to an exception."""


class _Target(msgspec.Struct, frozen=True):
    operation: str
    path: str
    method: str = "GET"


class Call(_Target, frozen=True, kw_only=True):
    """A description of an HTTP request to a service.

    Attributes:
        operation: the call's name in metrics, from a closed set.
        path: the path below the service's base URL, with ids that have been checked.
        json, content: the body, as a value to encode or as bytes.
        subject, model: the id of the call's object and the name of the call's model; empty if there is none.
        model_work: whether the call waits for a model. Such a call uses the bulkhead for model work, and its timeout
            does not count as a failure of the service.
        is_refusal: returns whether a 5xx answer only refuses the call, and reports no failure of the service.
        is_models_failure: returns whether a 5xx answer reports a failure of the model.
        refused: returns the error for a refusal, if the service's client does not choose the error.
        check: checks and returns a 2xx answer. If the answer contains an error, ``check`` returns the answer with the
            error's status. Raises UpstreamError (``DECODE``) for any other answer.
    """

    params: Sequence[tuple[str, str]] = ()
    json: object = None
    content: bytes | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    subject: str = ""
    model: str = ""
    size: AnswerSize = AnswerSize.LIST
    model_work: bool = False
    is_refusal: Callable[[Answer], bool] | None = None
    is_models_failure: Callable[[Answer], bool] | None = None
    refused: Translation | None = None
    check: Callable[[Answer], Answer] | None = None

    @property
    def is_read(self) -> bool:
        """Whether the call changes nothing, so that the gateway may repeat the call."""
        return self.method == "GET"

    @property
    def kind(self) -> str:
        """The model's name, or the operation's name if the call has no model."""
        return f"model:{self.model[:MAX_NAME]}" if self.model else self.operation

    @property
    def part(self) -> str:
        """The part of the service that the call uses, such as a model."""
        return f"{self.kind}:{self.subject[:MAX_NAME]}" if self.subject else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """Limits on calls to one service. All times are in seconds.

    Attributes:
        max_concurrent: limits concurrent calls that do not wait for a model.
        max_model_calls: limits concurrent calls that wait for a model, and separately the calls that serve Letta's
            requests to the gateway.
        fair: a timeout counts as a failure only if the service had this time to answer. A call is retried only if this
            time is left.
        write: the timeout to write one piece of a body.
        queue: how long a call waits in a queue from which no call is admitted.
        breaker_failures: the number of consecutive failures that opens a breaker.
        breaker_calls: the minimum number of calls in the breaker's window before the failure rate can open the breaker.
        slow: an answer that takes longer is slow, and counts in the failure rate. Models' answers are never slow.
        retry_share: the maximum number of retries, divided by the number of calls.
        backoff: the maximum random wait before the first retry. It doubles with each further retry.
    """

    max_concurrent: int = 256
    max_model_calls: int = 2000
    max_bytes: int = 32 * 1024 * 1024
    fair: float = 1.0
    connect: float = 5.0
    write: float = 10.0
    queue: float = 2.0
    breaker_failures: int = 5
    breaker_calls: int = 20
    breaker_window: float = 30.0
    breaker_reset: float = 10.0
    slow: float = 15.0
    retry_share: float = 0.1
    backoff: float = 0.1


def query_params(**values: str | int | None) -> list[tuple[str, str]]:
    """Convert arguments to query parameters. Arguments that are ``None`` or empty are omitted."""
    return [(name, str(value)) for name, value in values.items() if value not in {None, ""}]


class RetryCause(StrEnum):
    """Why the gateway repeats a call. The values are metric labels."""

    IDLE = "idle"
    """The service had closed an idle connection. Nothing failed, so the retry needs no budget and no wait."""
    CONNECT = "connect"
    """The gateway could not connect, so nothing was sent."""
    CUT = "cut"
    """The connection broke before the answer to a read was complete."""
    STATUS = "status"
    """The service answered a read with a 5xx status."""
    RATE_LIMIT = "rate_limit"
    """The service answered a read with status 429."""


class UpstreamObserver(Protocol):
    """Receives reports about upstream calls. An outcome is ok, rejected, error, timeout, unavailable or cancelled."""

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        """Report that a call has ended."""

    def call_retried(
        self, service: Service, operation: str, cause: RetryCause, wait_seconds: float, request_id: str
    ) -> None:
        """Report that the gateway repeats a call after ``wait_seconds``."""

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        """Report a circuit breaker's new state. ``part`` is ``None`` for the breaker of the whole service."""
