"""The log: one JSON object per line, from every source of log records."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import sys

import pytest

from app.telemetry import LogHandler, make_logger

SAYS_EVERYTHING = """
import asyncio, gc, logging, sys, threading, warnings
from app.telemetry import log_everything, make_logger

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
