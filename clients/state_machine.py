"""Imports pybreaker, the state machine of the breakers, without its storage in Redis.

pybreaker imports redis-py if redis-py is installed. The import takes 7 MB of memory and 0.15 s of CPU time, and the
gateway does not use pybreaker's storage.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def _without(name: str, wanted: str) -> Any:
    """Import the module ``wanted``. Unless the module ``name`` is imported already, ``wanted`` cannot import it."""
    if name in sys.modules:
        return import_module(wanted)
    sys.modules[name] = _MISSING
    try:
        return import_module(wanted)
    finally:
        del sys.modules[name]


_MISSING: ModuleType = None  # type: ignore[assignment]  # Python raises ModuleNotFoundError for this entry

pybreaker = _without("redis", "pybreaker")
