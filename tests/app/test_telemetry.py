"""The log: one JSON object per line, from every source of log records."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import sys
from typing import Any

import pytest

from app.logs import LogHandler, make_logger
from app.telemetry import Telemetry
from clients.errors import Service

SAYS_EVERYTHING = """
import asyncio, gc, logging, sys, threading, warnings
from app.logs import log_everything, make_logger

log_everything(make_logger("INFO"))
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
logging.getLogger("uvicorn.error").error("Exception", exc_info=ValueError("half \\ud800"))
logging.getLogger("asyncio").error("%s and %s", "one")
warnings.warn("a warning")

class Broken:
    def __del__(self):
        raise RuntimeError("in a destructor")

Broken()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()

async def forgotten():
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    del task
    gc.collect()

async def failing():
    raise KeyError("nobody asks")

asyncio.run(forgotten())
raise SystemError("at the end")
"""
SAID = ["Invalid HTTP", "ValueError", "%s and %s", "a warning", "unraisable", "ZeroDivisionError", "KeyError"]
SAID += ["uncaught"]
VALUES = ("half", "nobody asks", "in a destructor", "at the end")
"""The messages of exceptions, which can be values."""


async def test_each_line_that_a_process_logs_is_json() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SAYS_EVERYTHING), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 1
    lines = [json.loads(line) for line in output.decode().splitlines()]
    assert len(lines) == len(SAID)
    for line, said in zip(lines, SAID, strict=True):
        assert said in json.dumps(line)
    assert not any(value in output.decode() for value in VALUES)


def test_a_text_with_half_a_surrogate_pair_is_logged() -> None:
    out = io.StringIO()
    make_logger("INFO", out).info("odd", text="half \ud800")
    assert json.loads(out.getvalue())["text"] == "half \ud800"


def test_a_full_disk_does_not_fail_requests(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = make_logger("INFO", Full())
    log.info("request")
    log.error("internal error")
    assert capsys.readouterr().err == "agentgraph: the log cannot be written: No space left on device\n"


def test_a_record_that_cannot_be_formatted_is_logged() -> None:
    out = io.StringIO()
    record = logging.LogRecord("library", logging.ERROR, "x.py", 1, "%d", ("one",), None)
    LogHandler(make_logger("INFO", out)).emit(record)
    assert json.loads(out.getvalue())["message"].startswith("%d (TypeError")


def lines_of(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_requests_line_contains_its_successful_calls(level: str) -> None:
    out = io.StringIO()
    telemetry = Telemetry(make_logger(level, out))
    telemetry.request_began("r")
    for outcome, seconds in (("ok", 0.001), ("timeout", 0.5), ("ok", 0.0024)):
        telemetry.call_ended(Service.LETTA, "agent", outcome, seconds, 200, "r")
    telemetry.call_ended(Service.AMS, "me", "ok", 0.2, 200, "r")
    telemetry.request_ended("/graphql", "POST", 200, 0.75, "r")
    lines = lines_of(out)
    assert lines[-1]["upstream"] == {"letta.agent": [2, 3.4], "ams.me": [1, 200.0]}
    calls = [line["outcome"] for line in lines if line["event"] == "upstream"]
    assert calls == (["timeout"] if level == "INFO" else ["ok", "timeout", "ok", "ok"])
    telemetry.call_ended(Service.LETTA, "agent", "ok", 0.001, 200, "r")
    assert lines_of(out)[-1]["event"] == "upstream", "a call after the request has its own line"
    telemetry.request_ended("/graphql", "POST", 200, 0.75, "r")
    assert "upstream" not in lines_of(out)[-1]


def test_a_line_has_its_level_and_the_time_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    log = make_logger("INFO", out)
    monkeypatch.setattr("app.logs.time.time_ns", lambda: 1_700_000_000_000_001_999)
    log.debug("hidden")
    log.info("request", status=200)
    log.bind(logger="audit").warning("limit")
    try:
        int("text")
    except ValueError:
        log.exception("internal error")
    shown = lines_of(out)
    assert [(line["event"], line["level"]) for line in shown] == [
        ("request", "info"),
        ("limit", "warning"),
        ("internal error", "error"),
    ]
    assert {line["timestamp"] for line in shown} == {"2023-11-14T22:13:20.000001Z"}
    assert shown[1]["logger"] == "audit"
    assert "ValueError" in shown[2]["exception"]
