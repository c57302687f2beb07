"""Kill gateways and Redis under load, and print what clients and services saw: ``make chaos``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos import mutations, streams


async def _run(folder: Path) -> bool:
    """Run both scenarios. Return whether both met their targets."""
    read = await streams.run(folder, streams=100, tokens=300, delay=0.02, seconds=60, every=5)
    print(f"Streams while gateways are killed\n{read.lines()}\n", flush=True)
    sent = await mutations.run(folder, mutations=500, gateway_every=3, redis_every=7)
    print(f"Mutations while gateways and Redis are killed\n{sent.lines()}", flush=True)
    return read.is_exact and sent.is_exact


def main() -> int:
    with TemporaryDirectory(prefix="chaos-") as folder:
        os.environ["XDG_DATA_HOME"] = folder
        return 0 if asyncio.run(_run(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
