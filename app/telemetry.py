"""The process's metrics and logs. Metric labels have fixed sets of values. Logs contain no secrets or prompts."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.audit import AuditTrail
from app.tracebacks import summary, with_traceback
from clients.breaker import BreakerState
from clients.breakers import Breakers
from clients.calls import RetryCause
from clients.errors import Service
from resolvers.limits import LimitKind

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


_SIGN_IN = "sign_in"


def make_logger(level: str, out: TextIO | None = None) -> Any:
    """Return a logger that writes one JSON object per line."""
    return json_logger(_Lines(out or sys.stdout), level)


class _Lines:
    """Writes log lines. If lines cannot be written, requests do not fail, and one line goes to the standard error."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._has_failed = False

    def msg(self, line: str) -> None:
        try:
            self._out.write(f"{line}\n")
            self._out.flush()
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                with contextlib.suppress(OSError):
                    sys.stderr.write(f"agentgraph: the log cannot be written: {error.strerror}\n")
                    sys.stderr.flush()

    debug = info = warning = error = critical = msg


def json_logger(logger: Any, level: str) -> Any:
    """Return a logger that passes one JSON object per line to another logger."""
    return structlog.wrap_logger(
        logger,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            with_traceback,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )


def _json(value: Any, **_: Any) -> str:
    """Encode a log line with ``json``. orjson refuses text with half of a surrogate pair."""
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:
        return json.dumps(value, default=str)


def log_everything(log: Any) -> None:
    """Write library logs, Python warnings and uncaught exceptions to the JSON log."""
    logging.basicConfig(handlers=[LogHandler(log)], level=logging.WARNING)
    logging.captureWarnings(capture=True)

    def unraisable(fault: sys.UnraisableHookArgs) -> None:
        where = getattr(fault.object, "__qualname__", type(fault.object).__qualname__)  # a repr can contain values
        log.error("unraisable", message=fault.err_msg, where=where, exc_info=fault.exc_value)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.error("uncaught", exc_info=(kind, error, trace))

    def in_thread(fault: threading.ExceptHookArgs) -> None:
        log.error("uncaught", exc_info=fault.exc_value)

    sys.unraisablehook, sys.excepthook, threading.excepthook = unraisable, uncaught, in_thread


class LogHandler(logging.Handler):
    """Writes the records of Python's ``logging`` to the JSON log."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a log record to the JSON log."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a bug in the library's log call
            message = f"{record.msg} ({summary(error)})"
        if record.name == "asyncio":  # further lines have the representation of a task and of its exception
            message = message.partition("\n")[0]
        getattr(self._log, level)("library", logger=record.name, message=message, exc_info=record.exc_info)


class _UpstreamMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        call = ["service", "operation"]
        self.calls = counter("agentgraph_upstream_calls", "Upstream calls by outcome.", [*call, "outcome"])
        self.seconds = Histogram(
            "agentgraph_upstream_seconds",
            "Duration of upstream calls, in seconds.",
            call,
            buckets=_BUCKETS,
            registry=registry,
        )
        text = "State of the breaker for all calls to a service."
        self.breaker = Gauge("agentgraph_breaker", text, ["service", "agentgraph_breaker"], registry=registry)
        text = "Number of open breakers for single models and kinds of call of a service."
        self.open_parts = Gauge("agentgraph_open_part_breakers", text, ["service"], registry=registry)
        text = "Repeated upstream calls, by the cause."
        self.retries = counter("agentgraph_upstream_retries", text, [*call, "cause"])
        for service in (Service.AMS, Service.LETTA, Service.LITELLM, Service.SUPABASE):
            for state in BreakerState:
                self.breaker.labels(service.value, state.value).set(state is BreakerState.CLOSED)


def _is_in(breakers: Breakers, state: BreakerState) -> bool:
    return breakers.service_state is state


class Telemetry:
    """The process's metrics and logs. Implements the protocols through which ``resolvers`` and ``clients`` report.

    The audit log is written to ``audit_log``, or to ``log`` if no other logger is given.
    """

    def __init__(self, log: Any, audit_log: Any = None) -> None:
        self.log = log
        self.audit = AuditTrail(audit_log or log)
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        self._requests = counter("agentgraph_requests", "Requests answered.", ["route", "method", "status"])
        self._operations = counter("agentgraph_operations", "GraphQL operations.", ["type", "outcome"])
        self._limited = counter("agentgraph_rate_limited", "Requests over a rate limit.", ["limit"])
        text = "Requests that load shedding refused, by reason."
        self._shed = counter("agentgraph_requests_shed", text, ["reason"])
        self._shed_for: dict[str, Counter] = {}
        self._streams = counter("agentgraph_streams", "Ended streams.", ["kind", "outcome"])
        self._tokens = counter("agentgraph_tokens", "Models' input and output tokens.", ["kind", "direction"])
        text = "Upstream stream events that are not JSON objects."
        self._unreadable = counter("agentgraph_unreadable_events", text, ["kind"])
        self._upstreams = _UpstreamMetrics(self.registry)
        seconds = partial(Histogram, buckets=_BUCKETS, registry=self.registry)
        self._request_seconds = seconds(
            "agentgraph_request_seconds", "Time to an answer's last byte, in seconds.", ["route"]
        )
        self._first = seconds("agentgraph_first_token_seconds", "Time to the first token, in seconds.", ["kind"])
        text = "Time between two frames of an answer, in seconds."
        self._gaps = seconds("agentgraph_frame_gap_seconds", text, ["kind"])
        self._gap: dict[str, Histogram] = {}
        lag = partial(Histogram, buckets=_LAG_BUCKETS, registry=self.registry)
        self._lag = lag("agentgraph_loop_lag_seconds", "Delay of a due timer in the event loop, in seconds.")
        text = "Delay in the event loop that the gateway's own code caused, in seconds."
        self._held = lag("agentgraph_loop_held_seconds", text)
        self._collections = lag("agentgraph_gc_seconds", "Duration of full garbage collections, in seconds.")
        self._failed_sign_ins = counter("agentgraph_sign_in_failures", "Failed sign-ins, by reason.", ["reason"])
        for limit in (*LimitKind, _SIGN_IN):
            self._limited.labels(limit)

    def announce(self, event: str, text: str, *, level: str = "info", **facts: Any) -> None:
        """Write a log entry. If standard error is a terminal, also print ``text`` to standard error."""
        getattr(self.log, level)(event, message=text, **facts)
        if sys.stderr.isatty():
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format. Call this method in a thread, because formatting is slow."""
        return generate_latest(self.registry)

    def request_ended(
        self, route: str, method: str, status: int, seconds: float, request_id: str, refused: str | None = None
    ) -> None:
        """Record that a request was answered. If the request was refused, ``refused`` is the error code."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        more = {} if refused is None else {"refused": refused}
        milliseconds = round(seconds * 1000, 1)
        self.log.info(
            "request", route=route, method=method, status=status, ms=milliseconds, request_id=request_id, **more
        )

    def request_shed(self, reason: str) -> None:
        """Record that load shedding refused a request."""
        counter = self._shed_for.get(reason)  # finding a label's counter takes longer than adding to it
        if counter is None:
            counter = self._shed_for[reason] = self._shed.labels(reason)
        counter.inc()

    def operation_ended(self, kind: str, outcome: str) -> None:
        """Record the end of a GraphQL operation."""
        self._operations.labels(kind, outcome).inc()

    def request_refused(self, limit: LimitKind) -> None:
        """Record that a rate limit refused a request."""
        self._limited.labels(limit.value).inc()

    def sign_in_failed(self, reason: str) -> None:
        """Record that a request had no valid token."""
        self._failed_sign_ins.labels(reason).inc()

    def sign_in_refused(self) -> None:
        """Record that a sign-in was refused, because too many sign-ins from its address have failed."""
        self._limited.labels(_SIGN_IN).inc()

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        """Record the end of an upstream call."""
        self._upstreams.calls.labels(service.value, operation, outcome).inc()
        self._upstreams.seconds.labels(service.value, operation).observe(seconds)
        self.log.info(
            "upstream",
            service=service.value,
            operation=operation,
            outcome=outcome,
            status=status,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
        )

    def call_retried(
        self, service: Service, operation: str, cause: RetryCause, wait_seconds: float, request_id: str
    ) -> None:
        """Record that the gateway repeats an upstream call."""
        self._upstreams.retries.labels(service.value, operation, cause.value).inc()
        self.log.info(
            "upstream retried",
            service=service.value,
            operation=operation,
            cause=cause.value,
            wait_ms=round(wait_seconds * 1000, 1),
            request_id=request_id,
        )

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        """Log the new state of a service's circuit breaker: closed, open or half-open.

        If ``part`` is given, the breaker belongs to a part of the service, such as a model.
        """
        self.log.warning("breaker", service=service.value, part=part, state=state.value)

    def watch_breakers(self, service: Service, breakers: Breakers) -> None:
        """Add metrics for the state of a service's breaker, and for the service's parts with an open breaker."""
        for state in BreakerState:
            self._upstreams.breaker.labels(service.value, state.value).set_function(partial(_is_in, breakers, state))
        self._upstreams.open_parts.labels(service.value).set_function(breakers.open_parts)

    def watch_streams(self, memory: Callable[[], int]) -> None:
        """Add a metric for the memory of streams, in bytes. ``memory`` must be thread-safe."""
        text = "Estimated memory of running and retained streams, in bytes."
        Gauge("agentgraph_stream_memory_bytes", text, registry=self.registry).set_function(memory)

    def watch_slots(self, in_use: Mapping[str, Callable[[], int]], body_bytes: Callable[[], int]) -> None:
        """Add metrics for the slots in use and the total size of request bodies.

        All passed functions must be thread-safe.

        Args:
            in_use: functions that return the number of slots in use, by kind.
            body_bytes: returns the bytes of bodies and messages in memory.
        """
        text = "Slots of requests and streams in use, by kind."
        slots = Gauge("agentgraph_slots_in_use", text, ["kind"], registry=self.registry)
        for kind, count in in_use.items():
            slots.labels(kind).set_function(count)
        text = "Size of the bodies and WebSocket messages of requests in progress, in bytes."
        Gauge("agentgraph_body_bytes", text, registry=self.registry).set_function(body_bytes)

    def stream_started(self, kind: str) -> None:
        """Record the start of a stream."""
        self.log.debug("stream started", kind=kind)

    def stream_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Record the end of a stream."""
        self._streams.labels(kind, outcome).inc()
        self.log.info("stream", kind=kind, outcome=outcome, ms=round(seconds * 1000, 1))

    def tokens_used(self, kind: str, prompt: int | None, completion: int | None) -> None:
        """Record a model call's numbers of input and output tokens."""
        self._tokens.labels(kind, "in").inc(prompt or 0)
        self._tokens.labels(kind, "out").inc(completion or 0)

    def event_unreadable(self, kind: str) -> None:
        """Record that a stream event from a service was not a JSON object. Do not log the event's content."""
        self._unreadable.labels(kind).inc()
        self.log.warning("unreadable event", kind=kind)

    def source_broke(self, kind: str, error: Exception) -> None:
        """Log the traceback of an internal error in a stream."""
        self.log.error("internal error", kind=kind, exc_info=error)

    def first_token(self, kind: str, seconds: float) -> None:
        """Record the time from a stream's start to the stream's first token."""
        self._first.labels(kind).observe(seconds)

    def next_frame(self, kind: str, seconds: float) -> None:
        """Record the time between two frames of a stream."""
        gap = self._gap.get(kind)
        if gap is None:
            gap = self._gap[kind] = self._gaps.labels(kind)
        gap.observe(seconds)

    def loop_measured(self, late: float, held: float) -> None:
        """Record that the event loop was ``late`` seconds late. The process itself caused ``held`` of these seconds."""
        self._lag.observe(late)
        self._held.observe(held)

    def collected(self, seconds: float) -> None:
        """Record the duration of a full garbage collection, in seconds."""
        self._collections.observe(seconds)
