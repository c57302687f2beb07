"""``agentgraph``, and ``python -m app``: nothing is imported before an interrupt can be told from an error."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command. Returns its exit status, which is 130 where Ctrl-C comes before it has begun."""
    try:
        gc.disable()  # what is imported stays; ``app.garbage`` sets the collector up for what is made later
        from app import cli  # noqa: PLC0415 - takes a while

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
