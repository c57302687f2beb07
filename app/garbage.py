"""Configures Python's garbage collector for a server.

A full collection visits every container object and blocks the process meanwhile. Objects created at the start are never
garbage, and are half of all objects in a process with 500 streams. Reference counting frees ended streams.
"""

from __future__ import annotations

import gc

THRESHOLDS = (7_000, 10, 3)
"""The thresholds of Python's garbage collector.

A collection of young objects starts after 7,000 new objects instead of Python's 700. Otherwise, an answer of 1,000
messages would start dozens of collections that free little, because few requests leave reference cycles.

A full collection starts after about 340,000 new objects. Until then, the garbage of long operations takes at most
40 MB.
"""


def settle() -> None:
    """Exclude all existing objects from garbage collection, and make full collections rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
