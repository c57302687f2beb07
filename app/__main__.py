"""``agentgraph`` and ``python -m app``. Imports come late, so that Ctrl-C during them ends without a traceback."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command and return its exit status: 130 after Ctrl-C."""
    try:
        gc.disable()  # imported objects are never garbage; ``app.garbage`` enables the collector later
        from app import cli  # noqa: PLC0415 - takes a while

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
