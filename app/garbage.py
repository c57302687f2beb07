"""Python's garbage collector, set up for a server.

A full collection visits every container object and stops everybody meanwhile. What is made at the start, half of all
there is with 500 streams, is never garbage; and a stream is freed by its references when it ends, with its answer.
"""

from __future__ import annotations

import gc

THRESHOLDS = (700, 10, 50)
"""Python's thresholds, but for the last, which is 10: a full collection waits for 350,000 objects more than there were.

The first two are cheap: 100 µs for 700 new objects, 2 ms for 7,000. They free the cycles of operations that end within
them. 350,000 objects that are garbage, which only longer ones leave behind, take 40 MB at most.
"""


def settle() -> None:
    """Leave what was made at the start out of every later collection, and make full collections rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
