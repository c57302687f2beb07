"""Random operations over the whole schema and ``_entities``, with random faults: every answer must be valid.

``FUZZ_EXAMPLES`` is the number of operations. Without the variable, each run has the same operations.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLObjectType, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.codes import ErrorCode
from tests.fuzz.platforms import FAULTS, SCHEMA, Platform
from tests.support.queries import contradictions, resolved, silent_nulls

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1000"))
CODES = {code.value for code in ErrorCode} - {"INTERNAL_ERROR", "UNAUTHENTICATED", "GRAPHQL_PARSE_FAILED"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        running = Platform(runner)
        yield running
        running.close()


@pytest.mark.filterwarnings(  # a disconnect cancels an operation, of which some resolvers have not begun
    "ignore:Exception ignored in. <coroutine object GraphQLCoreConverter:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.timeout(0 if EXAMPLES > 1000 else 150)
def test_random_operations_have_valid_answers(platform: Platform) -> None:
    one_operation(platform)
    kinds = {kind.name for kind in SCHEMA.type_map.values() if isinstance(kind, GraphQLObjectType)}
    assert len(platform.seen) > len(kinds) / 3, "the operations reach too few types"


@settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data(), faults=FAULTS)
def one_operation(platform: Platform, data: st.DataObject, faults: list[Any]) -> None:
    query = data.draw(platform.operations, label="query")
    for answer in platform.answers(query, faults):
        errors = answer.get("errors", [])
        codes = {error["extensions"]["code"] for error in errors}
        assert codes <= CODES, errors
        if "GRAPHQL_VALIDATION_FAILED" not in codes:
            document = parse(query)
            assert contradictions(SCHEMA, document, answer.get("data")) == []
            assert silent_nulls(SCHEMA, document, answer.get("data"), errors) == []
            if "data" in answer and "extensions" in answer:
                cost = answer["extensions"]["cost"]
                done = resolved(SCHEMA, document, answer["data"]) + cost["upstreamCalls"]
                assert done <= cost["requested"] <= cost["limit"]
