"""The entry point of ``agentgraph``.

``main`` imports the other modules, so Ctrl-C during an import prints no traceback.
"""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run ``agentgraph``, and return the exit status. After Ctrl-C, the exit status is 130."""
    try:
        gc.disable()  # imports create no garbage; ``app.garbage`` enables the collector later
        from app import cli  # noqa: PLC0415 - the import is slow

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
