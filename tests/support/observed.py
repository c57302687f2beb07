"""``agentgraph`` in a process that prints the number of its asyncio tasks after SIGUSR2."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys

from app.cli import main

MARK = "observed "


def _report(*_: object) -> None:
    gc.collect()
    try:
        names = sorted(str(task.get_coro().__qualname__) for task in asyncio.all_tasks())  # type: ignore[union-attr]
    except RuntimeError:  # the loop waits
        names = sorted(str(task.get_coro().__qualname__) for task in asyncio.all_tasks(asyncio.get_event_loop()))  # type: ignore[union-attr]
    print(MARK + json.dumps(names), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _report)
    sys.exit(main())
