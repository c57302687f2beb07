"""Random operations over the whole schema, with faults: a plan and graphql-core's executor give equal answers.

``FUZZ_EXAMPLES`` is the number of operations. Without the variable, each run has the same operations.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.embedded.faults import Fault
from app.graphql.executor import Executor
from app.graphql.plan.plans import Plan, Plans
from tests.fuzz.platforms import FAULTS, Platform
from tests.support.plans import Generated, generating

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
STEADY = {"breaker_failures": 10**6, "breaker_calls": 10**6, "upstream_retry_percent": 100, "cache": "off"}
"""Settings with which an answer does not depend on earlier requests."""
VARYING = {"requestId", "retryAfterSeconds"}

_plan = Plans.plan


class Switch:
    """Chooses how operations are executed, and counts the operations that plans have executed.

    Attributes:
        compiled: whether plans execute the operations.
        planned: the number of operations that plans have executed.
        functions: the generated functions of the plans.
    """

    def __init__(self) -> None:
        self.compiled = False
        self.planned = 0
        self.functions = Generated()

    def plan(self, plans: Plans, executor: Executor, cost: int, *, at_once: bool) -> Plan | None:
        """Return the plan of an operation, if plans are switched on."""
        found = _plan(plans, executor, cost, at_once=True) if self.compiled else None
        self.planned += found is not None
        return found


SWITCH = Switch()


def chosen(plans: Plans, executor: Executor, cost: int, *, at_once: bool) -> Plan | None:
    """Replace ``Plans.plan``."""
    return SWITCH.plan(plans, executor, cost, at_once=at_once)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch, generating(after=0) as functions:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setattr(Plans, "plan", chosen)
        SWITCH.functions = functions
        running = Platform(runner, **STEADY)
        yield running
        running.close()


@pytest.mark.timeout(0 if EXAMPLES > 300 else 150)
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning")
def test_a_plan_answers_like_graphql_core(platform: Platform) -> None:
    one_operation(platform)
    assert SWITCH.planned > EXAMPLES / 2, "too few operations have plans"
    assert SWITCH.functions.objects > EXAMPLES, "too few objects are completed by generated functions"


@settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data(), faults=FAULTS)
def one_operation(platform: Platform, data: st.DataObject, faults: list[Any]) -> None:
    query = data.draw(platform.operations.filter(is_query), label="query")
    by_core, by_plan = (answer(platform, query, faults, compiled=one) for one in (False, True))
    assert by_core[0] == by_plan[0], query
    assert (by_core[1] - by_plan[1], by_plan[1] - by_core[1]) == (Counter(), Counter()), query


def is_query(document: str) -> bool:
    """Return whether a document has a query: other operations change what the second execution reads."""
    return not document.startswith(("mutation", "subscription"))


def answer(platform: Platform, query: str, faults: list[tuple[str, Fault]], *, compiled: bool) -> tuple[str, Any]:
    """Return an answer's data as text, and its errors in any order."""
    SWITCH.compiled = compiled
    [body] = platform.answers(query, faults)
    errors = Counter(json.dumps(without_varying(one), sort_keys=True) for one in body.get("errors", []))
    return json.dumps(body.get("data")), errors


def without_varying(error: dict[str, Any]) -> dict[str, Any]:
    """Return an error without what differs between two equal requests."""
    kept = {name: value for name, value in error["extensions"].items() if name not in VARYING}
    return {**error, "extensions": kept}
