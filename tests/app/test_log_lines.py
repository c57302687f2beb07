from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from app.log_lines import MOST_BYTES, LogLines, flush_lines
from app.logs import announce, json_logger
from tests.support.forks import ROOT


class Output(io.StringIO):
    """A standard output that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


@pytest.fixture
def output() -> Output:
    return Output()


def logger(out: Output) -> Any:
    return json_logger(LogLines(out, joins=True), "INFO")


def events(text: str) -> list[str]:
    return [json.loads(line)["event"] for line in text.splitlines()]


async def test_the_lines_of_an_iteration_are_written_together_in_order(output: Output) -> None:
    log = logger(output)
    audit = log.bind(logger="audit")
    log.info("one")
    audit.info("two")
    log.debug("hidden")
    log.info("three")
    assert output.writes == []
    await asyncio.sleep(0)
    assert [events(text) for text in output.writes] == [["one", "two", "three"]]
    log.info("four")
    await asyncio.sleep(0)
    assert [events(text) for text in output.writes[1:]] == [["four"]]


async def test_a_warning_is_written_at_once_after_the_lines_that_wait(output: Output) -> None:
    log = logger(output)
    log.info("one")
    log.warning("two")
    assert events(output.getvalue()) == ["one", "two"]
    log.info("three")
    try:
        int("text")
    except ValueError:
        log.exception("four")
    assert events(output.getvalue()) == ["one", "two", "three", "four"]
    await asyncio.sleep(0)
    assert events(output.getvalue()) == ["one", "two", "three", "four"]


async def test_an_announcement_is_written_at_once(output: Output) -> None:
    log = logger(output)
    log.info("one")
    announce(log, "stopped", "Stopped.")
    assert events(output.getvalue()) == ["one", "stopped"]


async def test_a_long_iteration_writes_pieces_that_a_pipe_keeps_together(output: Output) -> None:
    log = logger(output)
    for number in range(100):
        log.info(str(number), text="\u20ac" * 20)
    assert len(output.writes) > 1
    await asyncio.sleep(0)
    assert max(len(text.encode()) for text in output.writes) <= MOST_BYTES
    assert events(output.getvalue()) == [str(number) for number in range(100)]


async def test_a_line_that_is_too_long_to_be_joined_is_written_alone(output: Output) -> None:
    log = logger(output)
    for event, text in (("one", ""), ("two", "x" * MOST_BYTES), ("three", "")):
        log.info(event, text=text)
    await asyncio.sleep(0)
    assert [events(text) for text in output.writes] == [["one"], ["two"], ["three"]]


def test_without_an_event_loop_a_line_is_written_at_once(output: Output) -> None:
    logger(output).info("one")
    assert events(output.getvalue()) == ["one"]


def test_the_lines_of_a_loop_that_has_ended_are_written(output: Output) -> None:
    log = logger(output)

    for event in ("one", "two"):
        loop = asyncio.new_event_loop()
        loop.call_soon(log.info, event)
        loop.call_soon(loop.stop)  # the loop ends before its next iteration
        loop.run_forever()
        loop.close()
    assert output.writes == []
    log.info("three")
    assert events(output.getvalue()) == ["one", "two", "three"]


async def test_a_line_of_another_thread_is_neither_lost_nor_written_twice(output: Output) -> None:
    log = logger(output)
    log.info("one")
    await asyncio.to_thread(log.info, "two")
    await asyncio.sleep(0)
    assert sorted(events(output.getvalue())) == ["one", "two"]


async def test_a_forked_process_does_not_write_its_parents_lines(output: Output) -> None:
    logger(output).info("one")
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        flush_lines()
        os.write(writer, output.getvalue().encode())
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    await asyncio.sleep(0)
    assert events(output.getvalue()) == ["one"]
    await asyncio.to_thread(os.waitpid, child, 0)


def test_all_loggers_share_the_lines_of_the_standard_output() -> None:
    assert LogLines.of_output() is LogLines.of_output()


async def test_a_stream_of_its_own_gets_each_line_at_once() -> None:
    out = Output()
    LogLines(out, joins=False).info("one")
    assert out.writes == ["one\n"]


_ENDS = {
    "returns": "",
    "exits": "raise SystemExit(3)",
    "fails": "raise ValueError",
    "is interrupted": "raise KeyboardInterrupt",
}


@pytest.mark.parametrize("end", _ENDS.values(), ids=_ENDS)
def test_the_last_lines_of_a_process_are_written(end: str) -> None:
    script = f"""
import asyncio
from app.logs import make_logger
async def main():
    make_logger("INFO").info("last")
    {end}
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert events(done.stdout) == ["last"]


class _SlowOutput(Output):
    """An output whose first write waits until another thread has had the time to write."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing, self.may_write = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        if not self.is_writing.is_set():
            self.is_writing.set()
            self.may_write.wait(timeout=0.2)  # an implementation without a lock ends the wait
        return super().write(text)


async def test_lines_that_another_thread_takes_precede_the_later_lines_of_the_loop() -> None:
    output = _SlowOutput()
    log = logger(output)
    log.info("one")
    thread = threading.Thread(target=log.warning, args=("two",))
    thread.start()
    assert output.is_writing.wait(timeout=10)
    log.info("three")
    await asyncio.sleep(0)  # writes the third line
    output.may_write.set()
    await asyncio.to_thread(thread.join)
    assert events(output.getvalue()) == ["one", "two", "three"]


async def test_an_output_that_cannot_encode_a_character_gets_its_escape_sequence() -> None:
    raw = io.BytesIO()
    log = json_logger(LogLines(io.TextIOWrapper(raw, encoding="ascii"), joins=True), "INFO")
    for model in ("a", "\u00e9 \u20ac \U0001f600", "b"):
        log.info("call", model=model)
    await asyncio.sleep(0)
    assert [json.loads(line)["model"] for line in raw.getvalue().splitlines()] == ["a", "\u00e9 \u20ac \U0001f600", "b"]


async def test_a_closed_output_fails_neither_a_request_nor_the_event_loop(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logger(output)
    log.info("one")
    output.close()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    await asyncio.sleep(0)
    log.warning("two")
    assert failures == []
    assert capsys.readouterr().err == "agentgraph: the log cannot be written: I/O operation on closed file\n"


def test_a_process_without_a_standard_output_runs_without_the_log() -> None:
    script = """
import asyncio
from app.logs import announce, make_logger
async def main():
    log = make_logger("INFO")
    log.info("one")
    await asyncio.sleep(0)
    announce(log, "stopped", "Stopped.")
asyncio.run(main())
"""
    command = ["bash", "-c", 'exec "$0" -c "$1" >&-', sys.executable, script]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
