"""The audit log: one line for each mutation, started model call, failed sign-in and exceeded limit.

The lines contain ids, and never a token, key, name or text. An id that a client has sent is logged only if it cannot
contain anything else.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

from app.asgi import Disconnected
from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError, RateLimited, Unauthenticated
from clients.origin import Endpoint
from resolvers.context import RequestContext

WINDOW_SECONDS = 60.0
"""The interval in which failed sign-ins and exceeded limits are counted."""

MAX_LINES = 10
"""Maximum number of lines about one address or user, for each event, in one interval."""

MAX_SUBJECTS = 1000
"""Maximum number of addresses and users with separate lines in one interval. Further ones share ``MAX_LINES``."""

OTHERS = "others"
"""The address or user of lines about further addresses or users."""

HIDDEN = "(hidden)"
"""Replaces an id that could be another text."""

_ID = re.compile(r"[A-Za-z0-9._:@/+-]{1,128}")
_CERTAIN_ID = re.compile(r"(?:[a-z]{1,16}[:-]){0,2}[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that can be nothing else, even if no object with this id exists: prefixes and a UUID."""

_ADDRESS = re.compile(r"[A-Za-z0-9.:%_-]{1,64}")


class Event(StrEnum):
    """The kinds of lines."""

    MUTATION = "mutation"
    SUBSCRIPTION = "subscription"
    """A subscription that starts a turn or a completion."""
    MODEL_CALL = "model call"
    """A request to ``/v1`` or to the agents' proxy that calls a model."""
    SIGN_IN_FAILED = "sign-in failed"
    LIMIT = "limit"
    SUPPRESSED = "suppressed"
    """The number of lines that were not written, because there were too many about one address or user."""


class Outcome(StrEnum):
    """How an act ended."""

    OK = "ok"
    USER_ERROR = "user error"
    """The mutation's payload has ``errors``."""
    ERROR = "error"
    CANCELLED = "cancelled"
    """The client disconnected, or the gateway stopped, before there was a result."""


@dataclass(slots=True)
class Act:
    """An act that is logged with its outcome.

    Attributes:
        name: the root field, or the template of the path.
        objects: the ids of the objects that the act concerns, by name.
        error: the type of the user error, or the error's code.
    """

    event: Event
    name: str
    objects: dict[str, str] = field(default_factory=dict)
    outcome: Outcome = Outcome.CANCELLED
    error: str | None = None
    reason: Reason | None = None
    replayed: bool = False
    milliseconds: float | None = None
    _began: float = field(default_factory=time.perf_counter)

    def succeeded(self, objects: Mapping[str, str], *, replayed: bool = False) -> None:
        """Record a success. ``replayed`` is true if an earlier request with the same key has done the act."""
        self.outcome, self.error, self.reason = Outcome.OK, None, None
        self.milliseconds = self.elapsed()
        if objects:
            known = set(self.objects.values())
            self.objects |= {name: one for name, one in objects.items() if one not in known}
        self.replayed = replayed

    def refused(self, user_error: str) -> None:
        """Record a failure that the user can resolve, by its GraphQL type."""
        self._ended(Outcome.USER_ERROR, user_error)

    def failed(self, code: str, reason: Reason | None = None) -> None:
        """Record an error."""
        self._ended(Outcome.ERROR, code)
        self.reason = reason

    def shown(self) -> dict[str, str]:
        """Return the ids that can be logged."""
        pattern = _ID if self.outcome is Outcome.OK else _CERTAIN_ID
        return {name: one if pattern.fullmatch(one) else HIDDEN for name, one in self.objects.items()}

    def elapsed(self) -> float:
        """Return the time since the act began, in milliseconds."""
        return round((time.perf_counter() - self._began) * 1000, 1)

    def _ended(self, outcome: Outcome, error: str | None = None) -> None:
        self.outcome, self.error, self.reason = outcome, error, None
        self.milliseconds = self.elapsed()


class Trail:
    """Logs one act once: with its success, its error, or the end of the context without either.

    It is a class with slots, because every stream has one.

    Args:
        act: the act; ``None`` to log nothing until ``begin``.
    """

    __slots__ = ("_act", "_audit", "_context")

    def __init__(self, audit: AuditTrail, context: RequestContext, act: Act | None = None) -> None:
        self._audit = audit
        self._context = context
        self._act = act

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if isinstance(error, GatewayError):
            self.failed(error.code, error.reason)
        elif isinstance(error, Exception) and not isinstance(error, Disconnected):
            self.failed(ErrorCode.INTERNAL_ERROR)
        self._log()

    def begin(self, act: Act) -> None:
        """Begin the act."""
        self._act = act

    def succeeded(self, objects: Mapping[str, str], *, replayed: bool = False) -> None:
        """Log a success. For the arguments see ``Act.succeeded``."""
        if self._act is not None:
            self._act.succeeded(objects, replayed=replayed)
            self._log()

    def failed(self, code: str, reason: Reason | None = None) -> None:
        """Log an error."""
        if self._act is not None:
            self._act.failed(code, reason)
            self._log()

    def _log(self) -> None:
        if self._act is not None:
            self._audit.acted(self._act, self._context)
            self._act = None


class Sender(NamedTuple):
    """The sender of a request that was refused.

    Attributes:
        network: the part of the address that ``Owner.id`` names.
        user: the user's id, if the request is authenticated.
    """

    endpoint: Endpoint
    request_id: str
    address: str
    network: str
    user: str | None = None


class AuditTrail:
    """Writes the audit log.

    Args:
        log: a logger of ``telemetry.make_logger``.
        window: the interval in which repeated events are counted, in seconds.
    """

    def __init__(self, log: Any, window: float = WINDOW_SECONDS) -> None:
        self._log = log.bind(logger="audit")
        self._window = window
        self._counts: dict[tuple[Event, str], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def acted(self, act: Act, context: RequestContext) -> None:
        """Log an act of a signed-in user."""
        principal = context.principal
        more: dict[str, Any] = {}
        if act.error is not None:
            more["error"] = act.error
        if act.reason is not None:
            more["reason"] = act.reason
        if act.replayed:
            more["replayed"] = True
        self._log.info(
            str(act.event),
            name=act.name,
            user=principal.user_id,
            role=principal.role,
            objects=act.shown(),
            outcome=act.outcome,
            **more,
            ms=act.elapsed() if act.milliseconds is None else act.milliseconds,
            endpoint=context.endpoint,
            request_id=context.request_id,
        )

    def refused(self, error: BaseException | None, sender: Sender) -> None:
        """Log a refused request, if its sign-in failed or if it exceeds a limit of its user or address."""
        if isinstance(error, Unauthenticated) or getattr(error, "reason", None) is Reason.ANONYMOUS:
            self.sign_in_failed(getattr(error, "reason", None) or ErrorCode.UNAUTHENTICATED, sender)
        elif isinstance(error, RateLimited):
            self.limit_exceeded(error, sender.user or sender.network, lambda: sender)

    def limit_exceeded(self, error: RateLimited, owner: str, sender: Callable[[], Sender]) -> None:
        """Log a refused request like ``refused``. During a flood, do not find out the sender.

        Args:
            error: the exceeded limit.
            owner: the user or network that exceeds the limit.
            sender: returns the sender of the request.
        """
        if self._is_written(Event.LIMIT, owner):
            found = sender()
            who = {"address": _address(found.address)} if found.user is None else {"user": found.user}
            self._log_limit(error, who, found.endpoint, found.request_id)

    def sign_in_failed(self, reason: str, sender: Sender) -> None:
        """Log a failed sign-in."""
        if self._is_written(Event.SIGN_IN_FAILED, sender.network):
            self._log.warning(
                Event.SIGN_IN_FAILED.value,
                reason=reason,
                address=_address(sender.address),
                endpoint=sender.endpoint.value,
                request_id=sender.request_id,
            )

    def limited(self, error: Exception | None, context: RequestContext) -> None:
        """Log an operation's error, if it says that the user has exceeded a limit."""
        if isinstance(error, RateLimited):
            user = context.principal.user_id
            if self._is_written(Event.LIMIT, user):
                self._log_limit(error, {"user": user}, context.endpoint, context.request_id)

    def flush(self) -> None:
        """Log how many lines were suppressed, and begin a new interval."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, {}
        for (event, subject), count in counts.items():
            if count > MAX_LINES:
                self._log.warning(
                    Event.SUPPRESSED.value, suppressed=event.value, subject=_address(subject), lines=count - MAX_LINES
                )

    def _log_limit(self, error: GatewayError, who: dict[str, str], endpoint: Endpoint, request_id: str) -> None:
        limit = error.reason or error.code.value
        self._log.warning(Event.LIMIT.value, limit=limit, **who, endpoint=endpoint.value, request_id=request_id)

    def _is_written(self, event: Event, subject: str) -> bool:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window, self.flush)
        if (event, subject) not in self._counts and len(self._counts) >= MAX_SUBJECTS:
            subject = OTHERS
        count = self._counts[event, subject] = self._counts.get((event, subject), 0) + 1
        return count <= MAX_LINES


def _address(text: str) -> str:
    """Return an address as it is logged. A proxy can report any text as the client's address."""
    return text if _ADDRESS.fullmatch(text) else HIDDEN
