from __future__ import annotations

from typing import Any

import pytest

from app.graphql.errors import request_error
from app.graphql.results import Executed, Refused, Result
from clients.codes import ErrorCode
from clients.errors import RateLimited

ERROR = {"message": "m", "extensions": {}}


@pytest.mark.parametrize(
    ("result", "body"),
    [
        (Executed({"a": 1}), {"data": {"a": 1}}),
        (Executed(None, [ERROR]), {"errors": [ERROR], "data": None}),
        (Executed({}, None, {"cost": 1}), {"data": {}, "extensions": {"cost": 1}}),
        (Refused([ERROR]), {"errors": [ERROR]}),
        (Refused([ERROR], {"cost": 1}), {"errors": [ERROR], "extensions": {"cost": 1}}),
    ],
)
def test_a_result_has_data_if_its_operation_was_executed(result: Result, body: dict[str, Any]) -> None:
    assert list(result.body().items()) == list(body.items())


def test_a_refusal_has_the_request_id_and_the_delay_of_its_error() -> None:
    refused = Refused.by(RateLimited("m", retry_after_seconds=7.0), "r")
    assert refused.retry_after_seconds == 7.0
    [error] = refused.errors
    assert (error["extensions"]["requestId"], error["extensions"]["retryAfterSeconds"]) == ("r", 7.0)


def test_a_request_error_is_not_changed_by_the_id_of_a_request() -> None:
    error = request_error(ErrorCode.BAD_USER_INPUT, "m", 400)
    assert Refused.by(error, "r").errors[0]["extensions"]["requestId"] == "r"
    assert "requestId" not in error.errors[0]["extensions"]
