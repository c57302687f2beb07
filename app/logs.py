"""The process's log: one JSON object per line. Logs contain no secrets or prompts."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any, Protocol, TextIO

import orjson

from app.log_lines import LogLines, flush_lines
from app.tracebacks import summary, with_traceback


class Lines(Protocol):
    """Writes log lines. Each level has a method."""

    def debug(self, line: str, /) -> object:
        """Write a line of the level DEBUG."""

    def info(self, line: str, /) -> object:
        """Write a line of the level INFO."""

    def warning(self, line: str, /) -> object:
        """Write a line of the level WARNING."""

    def error(self, line: str, /) -> object:
        """Write a line of the level ERROR."""


def make_logger(level: str, out: TextIO | None = None) -> Log:
    """Return a logger that writes one JSON object per line, to the standard output by default."""
    return json_logger(LogLines.of_output() if out is None else LogLines(out, joins=False), level)


def json_logger(lines: Lines, level: str) -> Log:
    """Return a logger that passes each line to a method of ``lines``, whose name is the line's level."""
    return Log(lines, logging.getLevelNamesMapping()[level], {})


class Log:
    """Encodes each log entry as one line of JSON.

    Args:
        lines: writes the lines.
        least: the minimum level.
        context: fields of every entry.
    """

    _second = -1
    _text = ""

    def __init__(self, lines: Lines, least: int, context: dict[str, Any]) -> None:
        self._lines = lines
        self._least = least
        self._context = context

    def bind(self, **context: Any) -> Log:
        """Return a logger whose entries have further fields."""
        return Log(self._lines, self._least, {**self._context, **context})

    def is_enabled_for(self, level: int) -> bool:
        """Return whether entries of a level are written."""
        return level >= self._least

    def debug(self, event: str, **entry: Any) -> None:
        """Write an entry of the level DEBUG."""
        if self._least <= logging.DEBUG:
            self._lines.debug(self._line("debug", event, entry))

    def info(self, event: str, **entry: Any) -> None:
        """Write an entry of the level INFO."""
        if self._least <= logging.INFO:
            self._lines.info(self._line("info", event, entry))

    def warning(self, event: str, **entry: Any) -> None:
        """Write an entry of the level WARNING."""
        if self._least <= logging.WARNING:
            self._lines.warning(self._line("warning", event, entry))

    def error(self, event: str, **entry: Any) -> None:
        """Write an entry of the level ERROR."""
        if self._least <= logging.ERROR:
            self._lines.error(self._line("error", event, entry))

    def exception(self, event: str, **entry: Any) -> None:
        """Write an entry of the level ERROR, with the traceback of the current exception."""
        self.error(event, **{"exc_info": True, **entry})

    def _line(self, level: str, event: str, entry: dict[str, Any]) -> str:
        if self._context:
            entry = {**self._context, **entry}
        entry["event"], entry["level"], entry["timestamp"] = event, level, self._now()
        if "exc_info" in entry:
            with_traceback(entry)
        try:
            return orjson.dumps(entry, default=str).decode()
        except TypeError:  # orjson refuses text with half of a surrogate pair
            return json.dumps(entry, default=str)

    @classmethod
    def _now(cls) -> str:
        """Return the time in UTC (RFC 3339). The text of a second is made once."""
        microseconds = time.time_ns() // 1000
        second = microseconds // 1_000_000
        if second != Log._second:
            Log._second, Log._text = second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{Log._text}{microseconds % 1_000_000:06d}Z"


def log_everything(log: Any) -> None:
    """Write library logs, Python warnings and uncaught exceptions to the JSON log."""
    logging.basicConfig(handlers=[LogHandler(log)], level=logging.WARNING)
    logging.captureWarnings(capture=True)

    def unraisable(fault: sys.UnraisableHookArgs) -> None:
        where = getattr(fault.object, "__qualname__", type(fault.object).__qualname__)  # a repr can contain values
        log.error("unraisable", message=fault.err_msg, where=where, exc_info=fault.exc_value)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.error("uncaught", exc_info=(kind, error, trace))

    def in_thread(fault: threading.ExceptHookArgs) -> None:
        log.error("uncaught", exc_info=fault.exc_value)

    sys.unraisablehook, sys.excepthook, threading.excepthook = unraisable, uncaught, in_thread


class LogHandler(logging.Handler):
    """Writes the records of Python's ``logging`` to the JSON log."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a log record to the JSON log."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a bug in the library's log call
            message = f"{record.msg} ({summary(error)})"
        if record.name == "asyncio":  # further lines have the representation of a task and of its exception
            message = message.partition("\n")[0]
        getattr(self._log, level)("library", logger=record.name, message=message, exc_info=record.exc_info)


def announce(log: Any, event: str, text: str, *, level: str = "info", **facts: Any) -> None:
    """Write a log entry at once. If standard error is a terminal, also print ``text`` to standard error."""
    getattr(log, level)(event, message=text, **facts)
    flush_lines()  # the process may end by a signal before the event loop's iteration does
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
