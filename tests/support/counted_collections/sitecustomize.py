"""On the path of a server's process, where Python imports it at the start: says of each full collection that it was."""

from __future__ import annotations

import gc
import os


def _tell(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        os.write(1, b'{"event":"full collection"}\n')


gc.callbacks.append(_tell)
