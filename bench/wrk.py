"""Runs wrk, which sends one request in a closed loop."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from functools import partial
from pathlib import Path

from bench.processes import needed
from bench.rest import INSTALL

_SCRIPT = Path(__file__).with_name("post.lua")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_PER_SECOND = re.compile(r"Requests/sec: +([\d.]+)")
_NUMBER = re.compile(r"(\d+) requests in")
_MEDIAN = re.compile(r"50% +([\d.]+)(us|ms|s|m)")
_REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_LOST = re.compile(r"Socket errors.*")


async def wrk(url: str, body: bytes, token: str, *, clients: int, seconds: float, cores: set[int]) -> dict[str, float]:
    """Send a POST request with ``body`` again and again over ``clients`` connections for ``seconds``.

    Returns:
        ``number``: the number of answers with a status from 200 to 399; ``per_second``: these answers per second;
        ``refused``: the number of other answers; ``p50``: the median latency in seconds.

    Raises:
        NotInstalled: wrk is not installed.
        RuntimeError: a connection failed.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            needed("wrk", INSTALL),
            *("-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "60s", "--latency", "-s", str(_SCRIPT), url),
            env={**os.environ, "BODY": file.name, "TOKEN": token},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=partial(os.sched_setaffinity, 0, cores),
        )
        text = (await process.communicate())[0].decode()
    rate, answers, median = _PER_SECOND.search(text), _NUMBER.search(text), _MEDIAN.search(text)
    refused = _REFUSED.search(text)
    bad = float(refused[1]) if refused else 0.0
    if _LOST.search(text) or rate is None or answers is None or median is None:
        raise RuntimeError(f"{url}: {text}")
    good = float(answers[1]) - bad
    return {
        "number": good,
        "per_second": float(rate[1]) * good / max(1.0, float(answers[1])),
        "refused": bad,
        "p50": float(median[1]) * _UNITS[median[2]],
    }
