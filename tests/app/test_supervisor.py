from __future__ import annotations

import io
import json
import socket
import sys

import pytest

from app.logs import make_logger
from app.platform import Platform
from app.workers.supervisor import MAX_RESTART_SECONDS, Supervisor, restart_delay


async def test_workers_that_cannot_start_end_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of the workers is this process's script, which the test replaces by one that fails."""
    monkeypatch.setattr(sys, "argv", ["agentgraph", "serve"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", "raise SystemExit(3)", "serve"])
    log = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(2, [listener], Platform(urls={}), make_logger("INFO", log), grace=0.1)
        assert await supervisor.run() is None
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert set(events) == {"worker started"}


def test_a_worker_that_keeps_failing_is_started_ever_more_rarely() -> None:
    assert [restart_delay(failures) for failures in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restart_delay(10_000) == MAX_RESTART_SECONDS
