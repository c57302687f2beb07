"""The types of upstream calls: scope, call, answer, limits and observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Protocol

import msgspec

from clients.breaker import BreakerState
from clients.codes import Reason
from clients.errors import QueryTooComplex, Service
from clients.origin import Origin

MAX_NAME = 200
"""The characters of a model's name or an id that distinguish parts of a service."""


class CallBudget:
    """The number of calls that one operation has made, and the most it may make."""

    __slots__ = ("limit", "made")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.made = 0

    def spend(self) -> None:
        """Count a call before it is made. Raises QueryTooComplex (``UPSTREAM_CALLS``) for one too many."""
        if self.made >= self.limit:
            raise QueryTooComplex(
                f"The operation needs more than {self.limit:,} upstream calls. Request smaller pages "
                "(`first`, `last`), or use several operations.",
                reason=Reason.UPSTREAM_CALLS,
            )
        self.made += 1


@dataclass(frozen=True, slots=True)
class CallScope:
    """On whose behalf, and until when, calls are made.

    Attributes:
        deadline: a ``time.monotonic()`` in seconds.
        timeout_reason: the reason of the error if the deadline passes.
        origin: of the request that the call serves; it selects the bulkhead.
        caller: the user, who has a share of each bulkhead; empty for the process's own calls.
    """

    request_id: str
    deadline: float
    traceparent: str | None = None
    timeout_reason: Reason = Reason.DEADLINE
    origin: Origin = Origin.USER
    caller: str = ""
    budget: CallBudget | None = None


class AnswerSize(Enum):
    """The bounds on a whole answer.

    Attributes:
        share: the most bytes are ``UpstreamLimits.max_bytes`` divided by this.
        objects, values: the most, counted by braces and commas. An object takes up to a microsecond to decode.
    """

    RECORD = (8, 50_000, 1_000_000)
    LIST = (2, 200_000, 1_000_000)
    VECTORS = (1, 50_000, None)

    def __init__(self, share: int, objects: int, values: int | None) -> None:
        self.share = share
        self.objects = objects
        self.values = values


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a service.

    Attributes:
        operation: its name in metrics, from a closed set.
        path: from the service's base URL; ids in it have been checked.
        json: a body to encode; ``content`` is a body in bytes.
        subject, model: the id of the object, and the name of the model, that it concerns, or empty.
        model_work: whether it waits for a model. Such calls have a bulkhead of their own, and a timeout of one does not
            count as a failure of the service.
        is_refusal: whether a 5xx refuses this call and does not report a failure of the service.
        is_models_failure: whether a 5xx reports a failure of the model.
        refused: the error for a refusal of this call; by default that of the service's other calls.
        check: checks an answer with a 2xx status and returns it, or another answer if it is an error with a 2xx status.
            Raises UpstreamError (``DECODE``) if it is not an answer to this call.
    """

    operation: str
    path: str
    method: str = "GET"
    _: KW_ONLY
    params: Sequence[tuple[str, str]] = ()
    json: object = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    model: str = ""
    size: AnswerSize = AnswerSize.LIST
    model_work: bool = False
    is_refusal: Callable[[Answer], bool] | None = None
    is_models_failure: Callable[[Answer], bool] | None = None
    refused: Translation | None = None
    check: Callable[[Answer], Answer] | None = None

    @property
    def kind(self) -> str:
        """The kind of call: its model in any operation, or its operation."""
        return f"model:{self.model[:MAX_NAME]}" if self.model else self.operation

    @property
    def part(self) -> str:
        """The part of the service that this call concerns: its kind, on its subject."""
        return f"{self.kind}:{self.subject[:MAX_NAME]}" if self.subject else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """Bounds on calls to one service. Times are in seconds.

    Attributes:
        max_concurrent: slots for calls that wait for no model; ``max_letta_calls`` for calls in requests of Letta.
        fair: a timeout counts as a failure if the service had at least this long.
        write: to write one piece of a body.
        queue: how long a call queues while no other call of its caller is admitted.
        breaker_failures: the least failures, and half of all calls at least, that open a breaker.
    """

    max_concurrent: int = 256
    max_model_calls: int = 1024
    max_letta_calls: int = 1024
    max_bytes: int = 32 * 1024 * 1024
    fair: float = 1.0
    connect: float = 5.0
    write: float = 10.0
    queue: float = 2.0
    breaker_failures: int = 5
    breaker_window: float = 30.0
    breaker_reset: float = 10.0


class UpstreamObserver(Protocol):
    """Receives a report of every call. Outcomes: ok, rejected, error, timeout, unavailable, cancelled."""

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        """One call ended."""

    def call_repeated(self, service: Service, operation: str, request_id: str) -> None:
        """A read is sent again, since its idle connection had been closed."""

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        """The breaker of a service, or of a part of it, changed its state."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamRejected(Exception):
    """The service refused this call. ``Upstream`` raises the error that the call's ``Translation`` makes of it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.body


Translation = Callable[[UpstreamRejected], Exception]
"""Makes the error that a refusal means: a GatewayError, or an exception that the service's client handles."""
