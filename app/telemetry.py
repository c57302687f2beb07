"""The process's metrics and log lines. Metric labels have fixed sets of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.audit import AuditTrail
from app.logs import announce
from app.tallies import Spread, Tally
from app.upstream_calls import BUCKETS, UpstreamCalls
from clients.breaker import BreakerState
from clients.breakers import Breakers
from clients.calls import RetryCause
from clients.errors import Service
from resolvers.limits import LimitKind

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


_SIGN_IN = "sign_in"


class Telemetry:
    """The process's metrics and logs. Implements the protocols through which ``resolvers`` and ``clients`` report.

    The audit log is written to ``audit_log``, or to ``log`` if no other logger is given.
    """

    def __init__(self, log: Any, audit_log: Any = None) -> None:
        self.log = log
        self.audit = AuditTrail(audit_log or log)
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        labels = ["route", "method", "status"]
        self._requests = Tally[tuple[str, str, str]]("agentgraph_requests", "Requests answered.", labels, self.registry)
        self._operations = counter("agentgraph_operations", "GraphQL operations.", ["type", "outcome"])
        self._limited = counter("agentgraph_rate_limited", "Requests over a rate limit.", ["limit"])
        text = "Requests that load shedding refused, by reason."
        self._shed = counter("agentgraph_requests_shed", text, ["reason"])
        self._shed_for: dict[str, Counter] = {}
        labels = ["kind", "outcome"]
        self._streams = Tally[tuple[str, str]]("agentgraph_streams", "Ended streams.", labels, self.registry)
        text = "Models' input and output tokens."
        self._tokens = Tally[tuple[str, str]]("agentgraph_tokens", text, ["kind", "direction"], self.registry)
        text = "Upstream stream events that are not JSON objects."
        self._unreadable = counter("agentgraph_unreadable_events", text, ["kind"])
        self._upstreams = UpstreamCalls(self.registry, log)
        name, text = "agentgraph_request_seconds", "Time to an answer's last byte, in seconds."
        self._request_seconds = Spread[tuple[str]](name, text, ["route"], BUCKETS, self.registry)
        name, text = "agentgraph_first_token_seconds", "Time to the first token, in seconds."
        self._first = Spread[tuple[str]](name, text, ["kind"], BUCKETS, self.registry)
        text = "Time between two frames of an answer, in seconds."
        self._gaps = Spread[tuple[str]]("agentgraph_frame_gap_seconds", text, ["kind"], BUCKETS, self.registry)
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
        announce(self.log, event, text, level=level, **facts)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format. Call this method in a thread, because formatting is slow."""
        return generate_latest(self.registry)

    def request_began(self, request_id: str) -> None:
        """Record that a request has arrived, whose line in the log contains its upstream calls."""
        self._upstreams.begin(request_id)

    def request_ended(
        self, route: str, method: str, status: int, seconds: float, request_id: str, refused: str | None = None
    ) -> None:
        """Record that a request was answered. If the request was refused, ``refused`` is the error code."""
        self._requests.add((route, method, str(status)))
        self._request_seconds.add((route,), seconds)
        line = {"route": route, "method": method, "status": status, "ms": round(seconds * 1000, 1)}
        line["request_id"] = request_id
        if (calls := self._upstreams.end(request_id)) is not None:
            line["upstream"] = calls
        if refused is not None:
            line["refused"] = refused
        self.log.info("request", **line)

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
        self._upstreams.ended(service, operation, outcome, seconds, status, request_id)

    def call_retried(
        self, service: Service, operation: str, cause: RetryCause, wait_seconds: float, request_id: str
    ) -> None:
        """Record that the gateway repeats an upstream call."""
        self._upstreams.retried(service, operation, cause, wait_seconds, request_id)

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        """Log the new state of a service's circuit breaker: closed, open or half-open.

        If ``part`` is given, the breaker belongs to a part of the service, such as a model.
        """
        self.log.warning("breaker", service=service.value, part=part, state=state.value)

    def watch_breakers(self, service: Service, breakers: Breakers) -> None:
        """Add metrics for the state of a service's breaker, and for the service's parts with an open breaker."""
        self._upstreams.watch_breakers(service, breakers)

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
        self._streams.add((kind, outcome))
        self.log.info("stream", kind=kind, outcome=outcome, ms=round(seconds * 1000, 1))

    def tokens_used(self, kind: str, prompt: int | None, completion: int | None) -> None:
        """Record a model call's numbers of input and output tokens."""
        self._tokens.add((kind, "in"), prompt or 0)
        self._tokens.add((kind, "out"), completion or 0)

    def event_unreadable(self, kind: str) -> None:
        """Record that a stream event from a service was not a JSON object. Do not log the event's content."""
        self._unreadable.labels(kind).inc()
        self.log.warning("unreadable event", kind=kind)

    def source_broke(self, kind: str, error: Exception) -> None:
        """Log the traceback of an internal error in a stream."""
        self.log.error("internal error", kind=kind, exc_info=error)

    def first_token(self, kind: str, seconds: float) -> None:
        """Record the time from a stream's start to the stream's first token."""
        self._first.add((kind,), seconds)

    def next_frames(self, kind: str, seconds: float, frames: int) -> None:
        """Record the time before frames that have arrived together. Between these frames, there is no time."""
        self._gaps.add((kind,), seconds)
        if frames > 1:
            self._gaps.add_zeros((kind,), frames - 1)

    def loop_measured(self, late: float, held: float) -> None:
        """Record that the event loop was ``late`` seconds late. The process itself caused ``held`` of these seconds."""
        self._lag.observe(late)
        self._held.observe(held)

    def collected(self, seconds: float) -> None:
        """Record the duration of a full garbage collection, in seconds."""
        self._collections.observe(seconds)
