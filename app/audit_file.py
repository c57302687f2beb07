"""The destination of the audit log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

from app.logs import json_logger, make_logger
from app.setting_kinds import AUDIT_LOG_WORDS
from app.usage import UsageError

_MODE = 0o600
_LOG = logging.getLogger(__name__)


def audit_logger(where: str) -> Any:
    """Return the logger for a value of ``AUDIT_LOG``. Raise UsageError if a file cannot be opened."""
    if where in AUDIT_LOG_WORDS:
        return make_logger("INFO" if where == "on" else "CRITICAL")
    logger = logging.Logger("audit")  # noqa: LOG001 - each app of a process has its own file
    try:
        os.close(_opened(where, os.O_WRONLY | os.O_CREAT))
        logger.addHandler(_AuditFile(where))
    except OSError as error:
        raise UsageError(f"AUDIT_LOG: {where} cannot be opened: {error.strerror}. Set another file.") from error
    return json_logger(logger, "INFO")


class _AuditFile(WatchedFileHandler):
    """A private file that can be rotated.

    If lines cannot be written, the gateway continues. The first failure and the first line after the failures are
    logged, so that a full disk does not fill another log.
    """

    _failures = 0

    def emit(self, record: logging.LogRecord) -> None:
        failures = self._failures
        try:
            super().emit(record)
        except OSError as error:  # the file cannot be opened again
            self._failed(error)
        if failures and failures == self._failures:
            self._failures = 0
            _LOG.warning("AUDIT_LOG can be written again: up to %d lines are missing", failures)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as in logging
        """Report the error that is being handled."""
        self._failed(sys.exception())

    def _failed(self, error: BaseException | None) -> None:
        self._failures += 1
        if self._failures == 1:
            reason = getattr(error, "strerror", None) or type(error).__name__
            _LOG.error("AUDIT_LOG: %s cannot be written: %s", self.baseFilename, reason)

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_opened)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # the last lines do not fit on the disk
            self.close()


def _opened(path: str, flags: int) -> int:
    """Open a file that only the gateway's user can read. A pipe without a reader is an error, and does not block."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, _MODE)
    os.set_blocking(descriptor, True)
    return descriptor
