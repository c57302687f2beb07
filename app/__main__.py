"""The entry point of ``agentgraph``.

``main`` imports the other modules, so Ctrl-C during an import prints no traceback.
"""

from __future__ import annotations

import gc
import signal
import sys
from types import FrameType


def main() -> int:
    """Run ``agentgraph``, and return the exit status. After Ctrl-C, the exit status is 130."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        gc.disable()  # imports create no garbage; ``app.garbage`` enables the collector later
        from app import cli  # noqa: PLC0415 - the import is slow

        return cli.main()
    except KeyboardInterrupt:
        return 130


def _terminate(number: int, _: FrameType | None) -> None:
    """End the process with the signal's default action, which does nothing for a container's first process."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
