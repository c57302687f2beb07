"""The search for texts in the objects of a process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType

_NOT_FOLLOWED = (ModuleType, type, asyncio.AbstractEventLoop)
"""Objects of the whole process. They refer to the test too."""


def texts_in(root: object) -> Iterator[bytes]:
    """Yield the texts and bytes that an object refers to, over any number of other objects."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one.encode("utf-8", "surrogatepass")
        elif isinstance(one, bytes | bytearray):
            yield bytes(one)
        else:
            for other in _referents(one):
                if id(other) not in seen and not isinstance(other, _NOT_FOLLOWED):
                    seen.add(id(other))
                    waiting.append(other)


def _referents(one: object) -> list[object]:
    if isinstance(one, FunctionType):  # without the module
        return [one.__closure__, one.__defaults__, one.__kwdefaults__, one.__dict__]
    return gc.get_referents(one)
