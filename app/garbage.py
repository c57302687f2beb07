"""Python's garbage collector, set up for a server.

A full collection visits every container object and stops everybody meanwhile: half a second with 500 streams, in which
it frees next to nothing, since a stream is freed by its references when it ends.
"""

from __future__ import annotations

import gc
import os

THRESHOLDS = (700, 10, 1000)


def settle() -> None:
    """Leave what was made at the start out of every later collection, and make full collections rare."""
    gc.collect()
    if os.environ.get("AG_FREEZE", "1") == "1":
        gc.freeze()
    gc.set_threshold(*map(int, os.environ.get("AG_GC", "700,10,1000").split(",")))
