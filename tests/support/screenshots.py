"""``make screenshots``: take the images of ``docs/images`` from a gateway as ``make run`` starts it."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.support.browser import run_in_browser
from tests.support.process import serving


async def take(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        async with serving(Path(home)) as gateway:
            await run_in_browser("screenshots.mjs", url=gateway.url, folder=str(folder))


if __name__ == "__main__":
    images = Path(sys.argv[1]).resolve()
    images.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(images))
