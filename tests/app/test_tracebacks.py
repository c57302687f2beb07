from __future__ import annotations

import asyncio
import gc
import io
import json
import logging

import pytest

from app.logs import LogHandler, make_logger
from app.tracebacks import MAX_CHAIN, formatted
from clients.errors import NotFound

CANARY = "cnry" + "7" * 20


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@pytest.mark.parametrize("kind", [KeyError, ValueError, LookupError, RuntimeError, Exception, AssertionError])
def test_a_traceback_has_no_message_that_can_be_a_value(kind: type[Exception]) -> None:
    text = formatted(raised(kind(CANARY)))
    assert CANARY not in text
    assert text.endswith(f"{kind.__name__}: (message hidden)")
    assert "in raised" in text


def test_messages_that_name_only_code_are_shown() -> None:
    assert formatted(TypeError("unsupported operand type(s)")) == "TypeError: unsupported operand type(s)"
    assert formatted(NotFound("The agent does not exist.")) == "clients.errors.NotFound: The agent does not exist."
    assert formatted(OSError(2, "No such file or directory", CANARY)) == "FileNotFoundError: No such file or directory"
    assert formatted(OSError(CANARY)) == "OSError"


def test_causes_contexts_and_groups_are_shown_without_their_messages() -> None:
    error = TypeError("outer")
    error.__cause__ = ValueError(CANARY)
    error.__cause__.__context__ = ExceptionGroup(CANARY, [KeyError(CANARY)])
    text = formatted(error)
    assert CANARY not in text
    assert [name in text for name in ("outer", "ValueError", "ExceptionGroup", "KeyError")] == [True] * 4


def test_a_long_or_circular_chain_ends() -> None:
    first = last = ValueError()
    for _ in range(2 * MAX_CHAIN):
        last.__cause__ = ValueError()
        last = last.__cause__
    assert formatted(first).count("ValueError") == MAX_CHAIN
    one, two = ValueError(), KeyError()
    one.__context__, two.__context__ = two, one
    assert formatted(one).splitlines() == ["KeyError: (message hidden)", "ValueError: (message hidden)"]


async def test_a_task_whose_error_nobody_reads_is_logged_without_the_message() -> None:
    out = io.StringIO()
    logger, handler = logging.getLogger("asyncio"), LogHandler(make_logger("DEBUG", out))
    logger.addHandler(handler)
    try:
        task = asyncio.create_task(failing(CANARY), name=CANARY)
        await asyncio.wait([task])
        del task
        gc.collect()
    finally:
        logger.removeHandler(handler)
    line = json.loads(out.getvalue())
    assert line["message"] == "Task exception was never retrieved"
    assert "in failing" in line["exception"]
    assert CANARY not in out.getvalue()


async def failing(secret: str) -> None:
    raise ValueError(secret)
