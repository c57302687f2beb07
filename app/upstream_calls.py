"""Metrics and log lines of upstream calls. The calls of a request are part of the request's line."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.tallies import Spread, Tally
from clients.breaker import BreakerState
from clients.breakers import Breakers
from clients.calls import RetryCause
from clients.errors import Service

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class UpstreamCalls:
    """Metrics and log lines of upstream calls.

    A successful call of a request in progress is counted in the request's line. Any other call has a line of its own,
    as each call has at the level DEBUG.
    """

    def __init__(self, registry: CollectorRegistry, log: Any) -> None:
        self._log = log
        counter = partial(Counter, registry=registry)
        call = ["service", "operation"]
        text = "Upstream calls by outcome."
        self._calls = Tally[tuple[str, str, str]]("agentgraph_upstream_calls", text, [*call, "outcome"], registry)
        text = "Duration of upstream calls, in seconds."
        self._seconds = Spread[tuple[str, str]]("agentgraph_upstream_seconds", text, call, BUCKETS, registry)
        text = "State of the breaker for all calls to a service."
        self._breaker = Gauge("agentgraph_breaker", text, ["service", "agentgraph_breaker"], registry=registry)
        text = "Number of open breakers for single models and kinds of call of a service."
        self._open_parts = Gauge("agentgraph_open_part_breakers", text, ["service"], registry=registry)
        text = "Repeated upstream calls, by the cause."
        self._retries = counter("agentgraph_upstream_retries", text, [*call, "cause"])
        for service in (Service.AMS, Service.LETTA, Service.LITELLM, Service.SUPABASE):
            for state in BreakerState:
                self._breaker.labels(service.value, state.value).set(state is BreakerState.CLOSED)
        self._shows_all: bool = log.is_enabled_for(logging.DEBUG)
        self._requests: dict[str, dict[str, tuple[int, float]]] = {}

    def begin(self, request_id: str) -> None:
        """Collect the calls of a request until ``end``. Of requests with equal ids, the first to end has the calls."""
        self._requests.setdefault(request_id, {})

    def end(self, request_id: str) -> dict[str, list[Any]] | None:
        """Return the number of a request's calls and their total milliseconds, by service and operation."""
        made = self._requests.pop(request_id, None)
        return {name: [calls, _milliseconds(seconds)] for name, (calls, seconds) in made.items()} if made else None

    def ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        """Record the end of a call."""
        name = service._value_  # the property ``value`` of an enum is five times as slow
        self._calls.add((name, operation, outcome))
        self._seconds.add((name, operation), seconds)
        made = self._requests.get(request_id) if outcome == "ok" else None
        if made is not None:
            of_request = f"{name}.{operation}"
            calls, total = made.get(of_request, (0, 0.0))
            made[of_request] = calls + 1, total + seconds
        if made is not None and not self._shows_all:
            return
        (self._log.info if made is None else self._log.debug)(
            "upstream",
            service=name,
            operation=operation,
            outcome=outcome,
            status=status,
            ms=_milliseconds(seconds),
            request_id=request_id,
        )

    def retried(
        self, service: Service, operation: str, cause: RetryCause, wait_seconds: float, request_id: str
    ) -> None:
        """Record that a call is repeated."""
        self._retries.labels(service.value, operation, cause.value).inc()
        self._log.info(
            "upstream retried",
            service=service.value,
            operation=operation,
            cause=cause.value,
            wait_ms=round(wait_seconds * 1000, 1),
            request_id=request_id,
        )

    def watch_breakers(self, service: Service, breakers: Breakers) -> None:
        """Add metrics for the state of a service's breaker, and for the service's parts with an open breaker."""
        for state in BreakerState:
            self._breaker.labels(service.value, state.value).set_function(partial(_is_in, breakers, state))
        self._open_parts.labels(service.value).set_function(breakers.open_parts)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _is_in(breakers: Breakers, state: BreakerState) -> bool:
    return breakers.service_state is state
