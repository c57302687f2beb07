"""The vocabulary of upstream calls: for whom, within what bounds, with what answer, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import msgspec

from clients.breaker import BreakerState
from clients.codes import Reason
from clients.errors import QueryTooComplex, Service

MAX_NAME = 200
"""How many characters of a model's name or an id tell parts of a service apart."""


class CallBudget:
    """How many calls one operation has made, and how many it may make."""

    __slots__ = ("limit", "made")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.made = 0

    def spend(self) -> None:
        """Count a call before it is made.

        Raises:
            QueryTooComplex: reason ``UPSTREAM_CALLS``, where it would be one too many. It is not made.
        """
        if self.made >= self.limit:
            raise QueryTooComplex(
                f"The operation needs more than {self.limit:,} upstream calls. Request smaller pages "
                "(`first`, `last`), or use several operations.",
                reason=Reason.UPSTREAM_CALLS,
            )
        self.made += 1


@dataclass(frozen=True, slots=True)
class CallScope:
    """For whom a call is made. ``deadline`` is a ``time.monotonic()`` in seconds; ``clock`` is the reason it gives.

    A call is ``returning`` where a service behind the gateway has come back to it: Letta, for a turn that already holds
    a slot. It has a bulkhead of its own, so that those who wait for it never stand in its way. ``caller`` is the user
    for whom it is made, who has a share of each bulkhead; it is empty for the process's own calls. ``budget`` counts
    the calls of one operation.
    """

    request_id: str
    deadline: float
    traceparent: str | None = None
    clock: Reason = Reason.DEADLINE
    returning: bool = False
    caller: str = ""
    budget: CallBudget | None = None


class AnswerSize(Enum):
    """How large a whole answer may be.

    Attributes:
        share: it may have ``UpstreamLimits.max_bytes`` divided by this.
        objects: how many objects it may have, counted by their braces; decoding takes up to a microsecond for each.
        values: how many values it may have, counted by their commas; ``None`` if any number.
    """

    RECORD = (8, 50_000, 1_000_000)
    LIST = (2, 200_000, 1_000_000)
    VECTORS = (1, 50_000, None)

    def __init__(self, share: int, objects: int, values: int | None) -> None:
        self.share = share
        self.objects = objects
        self.values = values


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of a service.

    Attributes:
        operation: its name in metrics, from a closed set.
        path: from the service's base URL; ids in it have been checked.
        json: a body to encode; ``content`` is one that is bytes already.
        subject: the id of what it is about (an agent, a conversation, a run, a template); empty where it is about none.
        model: the name of the model that it is about; empty where it is about none.
        size: how large its answer may be.
        model_work: whether it waits for a model. It has a bulkhead of its own, and when its time runs out that says
            nothing of the service.
        is_refusal: tells a 5xx that is about this call from one that is about the service.
        is_models_failure: tells a 5xx by which the service reports that the model has failed.
        check: looks at an answer of 2xx: answers it, or what it is in truth where it is an error under a 2xx. Raises
            UpstreamError (DECODE) for one that lacks what makes it an answer to this call.
    """

    operation: str
    method: str = "GET"
    path: str
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
    check: Callable[[Answer], Answer] | None = None

    @property
    def kind(self) -> str:
        """The kind of call: its model, whichever way that is called, or its operation."""
        return f"model:{self.model[:MAX_NAME]}" if self.model else self.operation

    @property
    def part(self) -> str:
        """The part of the service that fails where this call does: this kind of call, on its subject."""
        return f"{self.kind}:{self.subject[:MAX_NAME]}" if self.subject else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """Bounds on calls to one service. Times in seconds.

    The first three are the sizes of the bulkheads, of which one caller gets a quarter at most. ``queue`` is how long a
    call waits for a place while none of its caller's is let in, ``write`` how long a piece of its body may take.
    ``max_bytes`` is the largest answer that is read whole; see ``AnswerSize``.
    ``fair`` is how long a service must have had before its silence counts against it. A breaker opens for
    ``breaker_reset`` when at least ``breaker_failures`` calls, and at least half of all, failed in ``breaker_window``.
    """

    max_concurrent: int = 256
    max_model_calls: int = 1024
    max_returning: int = 1024
    max_bytes: int = 32 * 1024 * 1024
    fair: float = 1.0
    connect: float = 5.0
    write: float = 10.0
    queue: float = 2.0
    breaker_failures: int = 5
    breaker_window: float = 30.0
    breaker_reset: float = 10.0

    @property
    def connections(self) -> int:
        """How many a transport needs: for every bulkhead, and some to ask whether the service is there."""
        return self.max_concurrent + self.max_model_calls + self.max_returning + 16


class UpstreamObserver(Protocol):
    """Who is told of every call. ``outcome``: ok, rejected, error, timeout, unavailable, cancelled."""

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        """One call ended."""

    def call_repeated(self, service: Service, operation: str, request_id: str) -> None:
        """A read is sent once more, since the idle connection that it was sent over had been closed."""

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        """The breaker of a service, or of a part of it, changed its state."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamRejected(Exception):
    """The service refused this call. Its client says what that means; this must never reach a door."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.body
