"""Writes log lines to a text stream. The lines of one iteration of the event loop are written together."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import re
import select
import sys
import threading
from typing import TextIO
from weakref import WeakSet, WeakValueDictionary

MOST_BYTES = select.PIPE_BUF
"""How many bytes are written together. A larger write to a pipe could be mixed with the lines of another worker."""

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class LogLines:
    """Writes log lines. If lines cannot be written, requests do not fail, and one line goes to the standard error.

    A request writes one or two lines, and a system call for each takes as long as encoding it. A line is therefore
    written at the end of the event loop's iteration (decision 0078). Lines of the level WARNING and above, and lines of
    code that runs outside an event loop, are written at once, after the lines that wait.

    Args:
        out: the stream; ``None`` writes no lines. Python's standard output is ``None`` if the process has none.
        joins: whether lines wait for the end of the iteration.
    """

    def __init__(self, out: TextIO | None, *, joins: bool) -> None:
        self._out = out
        self._joins = joins
        self._has_failed = False
        self._flushed_by: asyncio.AbstractEventLoop | None = None
        self.forget()
        _all.add(self)

    @classmethod
    def of_output(cls) -> LogLines:
        """Return the lines of the standard output. All loggers share them, so that their lines stay in order."""
        lines = _shared.get(id(sys.stdout))  # the lines refer to the stream, whose id is therefore not used again
        if lines is None:
            lines = _shared[id(sys.stdout)] = cls(sys.stdout, joins=True)
        return lines

    def info(self, line: str) -> None:
        """Write a line at the end of the event loop's iteration."""
        loop = asyncio._get_running_loop() if self._joins else None  # noqa: SLF001 - ``get_running_loop`` raises
        if loop is None:
            self._write_at_once(line)
            return
        size = (len(line) if line.isascii() else len(line.encode("utf-8", "surrogatepass"))) + 1
        if self._bytes + size > MOST_BYTES:
            self._write_waiting()
        self._waiting.append(line)
        self._bytes += size
        if self._flushed_by is not loop:  # a loop that has ended does not flush
            self._flushed_by = loop
            loop.call_soon(self.flush)

    debug = info

    def error(self, line: str) -> None:
        """Write a line at once."""
        self._write_at_once(line)

    warning = critical = msg = error

    def flush(self) -> None:
        """Write the lines that wait."""
        self._flushed_by = None
        self._write_waiting()

    def forget(self) -> None:
        """Drop the lines that wait. After a fork, the parent process writes them."""
        self._waiting: list[str] = []
        self._bytes = 0
        self._flushed_by = None
        self._lock = threading.RLock()  # a signal's handler may write lines, too

    def _write_at_once(self, line: str) -> None:
        with self._lock:
            self._write_waiting()
            self._write(f"{line}\n")

    def _write_waiting(self) -> None:
        """Write the lines that wait. Adding a line needs no lock, but two threads could write in another order."""
        if not self._waiting:
            return
        with self._lock:
            self._bytes = 0  # first, so that lines of another thread are never counted too little
            taken = self._waiting[:]
            del self._waiting[: len(taken)]
            if taken:
                self._write("".join([f"{line}\n" for line in taken]))

    def _write(self, text: str) -> None:
        if self._out is None:
            return
        try:
            try:
                self._out.write(text)
            except UnicodeEncodeError:  # otherwise, one character would lose all lines that are written together
                self._out.write(_escaped(text))
            self._out.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            if not self._has_failed:
                self._has_failed = True
                with contextlib.suppress(OSError, ValueError):
                    reason = error.strerror if isinstance(error, OSError) else error
                    sys.stderr.write(f"agentgraph: the log cannot be written: {reason}\n")
                    sys.stderr.flush()


def _escaped(text: str) -> str:
    """Return lines of JSON with escape sequences, for a stream that is not encoded as UTF-8."""
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


_all: WeakSet[LogLines] = WeakSet()
_shared: WeakValueDictionary[int, LogLines] = WeakValueDictionary()


def flush_lines() -> None:
    """Write all lines that wait. The process must call this before it ends without Python's own end."""
    for lines in list(_all):
        lines.flush()


def _forget() -> None:
    for lines in list(_all):
        lines.forget()


atexit.register(flush_lines)
os.register_at_fork(after_in_child=_forget)
